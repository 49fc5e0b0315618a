package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// Authorization is a person's way through a vendor's consent page.
type Authorization struct {
	bun.BaseModel `bun:"authorizations,alias:au"`

	OrgID        ID `bun:",pk"`
	ID           ID `bun:",pk"`
	ConnectionID ID // the one that is authorized again, or that will be made
	App          string
	Name         string // of the connection that will be made; empty: it is there
	Form         []byte // sealed; nil once it was used
	StateHash    []byte
	CookieHash   []byte // of the browser that began last
	ReturnURL    string
	ExpiresAt    time.Time
	EndedAt      time.Time `bun:",nullzero"` // when a browser came back
	CreatedAt    time.Time `bun:",nullzero,default:now()"`
}

// AddAuthorization keeps one that may be begun and ended within life.
func AddAuthorization(ctx context.Context, idb bun.IDB, a *Authorization, life time.Duration) error {
	_, err := idb.NewInsert().Model(a).Value("expires_at", "now() + make_interval(secs => ?)", life.Seconds()).Returning("expires_at").Exec(ctx)
	return err
}

// FindAuthorization finds one by its state in any organization, ended and expired ones too. over says that its time is up.
func FindAuthorization(ctx context.Context, idb bun.IDB, state []byte) (a Authorization, over bool, err error) {
	var row struct {
		Authorization
		Over bool
	}
	err = idb.NewRaw("SELECT *, expires_at < clock_timestamp() AS over FROM authorizations WHERE state_hash = ?", state).Scan(ctx, &row)
	return row.Authorization, row.Over, found(err)
}

// BeginAuthorization ties one to a browser; ErrNotFound when it ended or its time is up.
func BeginAuthorization(ctx context.Context, idb bun.IDB, a Authorization, cookie []byte) error {
	res, err := idb.NewRaw(`UPDATE authorizations SET cookie_hash = ? WHERE org_id = ? AND id = ? AND ended_at IS NULL AND expires_at > clock_timestamp()`,
		cookie, a.OrgID, a.ID).Exec(ctx)
	if err == nil && affected(res) == 0 {
		err = ErrNotFound
	}
	return err
}

// EndAuthorization takes one for the browser that came back, once; ErrNotFound when another call has, when its time is up, or
// when it was begun in another browser. What it needs is in a, and in the table no more.
func EndAuthorization(ctx context.Context, idb bun.IDB, a Authorization, cookie []byte) error {
	res, err := idb.NewRaw(`UPDATE authorizations SET ended_at = clock_timestamp(), form = NULL
		WHERE org_id = ? AND id = ? AND ended_at IS NULL AND expires_at > clock_timestamp() AND cookie_hash = ?`, a.OrgID, a.ID, cookie).Exec(ctx)
	if err == nil && affected(res) == 0 {
		err = ErrNotFound
	}
	return err
}

// HoldAuthorization keeps what one that has ended needs to go on, when its person has chosen something.
func HoldAuthorization(ctx context.Context, idb bun.IDB, a Authorization, form []byte) error {
	_, err := idb.NewRaw("UPDATE authorizations SET form = ? WHERE org_id = ? AND id = ? AND ended_at IS NOT NULL", form, a.OrgID, a.ID).Exec(ctx)
	return err
}

// TakeChoice takes what was held, once; ErrNotFound when another call has.
func TakeChoice(ctx context.Context, idb bun.IDB, a Authorization) error {
	res, err := idb.NewRaw("UPDATE authorizations SET form = NULL WHERE org_id = ? AND id = ? AND ended_at IS NOT NULL AND form IS NOT NULL", a.OrgID, a.ID).Exec(ctx)
	if err == nil && affected(res) == 0 {
		err = ErrNotFound
	}
	return err
}

// PruneAuthorizations removes those whose time was up before a moment.
func PruneAuthorizations(ctx context.Context, idb bun.IDB, before time.Time, limit int) (int64, error) {
	res, err := idb.NewRaw(`DELETE FROM authorizations WHERE (org_id, id) IN
		(SELECT org_id, id FROM authorizations WHERE expires_at < ? ORDER BY expires_at LIMIT ? FOR UPDATE SKIP LOCKED)`, before, limit).Exec(ctx)
	return affected(res), err
}
