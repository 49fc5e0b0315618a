package db_test

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tieline/db"
	"tieline/db/dbtest"
)

// rival does something before each statement that has a text in it.
type rival map[string]func()

func (r rival) TraceQueryStart(ctx context.Context, _ *pgx.Conn, q pgx.TraceQueryStartData) context.Context {
	for text, act := range r {
		if strings.Contains(q.SQL, text) {
			act()
		}
	}
	return ctx
}
func (rival) TraceQueryEnd(context.Context, *pgx.Conn, pgx.TraceQueryEndData) {}

// The holder gives its key back after we lost the INSERT and before we look whose it is.
func TestAKeyGivenBackInBetween(t *testing.T) {
	t.Parallel()
	ctx, url, r := t.Context(), dbtest.URL(t), rival{}
	open := func(o ...db.Option) *db.DB {
		d, err := db.Open(ctx, url, o...)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { d.Close() })
		return d
	}
	other, d := open(), open(func(c *pgxpool.Config) { c.ConnConfig.Tracer = r })
	org, err := db.CreateOrganization(ctx, other, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	token := db.Token{OrgID: org.OrgID, ID: db.NewID(), Name: "ci", Hash: []byte("hash"), Hint: "hint", Scopes: []string{"ADMIN"}}
	if err := db.AddToken(ctx, other, token); err != nil {
		t.Fatal(err)
	}
	c := db.Claim{OrgID: org.OrgID, TokenID: token.ID, Field: "f", IdempotencyKey: "k", InputHash: []byte("h")}
	var held db.Claim
	take := func() {
		var mine bool
		if held, mine, err = db.TakeClaim(ctx, other, c, time.Minute); err != nil || !mine {
			t.Errorf("the rival: %v %v", mine, err)
		}
	}
	drop := func() {
		if err := db.DropClaim(ctx, other, held); err != nil {
			t.Error(err)
		}
	}
	take()
	r[`FROM "claims"`] = drop
	if _, mine, err := db.TakeClaim(ctx, d, c, time.Minute); err != nil || !mine {
		t.Fatalf("the key is free: %v %v", mine, err)
	}
	if _, err := other.ExecContext(ctx, "DELETE FROM claims"); err != nil {
		t.Fatal(err)
	}
	r[`INSERT INTO "claims"`] = take // whenever we come, another one is there first
	if _, mine, err := db.TakeClaim(ctx, d, c, time.Minute); mine || !errors.Is(err, db.ErrConflict) {
		t.Errorf("the key is never free: %v %v", mine, err)
	}
}
