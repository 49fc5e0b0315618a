package jobs

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"

	"tieline/db"
	"tieline/jobs/flow"
)

// copyFrom is how many jobs it takes for COPY to be the faster way in: it asks the database for the table's form first,
// which for a few jobs costs more than it saves.
const copyFrom = 20

// Add gives tasks to workers. They come to be when tx commits, and not at all when it does not.
func (j *Jobs) Add(ctx context.Context, tx db.Tx, tasks ...flow.Task) error {
	if len(tasks) == 0 {
		return nil
	}
	params, before := make([]river.InsertManyParams, len(tasks)), map[db.ID]int{}
	for i, t := range tasks {
		args, err := argsOf(t)
		if err != nil {
			return err
		}
		params[i] = river.InsertManyParams{Args: args, InsertOpts: &river.InsertOpts{Priority: priority(t.Behind + before[t.Org])}}
		before[t.Org]++
	}
	return tx.Pgx(func(p pgx.Tx) error {
		var err error
		if len(params) < copyFrom {
			_, err = j.river.InsertManyTx(ctx, p, params)
		} else {
			_, err = j.river.InsertManyFastTx(ctx, p, params)
		}
		return err
	})
}

// priority lets those go first who have little waiting, so that one organization's flood is not another's wait: 1 is the
// first that River fetches, 4 the last.
func priority(behind int) int {
	switch {
	case behind < 10:
		return 1
	case behind < 100:
		return 2
	case behind < 500:
		return 3
	}
	return 4
}

func argsOf(t flow.Task) (river.JobArgs, error) {
	switch t.Kind {
	case flow.Activate:
		return activateArgs{Org: t.Org, Run: t.ID}, nil
	case flow.Dispatch:
		return dispatchArgs{Org: t.Org, Event: t.ID}, nil
	case flow.Replay:
		return replayArgs{Org: t.Org, Replay: t.ID}, nil
	case flow.Care:
		return careArgs{Org: t.Org, Connection: t.ID}, nil
	}
	return nil, fmt.Errorf("no job for a task of kind %q", t.Kind)
}
