package db

import (
	"context"

	"github.com/uptrace/bun"
)

// StepOutput is what a step answered with in full, sealed, where the history keeps less of it. Later steps go by it; it goes when
// no step can.
type StepOutput struct {
	bun.BaseModel `bun:"step_outputs,alias:so"`

	OrgID ID `bun:",pk"`
	ID    ID `bun:",pk"`
	RunID ID
	Step  string
	Box   []byte
}

var (
	givenOutputs = givenOf[StepOutput]("org_id", "id", "run_id", "step", "box")
	keepOutputs  = `INSERT INTO step_outputs (org_id, id, run_id, step, box) SELECT org_id, id, run_id, step, box FROM ` + givenOutputs.as("x", 1) + `
		ON CONFLICT (org_id, run_id, step) DO UPDATE SET id = EXCLUDED.id, box = EXCLUDED.box`
)

// KeepOutputs writes what steps answered with.
func KeepOutputs(ctx context.Context, tx Tx, outputs []StepOutput) error {
	return run(ctx, tx, keepOutputs, givenOutputs.arrays(outputs)...)
}

// OutputsOf reads what the steps of a run answered with, where the history keeps less of it.
func OutputsOf(ctx context.Context, d *DB, org, of ID) ([]StepOutput, error) {
	return many[StepOutput](ctx, d.Pool, "SELECT * FROM step_outputs WHERE org_id = $1 AND run_id = $2", org, of)
}

// DropOutputs forgets what the steps of a run answered with: no step of it can follow.
func DropOutputs(ctx context.Context, tx Tx, org, of ID) error {
	return run(ctx, tx, "DELETE FROM step_outputs WHERE org_id = $1 AND run_id = $2", org, of)
}
