package graph

import (
	"bytes"
	"context"
	"errors"
	"time"

	"github.com/uptrace/bun"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/jobs/flow"
)

// Codes of problems that only the door has. The rest are the engine's.
const (
	codeKeyReused    = "IDEMPOTENCY_KEY_REUSED"
	codeInProgress   = "IN_PROGRESS"
	codeAlreadyShown = "ALREADY_SHOWN"
)

var (
	keyReused  = ofKey(codeKeyReused, "This key was used before with another input. Use a new key for a new intention.")
	inProgress = ofKey(codeInProgress, "A call with this key is still being worked on. Repeat it in a few seconds.")
)

func ofKey(code, message string) flow.Problems {
	return flow.Problems{{Field: []string{"idempotencyKey"}, Code: code, Message: message}}
}

// claim takes the idempotency key, or answers what came of it before. Without a key there is nothing to take.
func (c *call) claim(ctx context.Context, idb bun.IDB, lease time.Duration) (Done, error) {
	if c.row.IdempotencyKey == "" {
		return Done{}, nil
	}
	held, mine, err := db.TakeClaim(ctx, idb, c.row, lease)
	switch {
	case errors.Is(err, db.ErrConflict):
		return Done{}, inProgress
	case err != nil:
		return Done{}, err
	case mine:
		c.row = held
		return Done{}, nil
	case !bytes.Equal(held.InputHash, c.row.InputHash):
		return Done{}, keyReused
	case held.DoneAt.IsZero():
		return Done{}, inProgress
	}
	id, err := c.kind.Parse(held.ObjectID)
	return Done{ID: id, Replayed: true}, err
}

// finish keeps what was done, for repeats and for the audit log.
func (c *call) finish(ctx context.Context, tx db.Tx, done Done) error {
	object := c.kind.Of(done.ID)
	if c.row.IdempotencyKey != "" {
		c.row.ObjectID = object
		if err := db.FinishClaim(ctx, tx, c.row); errors.Is(err, db.ErrConflict) { // our lease ended, and somebody else began
			return inProgress
		} else if err != nil {
			return err
		}
	}
	return db.AddAudit(ctx, tx, db.Audit{
		OrgID: c.viewer.Org, TokenID: c.viewer.Token, Actor: c.viewer.Name, Field: c.row.Field,
		ObjectID: object, Input: c.input, Outcome: "DONE", RequestID: requestID(ctx),
	})
}

// judge tells what stood in the way of a mutation, which its payload says, from what is an error of the request.
func judge(done Done, err error) (Done, error) {
	if problems, ok := errors.AsType[flow.Problems](err); ok {
		return Done{Problems: pointers(problems)}, nil
	}
	switch {
	case errors.Is(err, db.ErrNotFound):
		return Done{Problems: []*flow.Problem{{Field: []string{"id"}, Code: flow.CodeNotFound, Message: "There is no such object."}}}, nil
	case auth.Refused(err):
		return Done{}, fail(Unauthenticated, err.Error())
	case err != nil:
		return Done{}, err
	}
	return done, nil
}

func pointers(list flow.Problems) []*flow.Problem {
	out := make([]*flow.Problem, len(list))
	for i := range list {
		out[i] = &list[i]
	}
	return out
}
