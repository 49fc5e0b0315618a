package jobs

import (
	"context"
	"time"

	"tieline/db"
)

const (
	pruneEvery  = time.Minute
	pruneLimit  = 5000
	keepClaims  = 24 * time.Hour     // what the schema promises of an idempotency key
	keepChanges = 7 * 24 * time.Hour // how far back a subscription can resume
)

// prune removes what is past its time, in batches, until nothing is left to remove or ctx ends.
func (j *Jobs) prune(ctx context.Context, now time.Time) error {
	for _, clean := range []func() (int64, error){
		func() (int64, error) { return db.PruneClaims(ctx, j.cfg.DB, now.Add(-keepClaims), pruneLimit) },
		func() (int64, error) { return db.PruneChanges(ctx, j.cfg.DB, now.Add(-keepChanges), pruneLimit) },
	} {
		for {
			n, err := clean()
			if err != nil {
				return err
			}
			if n < pruneLimit {
				break
			}
		}
	}
	return nil
}
