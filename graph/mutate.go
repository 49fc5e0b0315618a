package graph

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"errors"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/99designs/gqlgen/graphql"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

const (
	claimLease = 2 * time.Minute // longer than any mutation that calls a vendor takes
	longestKey = 255
	attempts   = 3 // of a transaction that lost against another
)

// Door is the one way to change anything: who asks is known, a repeat does nothing, and what was done is in the audit
// log, all in one transaction. The scope was checked before, by the directive.
type Door struct {
	DB      *db.DB
	secrets map[string][]string // by input type, the fields marked @secret
}

// NewDoor makes the door to a database.
func NewDoor(d *db.DB) *Door {
	door := &Door{DB: d, secrets: map[string][]string{}}
	for name, def := range executable(nil).Schema().Types {
		for _, f := range def.Fields {
			if f.Directives.ForName("secret") != nil {
				door.secrets[name] = append(door.secrets[name], f.Name)
			}
		}
	}
	return door
}

// Done is what came of a mutation: the object it was about, if any, and what stood in the way.
type Done struct {
	ID       db.ID
	Problems []*flow.Problem
	Replayed bool // it was done before, under the same idempotency key
}

// Do does work in the door's transaction. Problems that work answers undo everything, the claim of the key too, which
// then serves the corrected input.
func (d *Door) Do(ctx context.Context, kind model.Kind, work func(context.Context, db.Tx, auth.Viewer) (db.ID, error)) (Done, error) {
	c, err := d.call(ctx, kind)
	if err != nil {
		return judge(Done{}, err)
	}
	var done Done
	for n := 1; ; n++ {
		err = d.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
			if done, err = c.claim(ctx, tx, 0); err != nil || done.Replayed {
				return err
			}
			if done.ID, err = work(ctx, tx, c.viewer); err != nil {
				return err
			}
			return c.finish(ctx, tx, done)
		})
		if n == attempts || !db.Retryable(err) {
			return judge(done, err)
		}
	}
}

// errTried undoes what was only tried.
var errTried = errors.New("this was only tried")

// Try does work as Do does, and undoes it, for a caller who wants to see first what it would come to. It leaves no claim and no
// entry in the audit log.
func (d *Door) Try(ctx context.Context, _ model.Kind, work func(context.Context, db.Tx, auth.Viewer) (db.ID, error)) (Done, error) {
	viewer, ok := auth.FromContext(ctx)
	if !ok {
		return judge(Done{}, auth.ErrMissing)
	}
	err := d.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if _, err := work(ctx, tx, viewer); err != nil {
			return err
		}
		return errTried
	})
	if errors.Is(err, errTried) {
		err = nil
	}
	return judge(Done{}, err)
}

// Call does work that calls a vendor, which no transaction can wait for. The claim is committed first, with a lease, so
// that a second caller is told to wait; work calls commit in its last transaction.
func (d *Door) Call(ctx context.Context, kind model.Kind, work func(context.Context, auth.Viewer, flow.Commit) error) (Done, error) {
	c, err := d.call(ctx, kind)
	if err != nil {
		return judge(Done{}, err)
	}
	done, err := c.claim(ctx, d.DB, claimLease)
	if err != nil || done.Replayed {
		return judge(done, err)
	}
	err = work(ctx, c.viewer, func(ctx context.Context, tx db.Tx, id db.ID) error {
		done = Done{ID: id}
		return c.finish(ctx, tx, done)
	})
	if err != nil && c.row.IdempotencyKey != "" {
		_ = db.DropClaim(context.WithoutCancel(ctx), d.DB, c.row) // else its lease ends by itself
	}
	return judge(done, err)
}

// call is one mutation under way.
type call struct {
	viewer auth.Viewer
	kind   model.Kind
	row    db.Claim
	input  json.RawMessage // without what is secret
}

func (d *Door) call(ctx context.Context, kind model.Kind) (*call, error) {
	viewer, ok := auth.FromContext(ctx)
	if !ok {
		return nil, auth.ErrMissing
	}
	field := graphql.GetFieldContext(ctx).Field
	input, _ := field.ArgumentMap(graphql.GetOperationContext(ctx).Variables)["input"].(map[string]any)
	key, _ := input["idempotencyKey"].(string)
	if utf8.RuneCountInString(key) > longestKey || (key != "" && strings.TrimSpace(key) == "") {
		return nil, ofKey(flow.CodeInvalid, "An idempotency key has 1 to 255 characters.")
	}
	whole, shown := map[string]any{}, map[string]any{}
	secret := d.secrets[field.Definition.Arguments.ForName("input").Type.Name()]
	for name, v := range input {
		if name == "idempotencyKey" {
			continue
		}
		if whole[name] = v; !slices.Contains(secret, name) {
			shown[name] = v
		}
	}
	text, err := json.Marshal(whole)
	if err != nil {
		return nil, err
	}
	hash := sha256.Sum256(text)
	told, err := json.Marshal(shown)
	return &call{viewer: viewer, kind: kind, input: told, row: db.Claim{
		OrgID: viewer.Org, TokenID: viewer.Token, Field: field.Name, IdempotencyKey: key, InputHash: hash[:],
	}}, err
}
