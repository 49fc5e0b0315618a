package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// Event is one occurrence received from an app, found by reading, or made by hand.
type Event struct {
	bun.BaseModel `bun:"events,alias:e"`

	OrgID        ID `bun:",pk"`
	ID           ID `bun:",pk"`
	ConnectionID ID
	FlowLinkID   ID `bun:",nullzero"` // set when it was made by hand for one link
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
