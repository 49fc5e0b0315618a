package db

import (
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// ChangesChannel is notified soon after change rows were committed. The message says nothing: read the table.
const ChangesChannel = "tieline_changes"

// Change is one step of a run's life, as the live feed tells it.
type Change struct {
	bun.BaseModel `bun:"changes,alias:ch"`

	OrgID         ID    `bun:",pk"`
	ID            int64 `bun:",pk,autoincrement"`
	Pos           int64 `bun:",nullzero"` // the place in the feed; zero until numbered
	RunID         ID
	FlowID        ID
	FlowLinkID    ID
	ConnectionID  ID
	Source        string
	Version       int64
	State         string
	WaitingReason string          `bun:",nullzero"`
	WakeAt        time.Time       `bun:",nullzero"`
	Step          string          `bun:",nullzero"`
	StepState     string          `bun:",nullzero"`
	Progress      json.RawMessage `bun:",nullzero"`
	At            time.Time       `bun:",nullzero,default:clock_timestamp()"`
}
