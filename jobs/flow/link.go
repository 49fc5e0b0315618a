package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tieline/db"
)

// TriggerSlot is the key under which a link names its trigger's connection; steps go by their own keys.
const TriggerSlot = "trigger"

// LinkInput is a flow link as a user asks for it.
type LinkInput struct {
	FlowID      db.ID
	Name        string
	Connections map[string]db.ID // TriggerSlot and every step's key
	Params      map[string]any
}

// CreateLink binds a flow to connections. It starts disabled.
func (e *Engine) CreateLink(ctx context.Context, tx db.Tx, org db.ID, in LinkInput) (db.FlowLink, error) {
	f, err := db.GetFlow(ctx, tx, org, in.FlowID)
	if errors.Is(err, db.ErrNotFound) {
		return db.FlowLink{}, problem(CodeNotFound, "There is no such flow.", "flowId")
	}
	if err != nil {
		return db.FlowLink{}, err
	}
	version, err := db.NewestVersion(ctx, tx, org, f.ID)
	if err != nil {
		return db.FlowLink{}, err
	}
	p, err := e.plan(ctx, tx, org, version.ID)
	if err != nil {
		return db.FlowLink{}, err
	}
	in.Name = strings.TrimSpace(in.Name)
	if in.Params == nil {
		in.Params = map[string]any{}
	}
	var bad Problems
	bad = append(bad, checkName(in.Name)...)
	bad = append(bad, p.checkParams(in.Params)...)
	conns, err := db.ConnectionsOf(ctx, tx, org, slices.Collect(maps.Values(in.Connections)))
	if err != nil {
		return db.FlowLink{}, err
	}
	if bad = append(bad, p.checkConnections(in.Connections, conns)...); len(bad) > 0 {
		return db.FlowLink{}, bad
	}
	params, err := json.Marshal(in.Params)
	if err != nil {
		return db.FlowLink{}, err
	}
	link := db.FlowLink{
		OrgID: org, ID: db.NewID(), FlowID: f.ID, Name: in.Name, TriggerConnectionID: in.Connections[TriggerSlot],
		Trigger: p.Trigger.Key, Params: params,
	}
	steps := make([]db.FlowLinkStep, len(p.steps))
	for i, s := range p.steps {
		steps[i] = db.FlowLinkStep{OrgID: org, FlowLinkID: link.ID, Step: s.Key, ConnectionID: in.Connections[s.Key]}
	}
	return link, taken(db.AddFlowLink(ctx, tx, &link, steps))
}

// checkConnections says which of a link's connections are missing, of the wrong app, or of the other mode.
func (p *plan) checkConnections(chosen map[string]db.ID, conns map[db.ID]db.Connection) Problems {
	var bad Problems
	need := map[string]string{TriggerSlot: p.Trigger.App}
	for _, s := range p.steps {
		need[s.Key] = s.App
	}
	for key := range chosen {
		if _, ok := need[key]; !ok {
			bad = append(bad, problem(CodeUnknownField, fmt.Sprintf("The flow has no step %q.", key), "connections", key)...)
		}
	}
	mode := ""
	for _, key := range slices.Sorted(maps.Keys(need)) {
		id, given := chosen[key]
		c, there := conns[id]
		switch {
		case !given:
			bad = append(bad, problem(CodeRequired, fmt.Sprintf("A connection of %s is needed here.", need[key]), "connections", key)...)
		case !there || !c.DeletedAt.IsZero():
			bad = append(bad, problem(CodeNotFound, "There is no such connection.", "connections", key)...)
		case c.App != need[key]:
			bad = append(bad, problem(CodeInvalid, fmt.Sprintf("A connection of %s is needed here; this one is of %s.", need[key], c.App), "connections", key)...)
		case mode != "" && c.VendorAccount.Mode != mode:
			bad = append(bad, problem(CodeModeMismatch, fmt.Sprintf("This connection is for %s data and another of the link for %s. The two never meet in one link.", c.VendorAccount.Mode, mode), "connections", key)...)
		default:
			mode = c.VendorAccount.Mode
		}
	}
	return bad
}

// EnableLink switches a link on. What its trigger's app holds already is read first, where only reading can tell it
// from news, so that a link acts on what comes after it was enabled.
func (e *Engine) EnableLink(ctx context.Context, org, id db.ID, door Door, commit Commit) (db.FlowLink, error) {
	link, err := db.GetFlowLink(ctx, e.DB, org, id)
	if err != nil {
		return link, err
	}
	steps, err := db.FlowLinkSteps(ctx, e.DB, org, id)
	if err != nil {
		return link, err
	}
	ids := []db.ID{link.TriggerConnectionID}
	for _, s := range steps {
		ids = append(ids, s.ConnectionID)
	}
	conns, err := db.ConnectionsOf(ctx, e.DB, org, ids)
	if err != nil {
		return link, err
	}
	var bad Problems
	for _, c := range conns {
		if c.State != ConnActive {
			bad = append(bad, problem(CodeState, fmt.Sprintf("Connection %q is %s: repair it first.", c.Name, c.State), "id")...)
		}
	}
	if len(bad) > 0 {
		return link, bad
	}
	if err := e.catchUp(ctx, conns[link.TriggerConnectionID], link.Trigger, door); err != nil {
		app, _ := e.Apps.App(conns[link.TriggerConnectionID].App)
		return link, refusal(app, err, "id")
	}
	err = e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		// Held, so that none is deleted beside it.
		if n, err := db.HoldConnections(ctx, tx, org, ids); err != nil {
			return err
		} else if n < len(conns) {
			return problem(CodeState, "A connection of the link was deleted or has stopped working meanwhile.", "id")
		}
		if err := db.SwitchLink(ctx, tx, &link, true); err != nil {
			return err
		}
		return commit(ctx, tx, id)
	})
	return link, err
}

// DisableLink switches a link off. Runs that exist go on; events that come meanwhile make none.
func (e *Engine) DisableLink(ctx context.Context, tx db.Tx, org, id db.ID) (db.FlowLink, error) {
	link, err := db.GetFlowLink(ctx, tx, org, id)
	if err != nil {
		return link, err
	}
	err = db.SwitchLink(ctx, tx, &link, false)
	return link, err
}

// DeleteLink removes a link. Its runs stay, and those that are not over go on.
func (e *Engine) DeleteLink(ctx context.Context, tx db.Tx, org, id db.ID) (db.FlowLink, error) {
	link, err := db.GetFlowLink(ctx, tx, org, id)
	if err != nil {
		return link, err
	}
	return link, db.DropFlowLink(ctx, tx, org, id)
}
