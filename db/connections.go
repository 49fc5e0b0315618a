package db

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
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
	Credentials       []byte // sealed
	Hints             Texts  // what may be shown of each field
	Permissions       json.RawMessage
	WebhookTokenHash  []byte
	WebhookToken      []byte // sealed
	WebhookState      string
	WebhookError      string
	WebhookID         string
	WebhookSecrets    []byte // sealed JSON list
	WebhookGeneration int
	WebhookSeenAt     time.Time `bun:",nullzero"`
	WebhookMadeAt     time.Time `bun:",nullzero"` // when the endpoint was last made
	WebhookRefused    int       // bad signatures since a good one
	WebhookOldUntil   time.Time `bun:",nullzero"` // how long secrets beside the first are taken
	CareAt            time.Time `bun:",nullzero"` // when the endpoint must be looked at next; none when there is nothing to look at
	CaredAt           time.Time `bun:",nullzero"` // when a look last went well
	CareLease         time.Time `bun:",nullzero"` // until when one worker has the endpoint to itself
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

	OrgID        ID        `bun:",pk"`
	ConnectionID ID        `bun:",pk"`
	Trigger      string    `bun:",pk"`
	Cursor       string    // where the last walk came to; the next begins there
	Walk         string    // where a walk stands that goes on in another job
	BasedAt      time.Time `bun:",nullzero"` // when what was there already had been read
	SweptAt      time.Time `bun:",nullzero"` // when a walk last went to the very end
	ReadAt       time.Time `bun:",nullzero"`
	Error        string
	DueAt        time.Time `bun:",nullzero"`
	AskedAt      time.Time `bun:",nullzero"` // when somebody asked for a reading that was not done since
	ReservedAt   time.Time `bun:",nullzero"` // the start that a vendor account's budget gave, kept until it is used
	LeaseUntil   time.Time `bun:",nullzero"`
}

// GetConnection reads a connection with its vendor account; a deleted one is not found.
func GetConnection(ctx context.Context, idb bun.IDB, org, id ID) (Connection, error) {
	var c Connection
	err := idb.NewSelect().Model(&c).Relation("VendorAccount").Where("c.org_id = ? AND c.id = ? AND c.deleted_at IS NULL", org, id).Scan(ctx)
	return c, found(err)
}

// WorkingConnection is one of the connections of a vendor account that works, the oldest; ErrNotFound when none does.
func WorkingConnection(ctx context.Context, idb bun.IDB, org, account ID) (Connection, error) {
	var c Connection
	err := idb.NewSelect().Model(&c).Relation("VendorAccount").
		Where("c.org_id = ? AND c.vendor_account_id = ? AND c.state = 'ACTIVE' AND c.deleted_at IS NULL", org, account).OrderExpr("c.id").Limit(1).Scan(ctx)
	return c, found(err)
}

// AnyConnection reads a connection with its vendor account, deleted or not.
func AnyConnection(ctx context.Context, idb bun.IDB, org, id ID) (Connection, error) {
	var c Connection
	err := idb.NewSelect().Model(&c).Relation("VendorAccount").Where("c.org_id = ? AND c.id = ?", org, id).Scan(ctx)
	return c, found(err)
}

// opened are connections with their vendor accounts, the FROM clause to come.
const opened = `SELECT c.*, a.external_id AS account_external_id, a.mode AS account_mode, a.name AS account_name, a.created_at AS account_created_at `

type openedRow struct {
	Connection
	AccountExternalID, AccountMode, AccountName string
	AccountCreatedAt                            time.Time
}

func (r openedRow) connection() Connection {
	r.VendorAccount = &VendorAccount{
		OrgID: r.OrgID, ID: r.VendorAccountID, App: r.App, ExternalID: r.AccountExternalID, Mode: r.AccountMode, Name: r.AccountName, CreatedAt: r.AccountCreatedAt,
	}
	return r.Connection
}

var openedConnections = opened + `FROM ` + givenKeys.as("x", 1) + ` JOIN connections c ON c.org_id = x.org_id AND c.id = x.id JOIN vendor_accounts a ON a.org_id = c.org_id AND a.id = c.vendor_account_id`

