package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// VendorAccount is what a connection opens: mappings, effects and the budget of calls hang on it.
type VendorAccount struct {
	bun.BaseModel `bun:"vendor_accounts,alias:va"`

	OrgID      ID `bun:",pk"`
	ID         ID `bun:",pk"`
	App        string
	ExternalID string
	Mode       string
	Name       string
	CreatedAt  time.Time `bun:",nullzero,default:now()"`
}

// Connection is one organization's named credentials for one app.
type Connection struct {
	bun.BaseModel `bun:"connections,alias:c"`

	OrgID             ID `bun:",pk"`
	ID                ID `bun:",pk"`
	App               string
	Name              string
	VendorAccountID   ID
	State             string
	StateReason       string
	Credentials       []byte            // sealed
	Hints             map[string]string `bun:"type:jsonb"` // what may be shown of each field
	Permissions       json.RawMessage   `bun:"type:jsonb"`
	WebhookTokenHash  []byte
	WebhookToken      []byte // sealed
	WebhookState      string
	WebhookError      string
	WebhookID         string
	WebhookSecrets    []byte // sealed JSON list
	WebhookGeneration int
	WebhookSeenAt     time.Time `bun:",nullzero"`
	Ignored           int64
	IgnoredReason     string
	Refused           int64
	RefusedReason     string
	LastEventAt       time.Time `bun:",nullzero"`
	TestedAt          time.Time `bun:",nullzero"`
	CreatedAt         time.Time `bun:",nullzero,default:now()"`
	UpdatedAt         time.Time `bun:",nullzero,default:now()"`
	DeletedAt         time.Time `bun:",nullzero"`

	VendorAccount *VendorAccount `bun:"rel:belongs-to,join:org_id=org_id,join:vendor_account_id=id"`
}

// Cursor says how far reading has come for one trigger of a connection.
type Cursor struct {
	bun.BaseModel `bun:"cursors,alias:cu"`

	OrgID        ID     `bun:",pk"`
	ConnectionID ID     `bun:",pk"`
	Trigger      string `bun:",pk"`
	Cursor       string
	BasedAt      time.Time `bun:",nullzero"` // when what was there already had been read
	SweptAt      time.Time `bun:",nullzero"` // when a walk last went to the very end
	ReadAt       time.Time `bun:",nullzero"`
	Error        string
	DueAt        time.Time `bun:",nullzero"`
	LeaseUntil   time.Time `bun:",nullzero"`
}

// GetConnection reads a connection with its vendor account; a deleted one is not found.
func GetConnection(ctx context.Context, idb bun.IDB, org, id ID) (Connection, error) {
	var c Connection
	err := idb.NewSelect().Model(&c).Relation("VendorAccount").Where("c.org_id = ? AND c.id = ? AND c.deleted_at IS NULL", org, id).Scan(ctx)
	return c, found(err)
}

// ConnectionByWebhook finds the connection whose webhook URL holds the token of this hash, in any organization.
func ConnectionByWebhook(ctx context.Context, idb bun.IDB, app string, hash []byte) (Connection, error) {
	var c Connection
	err := idb.NewSelect().Model(&c).Relation("VendorAccount").Where("c.webhook_token_hash = ? AND c.app = ? AND c.deleted_at IS NULL", hash, app).Scan(ctx)
	return c, found(err)
}

// ClaimVendorAccount answers the row of an account, made if need be.
func ClaimVendorAccount(ctx context.Context, idb bun.IDB, v VendorAccount) (VendorAccount, error) {
	v.ID = NewID()
	_, err := idb.NewInsert().Model(&v).
		On("CONFLICT (org_id, app, external_id, mode) DO UPDATE").
		Set("name = CASE WHEN EXCLUDED.name = '' THEN va.name ELSE EXCLUDED.name END").
		Returning("*").Exec(ctx)
	return v, err
}

// DrawCall takes the next call from a vendor account's budget (GCRA) and answers when it may start, by the database's
// clock, with that clock's now. every is the time between calls, burst how many may come at once.
func DrawCall(ctx context.Context, idb bun.IDB, org, account ID, every time.Duration, burst int) (start, now time.Time, err error) {
	err = idb.NewRaw(`UPDATE vendor_accounts SET tat = greatest(tat, clock_timestamp()) + make_interval(secs => ?0)
		WHERE org_id = ?2 AND id = ?3
		RETURNING tat - make_interval(secs => ?0 * ?1), clock_timestamp()`,
		every.Seconds(), burst, org, account).Scan(ctx, &start, &now)
	return start, now, found(err)
}

// DelayCalls keeps a vendor account quiet for a while: the vendor asked for it.
func DelayCalls(ctx context.Context, idb bun.IDB, org, account ID, d time.Duration) error {
	_, err := idb.NewRaw(`UPDATE vendor_accounts SET tat = greatest(tat, clock_timestamp() + make_interval(secs => ?))
		WHERE org_id = ? AND id = ?`, d.Seconds(), org, account).Exec(ctx)
	return err
}

// ConnectionsOf reads connections by id, with their vendor accounts, deleted ones too: old runs still name them.
func ConnectionsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Connection, error) {
	var rows []Connection
	err := idb.NewSelect().Model(&rows).Relation("VendorAccount").Where("c.org_id = ? AND c.id IN (?)", org, bun.List(ids)).Scan(ctx)
	byID := make(map[ID]Connection, len(rows))
	for _, c := range rows {
		byID[c.ID] = c
	}
	return byID, err
}

// NeedReauth marks a connection whose credentials the vendor refuses. One that is no longer active stays as it is.
func NeedReauth(ctx context.Context, idb bun.IDB, org, id ID, why string) error {
	_, err := idb.NewUpdate().Model((*Connection)(nil)).Set("state = 'NEEDS_REAUTH', state_reason = ?, updated_at = now()", why).
		Where("org_id = ? AND id = ? AND state = 'ACTIVE'", org, id).Exec(ctx)
	return err
}
