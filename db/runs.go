package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// Run is one execution of a flow version for an event.
type Run struct {
	bun.BaseModel `bun:"runs,alias:r"`

	OrgID         ID `bun:",pk"`
	ID            ID `bun:",pk"`
	FlowID        ID
	FlowVersionID ID
	FlowLinkID    ID
	ConnectionID  ID // the trigger's
	EventID       ID
	EventAt       time.Time // received_at of the event
	Source        string
	BusinessKey   string
	Replay        int
	Lane          string
	Entity        string
	RecordID      string
	RecordName    string
	VendorAt      time.Time
	MappingID     ID `bun:",nullzero"`
	State         string
	WaitingReason string    `bun:",nullzero"`
	WakeAt        time.Time `bun:",nullzero"` // what people see
	DueAt         time.Time `bun:",nullzero"` // what the sweeper goes by
	LeaseUntil    time.Time `bun:",nullzero"`
	Fence         int64     // a writer with an older one is refused
	Version       int64     // grows with every change that the feed tells of
	EchoOf        ID        `bun:",nullzero"`
	Chain         []ID      `bun:"type:uuid[],array"`
	FailedItems   int
	Progress      json.RawMessage `bun:"type:jsonb,nullzero"`
	ErrorKind     string          `bun:",nullzero"`
	Error         string
	CreatedAt     time.Time `bun:",nullzero,default:now()"`
	StartedAt     time.Time `bun:",nullzero"`
	EndedAt       time.Time `bun:",nullzero"`
}

// Step is one action of a run.
type Step struct {
	bun.BaseModel `bun:"steps,alias:s"`

	OrgID           ID     `bun:",pk"`
	RunID           ID     `bun:",pk"`
	Key             string `bun:",pk"`
	Position        int
	App             string
	Action          string
	ConnectionID    ID
	VendorAccountID ID
	State           string
	WaitingReason   string    `bun:",nullzero"`
	WakeAt          time.Time `bun:",nullzero"`
	ReservedAt      time.Time `bun:",nullzero"` // the start that the budget gave, until it is used
	Tries           int
	Input           json.RawMessage `bun:"type:jsonb,nullzero"`
	Output          json.RawMessage `bun:"type:jsonb,nullzero"`
	Reason          string
	ErrorKind       string `bun:",nullzero"`
	Error           string
	StartedAt       time.Time `bun:",nullzero"`
	EndedAt         time.Time `bun:",nullzero"`
}

// GetRun reads a run.
func GetRun(ctx context.Context, idb bun.IDB, org, id ID) (Run, error) {
	var r Run
	err := idb.NewSelect().Model(&r).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return r, found(err)
}

// Steps are a run's steps in order.
func Steps(ctx context.Context, idb bun.IDB, org, run ID) ([]Step, error) {
	var steps []Step
	err := idb.NewSelect().Model(&steps).Where("org_id = ? AND run_id = ?", org, run).OrderExpr("position").Scan(ctx)
	return steps, err
}