// OpenedConnections reads connections with their vendor accounts, deleted ones too.
func OpenedConnections(ctx context.Context, tx Tx, keys ...Key) (map[Key]Connection, error) {
	rows, err := manyIn[openedRow](ctx, tx, openedConnections, givenKeys.arrays(keys)...)
	out := make(map[Key]Connection, len(rows))
	for _, r := range rows {
		out[Key{r.OrgID, r.ID}] = r.connection()
	}
	return out, err
}

// ConnectionsByWebhook finds the connections whose webhook URLs hold tokens of these hashes, in any organization, by hash.
func ConnectionsByWebhook(ctx context.Context, d *DB, hashes [][]byte) (map[string]Connection, error) {
	rows, err := many[openedRow](ctx, d.Keyed, opened+`FROM connections c JOIN vendor_accounts a ON a.org_id = c.org_id AND a.id = c.vendor_account_id
		WHERE c.webhook_token_hash = ANY($1) AND c.deleted_at IS NULL`, hashes)
	byHash := make(map[string]Connection, len(rows))
	for _, r := range rows {
		byHash[string(r.WebhookTokenHash)] = r.connection()
	}
	return byHash, err
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

// HintOf is what a connection to a vendor account shows of a field of its form; empty when none has filled it in.
func HintOf(ctx context.Context, idb bun.IDB, org, account ID, field string) (string, error) {
	var hint string
	err := idb.NewRaw(`SELECT hints ->> ?2 FROM connections WHERE org_id = ?0 AND vendor_account_id = ?1 AND deleted_at IS NULL AND hints ->> ?2 <> ''
		ORDER BY id LIMIT 1`, org, account, field).Scan(ctx, &hint)
	if err = found(err); errors.Is(err, ErrNotFound) {
		err = nil
	}
	return hint, err
}

// FindVendorAccount finds an account that a connection has opened before.
func FindVendorAccount(ctx context.Context, idb bun.IDB, org ID, app, externalID, mode string) (VendorAccount, error) {
	var v VendorAccount
	err := idb.NewSelect().Model(&v).Where("org_id = ? AND app = ? AND external_id = ? AND mode = ?", org, app, externalID, mode).Scan(ctx)
	return v, found(err)
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

// AwaitReauth tells whether a run that stopped at a connection's credentials must wait for their repair, and keeps the
// connection from being repaired until the transaction ends. refused says that the vendor refused the credentials that
// c holds; the connection is marked unless it has others by now.
func AwaitReauth(ctx context.Context, idb bun.IDB, c Connection, refused bool, why string) (bool, error) {
	var now Connection
	err := idb.NewSelect().Model(&now).Where("c.org_id = ? AND c.id = ?", c.OrgID, c.ID).For("NO KEY UPDATE").Scan(ctx)
	if err != nil || !refused || now.State != "ACTIVE" || !bytes.Equal(now.Credentials, c.Credentials) {
		return now.State != "ACTIVE", err
	}
	_, err = idb.NewUpdate().Model((*Connection)(nil)).Set("state = 'NEEDS_REAUTH', state_reason = ?, updated_at = now()", why).
		Where("org_id = ? AND id = ?", c.OrgID, c.ID).Exec(ctx)
	return true, err
}

// AddConnection inserts a connection.
func AddConnection(ctx context.Context, idb bun.IDB, c *Connection) error {
	_, err := idb.NewInsert().Model(c).Returning("created_at, updated_at").Exec(ctx)
	return err
}

// ConnectionNamed tells whether a connection that is there has a name.
func ConnectionNamed(ctx context.Context, idb bun.IDB, org ID, name string) (bool, error) {
	return idb.NewSelect().Model((*Connection)(nil)).Where("c.org_id = ? AND lower(c.name) = lower(?) AND c.deleted_at IS NULL", org, name).Exists(ctx)
}

// SaveConnection writes what a user may change of a connection, and what a test of it found; with secret, its pasted
// signing secret, too. ErrConflict says that somebody else changed it since it was read.
func SaveConnection(ctx context.Context, idb bun.IDB, c *Connection, secret bool) error {
	columns := []string{"name", "state", "state_reason", "credentials", "hints", "permissions", "tested_at"}
	if secret {
		columns = append(columns, "webhook_secrets", "webhook_old_until", "webhook_state", "webhook_error")
	}
	err := found(idb.NewUpdate().Model(c).Column(columns...).
		Set("updated_at = clock_timestamp()").Where("org_id = ?org_id AND id = ?id AND deleted_at IS NULL AND updated_at = ?updated_at").
		Returning("updated_at").Scan(ctx))
	if errors.Is(err, ErrNotFound) {
		return ErrConflict
	}
	return err
}

// LeaseWebhook takes a connection's endpoint for one worker and reads how it stands; of a deleted connection, too.
// ErrNotFound while another worker has it, and, with due, when it need not be looked at within the next minute.
func LeaseWebhook(ctx context.Context, idb bun.IDB, c *Connection, lease time.Duration, due bool) error {
	q := idb.NewUpdate().Model(c).Set("care_lease = clock_timestamp() + make_interval(secs => ?)", lease.Seconds()).
		Where("org_id = ?org_id AND id = ?id AND coalesce(care_lease, '-infinity') < clock_timestamp()")
	if due {
		q.Where("care_at <= clock_timestamp() + interval '1 minute'")
	}
	return found(q.Returning("*").Scan(ctx))
}

// SaveWebhook writes how a connection's webhook stands, and its secrets when it got a new endpoint, gives the lease back
// and says when to look again. ErrNotFound says that the connection was deleted or the lease lost.
func SaveWebhook(ctx context.Context, idb bun.IDB, c *Connection, next time.Duration) error {
	return found(idb.NewUpdate().Model(c).Column("webhook_state", "webhook_error", "webhook_id", "webhook_generation", "webhook_made_at", "cared_at").
		Set("webhook_secrets = CASE WHEN webhook_id = ?webhook_id THEN webhook_secrets ELSE ?webhook_secrets END").
		Set("webhook_old_until = CASE WHEN webhook_id = ?webhook_id THEN webhook_old_until ELSE ?webhook_old_until END").
		Set("webhook_refused = CASE WHEN webhook_id = ?webhook_id THEN webhook_refused ELSE 0 END").
		Set("updated_at = CASE WHEN webhook_id = ?webhook_id AND webhook_state = ?webhook_state THEN updated_at ELSE clock_timestamp() END").
		Set("care_lease = NULL, care_at = clock_timestamp() + make_interval(secs => ?)", next.Seconds()).
		Where("org_id = ?org_id AND id = ?id AND deleted_at IS NULL AND care_lease = ?care_lease").
		Returning("updated_at, care_at, care_lease, webhook_secrets, webhook_old_until, webhook_refused").Scan(ctx))
}

// CareLater puts the next look at an endpoint off and gives the lease back, if it is still the caller's. The generation is
// kept, as the attempt that used it up may still succeed.
func CareLater(ctx context.Context, idb bun.IDB, c Connection, next time.Duration) error {
	_, err := idb.NewUpdate().Model(&c).Column("webhook_generation").Set("care_lease = NULL, care_at = clock_timestamp() + make_interval(secs => ?)", next.Seconds()).
		Where("org_id = ?org_id AND id = ?id AND care_lease = ?care_lease").Exec(ctx)
	return err
}

// NeverCare notes that a connection has no endpoint to look at.
func NeverCare(ctx context.Context, idb bun.IDB, org, id ID) error {
	_, err := idb.NewRaw("UPDATE connections SET care_at = NULL WHERE org_id = ? AND id = ?", org, id).Exec(ctx)
	return err
}

// AskCare has a connection's endpoint looked at now.
func AskCare(ctx context.Context, idb bun.IDB, org, id ID) error {
	_, err := idb.NewRaw("UPDATE connections SET care_at = least(care_at, now()) WHERE org_id = ? AND id = ? AND care_at IS NOT NULL", org, id).Exec(ctx)
	return err
}

// AskReading has a connection read now: something may have been missed.
func AskReading(ctx context.Context, idb bun.IDB, org, connection ID) error {
	_, err := idb.NewRaw("UPDATE cursors SET asked_at = clock_timestamp(), due_at = least(due_at, now()) WHERE org_id = ? AND connection_id = ? AND due_at IS NOT NULL", org, connection).Exec(ctx)
	return err
}

// AskAll has all connections read now, and endpoints looked at that do not stand: the process was away, or the database.
func AskAll(ctx context.Context, idb bun.IDB) error {
	if _, err := idb.NewRaw("UPDATE connections SET care_at = least(care_at, now()) WHERE care_at IS NOT NULL AND webhook_state <> 'REGISTERED'").Exec(ctx); err != nil {
		return err
	}
	_, err := idb.NewRaw("UPDATE cursors SET asked_at = clock_timestamp(), due_at = least(due_at, now()) WHERE due_at IS NOT NULL").Exec(ctx)
	return err
}

// LockConnection reads a connection that is there, for the caller alone until its transaction ends.
func LockConnection(ctx context.Context, idb bun.IDB, org, id ID) (Connection, error) {
	var c Connection
	if err := idb.NewSelect().Model(&c).Where("c.org_id = ? AND c.id = ? AND c.deleted_at IS NULL", org, id).For("UPDATE").Scan(ctx); err != nil {
		return c, found(err)
	}
	return GetConnection(ctx, idb, org, id)
}

// HoldConnections counts those of the connections that work, and keeps them from being deleted until the transaction ends.
func HoldConnections(ctx context.Context, idb bun.IDB, org ID, ids []ID) (int, error) {
	var held []ID
	err := idb.NewRaw("SELECT id FROM connections WHERE org_id = ? AND id IN (?) AND deleted_at IS NULL AND state = 'ACTIVE' ORDER BY id FOR KEY SHARE", org, bun.List(ids)).Scan(ctx, &held)
	return len(held), err
}

// DropConnection hides a connection and forgets its secrets; its row stays, for history names it. One with an endpoint to
// remove keeps its credentials until that is done: give it care then, and ForgetConnection at the end.
func DropConnection(ctx context.Context, idb bun.IDB, org, id ID, endpoint bool) error {
	q := idb.NewUpdate().Model((*Connection)(nil)).
		Set("deleted_at = now(), state = 'DISABLED', webhook_secrets = NULL, hints = '{}', webhook_id = '', webhook_state = 'MISSING', webhook_error = ''").
		Where("org_id = ? AND id = ?", org, id)
	if endpoint {
		q.Set("care_at = now() + interval '10 seconds', cared_at = NULL")
	} else {
		q.Set("credentials = NULL, care_at = NULL")
	}
	if _, err := q.Exec(ctx); err != nil {
		return err
	}
	if !endpoint {
		if err := forgetAccessToken(ctx, idb, org, id); err != nil {
			return err
		}
	}
	_, err := idb.NewDelete().Model((*Cursor)(nil)).Where("org_id = ? AND connection_id = ?", org, id).Exec(ctx)
	return err
}

// ForgetConnection removes the credentials of a deleted connection, whose endpoint needs no more care.
func ForgetConnection(ctx context.Context, idb bun.IDB, c Connection) error {
	_, err := idb.NewUpdate().Model(&c).Set("credentials = NULL, care_at = NULL, care_lease = NULL").
		Where("org_id = ?org_id AND id = ?id AND deleted_at IS NOT NULL").Exec(ctx)
	if err != nil {
		return err
	}
	return forgetAccessToken(ctx, idb, c.OrgID, c.ID)
}

// EnabledLinksUsing names the enabled flow links that use a connection.
func EnabledLinksUsing(ctx context.Context, idb bun.IDB, org, id ID) ([]string, error) {
	var names []string
	err := idb.NewRaw(`SELECT name FROM flow_links fl WHERE org_id = ?0 AND enabled AND deleted_at IS NULL AND (trigger_connection_id = ?1
		OR EXISTS (SELECT FROM flow_link_steps s WHERE s.org_id = ?0 AND s.flow_link_id = fl.id AND s.connection_id = ?1)) ORDER BY name`, org, id).Scan(ctx, &names)
	return names, err
}

// AddCursor starts the reading of a trigger, due at once, unless it has begun.
func AddCursor(ctx context.Context, idb bun.IDB, org, connection ID, trigger string) error {
	c := Cursor{OrgID: org, ConnectionID: connection, Trigger: trigger}
	_, err := idb.NewInsert().Model(&c).Value("due_at", "now()").On("CONFLICT DO NOTHING").Exec(ctx)
	return err
}

// readable is true of a cursor that is worth the vendor's budget: an enabled link listens, or there is one that may be
// enabled soon, for which what has been there from the beginning is not known yet.
const readable = `EXISTS (SELECT FROM flow_links l WHERE l.org_id = cu.org_id AND l.trigger_connection_id = cu.connection_id
	AND l.trigger = cu.trigger AND l.deleted_at IS NULL AND (l.enabled OR cu.based_at IS NULL))`

// ReadableCursors are the cursors of a connection that are to be read, none while it is not active.
func ReadableCursors(ctx context.Context, idb bun.IDB, org, connection ID) ([]Cursor, error) {
	var all []Cursor
	err := idb.NewSelect().Model(&all).Join("JOIN connections c ON c.org_id = cu.org_id AND c.id = cu.connection_id").
		Where("cu.org_id = ? AND cu.connection_id = ? AND c.state = 'ACTIVE'", org, connection).Where(readable).OrderExpr("cu.trigger").Scan(ctx)
	return all, err
}

// LeaseCursor takes a cursor for one reader; ErrNotFound while another has it. It is due when the lease ends: a reader
// that dies is followed by another then.
func LeaseCursor(ctx context.Context, idb bun.IDB, org, connection ID, trigger string, lease time.Duration) (Cursor, error) {
	var c Cursor
	err := idb.NewRaw(`UPDATE cursors SET lease_until = l.until, due_at = CASE WHEN due_at IS NOT NULL THEN l.until END
		FROM (SELECT clock_timestamp() + make_interval(secs => ?) AS until) l
		WHERE org_id = ? AND connection_id = ? AND trigger = ? AND coalesce(lease_until, '-infinity') < clock_timestamp() RETURNING cursors.*`,
		lease.Seconds(), org, connection, trigger).Scan(ctx, &c)
	return c, found(err)
}

// RenewCursor keeps a cursor for the reader that leased it; ErrNotFound when another has it.
func RenewCursor(ctx context.Context, idb bun.IDB, c *Cursor, lease time.Duration) error {
	return found(idb.NewRaw(`UPDATE cursors SET lease_until = l.until, due_at = CASE WHEN due_at IS NOT NULL THEN l.until END
		FROM (SELECT clock_timestamp() + make_interval(secs => ?) AS until) l
		WHERE org_id = ? AND connection_id = ? AND trigger = ? AND lease_until = ? RETURNING lease_until`,
		lease.Seconds(), c.OrgID, c.ConnectionID, c.Trigger, c.LeaseUntil).Scan(ctx, &c.LeaseUntil))
}

// SaveCursor writes how far a walk has come and gives the cursor back; ErrNotFound when another reader has it. With done,
// what was asked for before the walk began is done; what was asked for since makes it due at once.
func SaveCursor(ctx context.Context, idb bun.IDB, c Cursor, done bool) error {
	var trigger string
	return found(idb.NewUpdate().Model(&c).Column("cursor", "walk", "based_at", "swept_at", "read_at", "error", "reserved_at").
		Set("due_at = CASE WHEN asked_at IS DISTINCT FROM ?asked_at THEN clock_timestamp() ELSE ?due_at END").
		Set("asked_at = CASE WHEN ? AND asked_at IS NOT DISTINCT FROM ?asked_at THEN NULL ELSE asked_at END", done).
		Set("lease_until = NULL").Where("org_id = ?org_id AND connection_id = ?connection_id AND trigger = ?trigger AND lease_until = ?lease_until").
		Returning("trigger").Scan(ctx, &trigger))
}
