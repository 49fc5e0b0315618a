package db

import (
	"context"
	"encoding/json"
	"time"

	"github.com/google/uuid"
	"github.com/uptrace/bun"
)

// Flow is a definition's home: its versions are immutable, its newest one counts.
type Flow struct {
	bun.BaseModel `bun:"flows,alias:f"`

	OrgID       ID `bun:",pk"`
	ID          ID `bun:",pk"`
	Key         string
	Kind        string
	Direction   string
	Name        string
	Description string
	CreatedAt   time.Time `bun:",nullzero,default:now()"`
}

// FlowVersion is one published definition. It never changes.
type FlowVersion struct {
	bun.BaseModel `bun:"flow_versions,alias:fv"`

	OrgID      ID `bun:",pk"`
	ID         ID `bun:",pk"`
	FlowID     ID
	Number     int
	Definition json.RawMessage `bun:"type:jsonb"`
	Hash       []byte
	CreatedAt  time.Time `bun:",nullzero,default:now()"`
}

// FlowLink binds a flow to connections.
type FlowLink struct {
	bun.BaseModel `bun:"flow_links,alias:fl"`

	OrgID               ID `bun:",pk"`
	ID                  ID `bun:",pk"`
	FlowID              ID
	Name                string
	TriggerConnectionID ID
	Trigger             string
	Params              json.RawMessage `bun:"type:jsonb"`
	Enabled             bool
	EnabledAt           time.Time `bun:",nullzero"`
	LastEventAt         time.Time `bun:",nullzero"`
	LastSuccessAt       time.Time `bun:",nullzero"`
	FailingSince        time.Time `bun:",nullzero"`
	CreatedAt           time.Time `bun:",nullzero,default:now()"`
	UpdatedAt           time.Time `bun:",nullzero,default:now()"`
	DeletedAt           time.Time `bun:",nullzero"`
}

// FlowLinkStep says which connection a step uses.
type FlowLinkStep struct {
	bun.BaseModel `bun:"flow_link_steps,alias:fls"`

	OrgID        ID     `bun:",pk"`
	FlowLinkID   ID     `bun:",pk"`
	Step         string `bun:",pk"`
	ConnectionID ID
}

// GetFlow reads a flow.
func GetFlow(ctx context.Context, idb bun.IDB, org, id ID) (Flow, error) {
	var f Flow
	err := idb.NewSelect().Model(&f).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return f, found(err)
}

// NewestVersion reads a flow's newest published version.
func NewestVersion(ctx context.Context, idb bun.IDB, org, flow ID) (FlowVersion, error) {
	var v FlowVersion
	err := idb.NewSelect().Model(&v).Where("org_id = ? AND flow_id = ?", org, flow).OrderExpr("number DESC").Limit(1).Scan(ctx)
	return v, found(err)
}

// GetFlowLink reads a flow link; a deleted one is not found.
func GetFlowLink(ctx context.Context, idb bun.IDB, org, id ID) (FlowLink, error) {
	var l FlowLink
	err := idb.NewSelect().Model(&l).Where("org_id = ? AND id = ? AND deleted_at IS NULL", org, id).Scan(ctx)
	return l, found(err)
}

// FlowLinkSteps are the connections of a link's steps.
func FlowLinkSteps(ctx context.Context, idb bun.IDB, org, link ID) ([]FlowLinkStep, error) {
	var steps []FlowLinkStep
	err := idb.NewSelect().Model(&steps).Where("org_id = ? AND flow_link_id = ?", org, link).OrderExpr("step").Scan(ctx)
	return steps, err
}

// GetFlowVersion reads one published version.
func GetFlowVersion(ctx context.Context, idb bun.IDB, org, id ID) (FlowVersion, error) {
	var v FlowVersion
	err := idb.NewSelect().Model(&v).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return v, found(err)
}

// EnabledLinks are the links that an event of this trigger concerns, in a fixed order; only one when only is given.
func EnabledLinks(ctx context.Context, idb bun.IDB, org, connection ID, trigger string, only ID) ([]FlowLink, error) {
	var links []FlowLink
	q := idb.NewSelect().Model(&links).Where("org_id = ? AND trigger_connection_id = ? AND trigger = ? AND deleted_at IS NULL", org, connection, trigger).OrderExpr("id")
	if only == uuid.Nil {
		q.Where("enabled")
	} else {
		q.Where("id = ?", only)
	}
	err := q.Scan(ctx)
	return links, err
}

// GetFlowLinkAny reads a flow link, deleted or not: old runs go on with it.
func GetFlowLinkAny(ctx context.Context, idb bun.IDB, org, id ID) (FlowLink, error) {
	var l FlowLink
	err := idb.NewSelect().Model(&l).Where("org_id = ? AND id = ?", org, id).Scan(ctx)
	return l, found(err)
}

// LinkOutcome notes a link's health after a run of it has ended.
func LinkOutcome(ctx context.Context, idb bun.IDB, org, id ID, failed bool) error {
	set := "last_success_at = now(), failing_since = NULL"
	if failed {
		set = "failing_since = coalesce(failing_since, now())"
	}
	_, err := idb.NewUpdate().Model((*FlowLink)(nil)).Set(set).Where("org_id = ? AND id = ?", org, id).Exec(ctx)
	return err
}
