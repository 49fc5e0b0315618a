package db

import (
	"bytes"
	"context"
	"slices"
	"time"

	"github.com/uptrace/bun"
)

// Event is one occurrence received from an app, found by reading, or made by hand.
type Event struct {
	bun.BaseModel `bun:"events,alias:e"`

	OrgID        ID `bun:",pk"`
	ID           ID `bun:",pk"`
	ConnectionID ID
	FlowLinkID   ID `bun:",nullzero"` // set when it was made for one link, by hand or by its schedule
	Trigger      string
	DedupeKey    string
	Source       string
	VendorType   string
	VendorAt     time.Time
	ReceivedAt   time.Time `bun:",nullzero"`
	Repeats      int
	Entity       string
	RecordID     string
	RecordName   string
	EchoOf       ID        `bun:",nullzero"`
	DispatchedAt time.Time `bun:",nullzero"`
	Error        string
	DueAt        time.Time `bun:",nullzero"`
	ReleasedAt   time.Time `bun:",nullzero"` // by a person, after it was held
	ReheardAt    time.Time `bun:",nullzero"` // when it was dispatched again, for links that had not heard it
}

// EventOutcome says what became of an event at one link.
type EventOutcome struct {
	bun.BaseModel `bun:"event_outcomes,alias:eo"`

	OrgID      ID `bun:",pk"`
	EventID    ID `bun:",pk"`
	FlowLinkID ID `bun:",pk"`
	Outcome    string
	Reason     string
	RunID      ID        `bun:",nullzero"`
	At         time.Time `bun:",nullzero,default:now()"`
}

// GetEvent reads an event's header.
func GetEvent(ctx context.Context, idb bun.IDB, org, id ID) (Event, error) {
	var e Event
	err := idb.NewSelect().Model(&e).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return e, found(err)
}

// EventBody reads an event's raw body; ErrNotFound once retention has removed it.
func EventBody(ctx context.Context, idb bun.IDB, org, id ID, at time.Time) ([]byte, error) {
	var body []byte
	err := idb.NewRaw("SELECT body FROM event_bodies WHERE org_id = ? AND event_id = ? AND at = ?", org, id, at).Scan(ctx, &body)
	return body, found(err)
}

// Stored is an event with its body and where it came from.
type Stored struct {
	Event
	Body            []byte // nil once retention has removed it
	App             string
	VendorAccountID ID
}

// Key names a row of an organization.
type Key struct{ OrgID, ID ID }

var givenKeys = givenOf[Key]("org_id", "id")

var lockEvents = `SELECT e.*, b.body, c.app, c.vendor_account_id FROM ` + givenKeys.as("x", 1) + ` JOIN events e ON e.org_id = x.org_id AND e.id = x.id
	JOIN connections c ON c.org_id = e.org_id AND c.id = e.connection_id
	LEFT JOIN event_bodies b ON b.org_id = e.org_id AND b.event_id = e.id AND b.at = e.received_at
	ORDER BY x.n FOR NO KEY UPDATE OF e`

// LockEvents reads events for the caller alone, until its transaction ends. They are locked by id, as everybody must who
// takes several.
func LockEvents(ctx context.Context, tx Tx, keys ...Key) ([]Stored, error) {
	slices.SortFunc(keys, func(a, b Key) int { return bytes.Compare(a.ID[:], b.ID[:]) })
	return manyIn[Stored](ctx, tx, lockEvents, givenKeys.arrays(keys)...)
}

var (
	givenEvents      = givenOf[Event]("org_id", "id", "entity", "record_id", "record_name", "echo_of")
	eventsDispatched = "UPDATE events e SET entity = x.entity, record_id = x.record_id, record_name = x.record_name, echo_of = x.echo_of, dispatched_at = now(), due_at = NULL FROM " +
		givenEvents.as("x", 1) + " WHERE e.org_id = x.org_id AND e.id = x.id"
)

// EventsDispatched notes what events turned out to be, and that their runs are made.
func EventsDispatched(ctx context.Context, tx Tx, events ...Event) error {
	return run(ctx, tx, eventsDispatched, givenEvents.arrays(events)...)
}

// ReleaseEvent lets an event that was held go: it is to be dispatched again. ErrNotFound when no link holds it.
func ReleaseEvent(ctx context.Context, tx Tx, org, id ID) error {
	_, err := in[Event](ctx, tx, `UPDATE events SET released_at = now(), dispatched_at = NULL, due_at = now() + interval '10 seconds'
		WHERE org_id = $1 AND id = $2 AND (dispatched_at IS NOT NULL OR released_at IS NULL)
			AND EXISTS (SELECT FROM event_outcomes WHERE org_id = $1 AND event_id = $2 AND outcome = 'HELD') RETURNING *`, org, id)
	return err
}

// OutcomesAt is what became of an event so far, by link.
func OutcomesAt(ctx context.Context, tx Tx, org, event ID) (map[ID]string, error) {
	rows, err := manyIn[EventOutcome](ctx, tx, "SELECT flow_link_id, outcome FROM event_outcomes WHERE org_id = $1 AND event_id = $2", org, event)
	out := make(map[ID]string, len(rows))
	for _, o := range rows {
		out[o.FlowLinkID] = o.Outcome
	}
	return out, err
}

// EventUnreadable notes that an event's body is not what its app sends. It stays stored.
func EventUnreadable(ctx context.Context, idb bun.IDB, org, id ID, why string) error {
	_, err := idb.NewUpdate().Model((*Event)(nil)).Set("dispatched_at = now(), due_at = NULL, error = ?", why).Where("org_id = ? AND id = ?", org, id).Exec(ctx)
	return err
}

// AddEvent stores an event and its body.
func AddEvent(ctx context.Context, idb bun.IDB, e Event, body []byte) error {
	if _, err := idb.NewInsert().Model(&e).Exec(ctx); err != nil {
		return err
	}
	_, err := idb.NewRaw("INSERT INTO event_bodies (org_id, event_id, at, body) VALUES (?, ?, ?, ?)", e.OrgID, e.ID, e.ReceivedAt, body).Exec(ctx)
	return err
}

// AddOutcome notes what became of an event at a link. Only what was held becomes something else.
func AddOutcome(ctx context.Context, idb bun.IDB, o EventOutcome) error {
	_, err := idb.NewInsert().Model(&o).On("CONFLICT (org_id, event_id, flow_link_id) DO UPDATE").
		Set("outcome = EXCLUDED.outcome, reason = EXCLUDED.reason, run_id = EXCLUDED.run_id").Where("eo.outcome = 'HELD'").Exec(ctx)
	return err
}

// PendingEvents are the events of a trigger that were stored and not dispatched yet.
func PendingEvents(ctx context.Context, idb bun.IDB, org, connection ID, trigger string) ([]ID, error) {
	var ids []ID
	err := idb.NewRaw("SELECT id FROM events WHERE org_id = ? AND connection_id = ? AND trigger = ? AND due_at IS NOT NULL ORDER BY id", org, connection, trigger).Scan(ctx, &ids)
	return ids, err
}
