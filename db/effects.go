package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/uptrace/bun"
)

// Effect is one write to a third party, kept before it is sent.
type Effect struct {
	bun.BaseModel `bun:"effects,alias:ef"`

	OrgID           ID `bun:",pk"`
	ID              ID `bun:",pk"`
	VendorAccountID ID
	ConnectionID    ID
	RunID           ID     `bun:",nullzero"` // none for an effect of the connection itself
	Step            string `bun:",nullzero"`
	MappingID       ID     `bun:",nullzero"`
	Kind            string
	Key             string // what it is: no second live effect can have it
	Generation      int    // of an intended re-send
	State           string
	Entity          string
	ExternalID      string          `bun:",nullzero"`
	Ref             json.RawMessage `bun:"type:jsonb,nullzero"`
	Request         []byte          // sealed; removed when the effect is final
	SentAt          time.Time       `bun:",nullzero"`
	SendUntil       time.Time       `bun:",nullzero"` // after this the call can no longer be in the air
	AbsentAt        time.Time       `bun:",nullzero"` // when the first probe found nothing
	Chain           []ID            `bun:"type:uuid[],array"`
	ErrorKind       string          `bun:",nullzero"`
	Error           string
	CreatedAt       time.Time `bun:",nullzero,default:now()"`
	UpdatedAt       time.Time `bun:",nullzero,default:now()"`
}

// Attempt is one call made for a step.
type Attempt struct {
	bun.BaseModel `bun:"attempts,alias:a"`

	OrgID     ID `bun:",pk"`
	ID        ID `bun:",pk"`
	RunID     ID
	Step      string
	EffectID  ID `bun:",nullzero"`
	Method    string
	Path      string
	Status    int    // HTTP; zero when no answer came
	ErrorKind string `bun:",nullzero"`
	Error     string
	RequestID string // the vendor's
	At        time.Time
	TookUS    int64 `bun:"took_us"` // microseconds
}

// GetEffect reads an effect.
func GetEffect(ctx context.Context, idb bun.IDB, org, id ID) (Effect, error) {
	var e Effect
	err := idb.NewSelect().Model(&e).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return e, found(err)
}
