package jobs

import (
	"context"
	"time"

	"tieline/connectors"
	"tieline/db"
)

const (
	pruneEvery = 10 * time.Minute
	pruneLimit = 1000               // rows in one transaction, which others may wait for
	ahead      = 3 * 24 * time.Hour // partitions are made before they are needed: workers may be away for a while
)

// Retention is how long things are kept. What is not over is kept in any case, as are mappings and what proves them.
type Retention struct {
	Runs    time.Duration // after their end, with their steps, calls and effects
	Events  time.Duration // their headers, by which a repeat is known; no less than MinEvents
	Bodies  time.Duration // of events, by whole days
	Changes time.Duration // how far back a subscription can resume
	Claims  time.Duration // of idempotency keys; no less than MinClaims
	Jobs    time.Duration // River's, once done
}

const day = 24 * time.Hour

// MinEvents is how long vendors may deliver an event again; MinClaims is what the schema promises of an idempotency key.
const (
	MinEvents = 30 * day
	MinClaims = day
)

// DefaultRetention keeps what people look at for a season.
var DefaultRetention = Retention{Runs: 90 * day, Events: 90 * day, Bodies: 30 * day, Changes: 7 * day, Claims: day, Jobs: time.Hour}

func (r *Retention) complete() {
	d := DefaultRetention
	for _, f := range []struct{ v, or *time.Duration }{
		{&r.Runs, &d.Runs}, {&r.Events, &d.Events}, {&r.Bodies, &d.Bodies}, {&r.Changes, &d.Changes}, {&r.Claims, &d.Claims}, {&r.Jobs, &d.Jobs},
	} {
		if *f.v == 0 {
			*f.v = *f.or
		}
	}
}

// prunes removes what is past its time until ctx ends. Every worker process does: they skip what another has in hand.
func (j *Jobs) prunes(ctx context.Context) {
	tick := time.NewTicker(pruneEvery)
	defer tick.Stop()
	for {
		if err := j.prune(ctx, time.Now()); err != nil && ctx.Err() == nil {
			j.cfg.Log.WarnContext(ctx, "pruning failed; it is tried again", "error", err)
		}
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
	}
}

// prune makes room for what comes and removes what is past its time, in batches. One kind that fails does not keep the
// others.
func (j *Jobs) prune(ctx context.Context, now time.Time) error {
	d, keep := j.cfg.DB, j.cfg.Keep
	kinds := []func() error{
		func() error { return db.PartitionBodies(ctx, d, now.Add(-keep.Bodies), now, now.Add(ahead)) },
		func() error { return db.DropBodies(ctx, d, now.Add(-keep.Bodies), pruneLimit) },
		batches(ctx, func() (int64, error) { return db.PruneClaims(ctx, d, now.Add(-keep.Claims), pruneLimit) }),
		batches(ctx, func() (int64, error) { return db.PruneAuthorizations(ctx, d, now.Add(-day), pruneLimit) }),
		batches(ctx, func() (int64, error) { return db.PruneChanges(ctx, d, now.Add(-keep.Changes), pruneLimit) }),
	}
	orgs, err := db.Organizations(ctx, d)
	relisted := relisted(j.cfg.Engine.Apps)
	for _, o := range orgs {
		kinds = append(kinds,
			batches(ctx, func() (int64, error) {
				return db.PruneRuns(ctx, d, o.OrgID, now.Add(-keep.Runs), pruneLimit)
			}),
			batches(ctx, func() (int64, error) {
				return db.PruneReplays(ctx, d, o.OrgID, now.Add(-keep.Runs), pruneLimit)
			}),
			func() (err error) {
				for at, more := (db.ID{}), true; more && err == nil; more = at != (db.ID{}) {
					at, err = db.PruneEvents(ctx, d, o.OrgID, at, now.Add(-keep.Events), relisted, pruneLimit)
				}
				return err
			})
	}
	for _, clean := range kinds {
		if cerr := clean(); err == nil {
			err = cerr
		}
	}
	return err
}

// batches repeats clean until it has nothing left to remove, or ctx ends.
func batches(ctx context.Context, clean func() (int64, error)) func() error {
	return func() error {
		for ctx.Err() == nil {
			if n, err := clean(); err != nil || n < pruneLimit {
				return err
			}
		}
		return ctx.Err()
	}
}

// relisted are the triggers whose reading shows what it has shown before, however old.
func relisted(apps *connectors.Registry) (out []string) {
	for _, a := range apps.Apps() {
		for _, t := range a.Triggers {
			if t.List != nil && (t.Reach == 0 || t.Reach > MinEvents) {
				out = append(out, a.Key+"/"+t.Key)
			}
		}
	}
	return out
}
