package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/uptrace/bun"

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
	Version     int      // of the flow, to stay with; zero: the newest, whichever that is
	Filter      string   // an expression that an event must satisfy; empty: any does
	Redact      []string // fields that the history of runs hides, by name or path
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
	version, err := chosenVersion(ctx, tx, f, in.Version)
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
	in.Filter = strings.TrimSpace(in.Filter)
	bad = append(bad, p.checkFilter(in.Filter)...)
	bad = append(bad, checkRedact(in.Redact)...)
	bad = append(bad, p.checkParams(in.Params)...)
	if len(bad) == 0 {
		_, err := p.clock(ctx, in.Params)
		if found, ok := errors.AsType[Problems](err); ok {
			bad = append(bad, found...)
		} else if err != nil {
			return db.FlowLink{}, err
		}
	}
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
		Trigger: p.Trigger.Key, Params: params, Filter: in.Filter, Redact: append([]string{}, in.Redact...),
	}
	if in.Version != 0 {
		link.PinnedVersionID = version.ID
	}
	steps := make([]db.FlowLinkStep, len(p.steps))
	for i, s := range p.steps {
		steps[i] = db.FlowLinkStep{OrgID: org, FlowLinkID: link.ID, Step: s.Key, ConnectionID: in.Connections[s.Key]}
	}
	return link, taken(db.AddFlowLink(ctx, tx, &link, steps))
}

// chosenVersion is the version of a flow that a link asks for.
func chosenVersion(ctx context.Context, tx bun.IDB, f db.Flow, number int) (db.FlowVersion, error) {
	if number != 0 {
		v, err := db.VersionNumber(ctx, tx, f.OrgID, f.ID, number)
		if errors.Is(err, db.ErrNotFound) {
			return v, problem(CodeNotFound, fmt.Sprintf("The flow has no version %d.", number), "version")
		}
		return v, err
	}
	v, err := db.NewestVersion(ctx, tx, f.OrgID, f.ID)
	if errors.Is(err, db.ErrNotFound) {
		return v, problem(CodeState, "The flow was never published, so there is nothing to link. Publish its draft first: publishFlow.", "flowId")
	}
	return v, err
}

// checkConnections says which of a link's connections are missing, of the wrong app, or of the other mode.
func (p *plan) checkConnections(chosen map[string]db.ID, conns map[db.ID]db.Connection) Problems {
	var bad Problems
	need, order := map[string]string{TriggerSlot: p.Trigger.App}, []string{TriggerSlot}
	for _, s := range p.steps {
		need[s.Key] = s.App
		order = append(order, s.Key)
	}
	for _, key := range slices.Sorted(maps.Keys(chosen)) {
		if _, ok := need[key]; !ok {
			bad = append(bad, problem(CodeUnknownField, fmt.Sprintf("The flow has no step %q. Its connections are %s.", key, strings.Join(order, ", ")), "connections", key)...)
		}
	}
	trigger, mode := conns[chosen[TriggerSlot]], ""
	for _, key := range order {
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
		case c.App == trigger.App && c.VendorAccountID != trigger.VendorAccountID:
			// Its input names records of the trigger, whose ids mean nothing, or something else, in another account.
			bad = append(bad, problem(CodeOtherAccount, fmt.Sprintf("This connection opens %s and the trigger's %s. A step of the trigger's app works on the trigger's records, so it needs a connection to the same account.",
				c.VendorAccount.ExternalID, trigger.VendorAccount.ExternalID), "connections", key)...)
		default:
			mode = c.VendorAccount.Mode
		}
	}
	return bad
}

// bound is what a link's roles, its trigger and its steps, are bound to. What was deleted is among conns.
type bound struct {
	roles []db.FlowLinkStep // the trigger's first
	conns map[db.ID]db.Connection
}

func (e *Engine) bound(ctx context.Context, idb bun.IDB, l db.FlowLink) (bound, error) {
	steps, err := db.FlowLinkSteps(ctx, idb, l.OrgID, l.ID)
	if err != nil {
		return bound{}, err
	}
	b := bound{roles: append([]db.FlowLinkStep{{Step: TriggerSlot, ConnectionID: l.TriggerConnectionID}}, steps...)}
	b.conns, err = db.ConnectionsOf(ctx, idb, l.OrgID, b.ids())
	return b, err
}

func (b bound) ids() []db.ID {
	out := make([]db.ID, len(b.roles))
	for i, r := range b.roles {
		out[i] = r.ConnectionID
	}
	return out
}

// gone says which connections were deleted, each once with all its roles.
func (b bound) gone() Problems {
	return b.each(func(c db.Connection, roles string) Problems {
		if c.DeletedAt.IsZero() {
			return nil
		}
		return problem(CodeState, fmt.Sprintf("The connection %q, which the link uses for %s, was deleted. Choose another one with updateFlowLink.", c.Name, roles), "id")
	})
}

// broken says which connections do not work.
func (b bound) broken() Problems {
	return b.each(func(c db.Connection, roles string) Problems {
		if c.State == ConnActive {
			return nil
		}
		return problem(CodeState, fmt.Sprintf("The connection %q, which the link uses for %s, is %s: repair it first, with updateConnection or testConnection.", c.Name, roles, c.State), "id")
	})
}

func (b bound) each(judge func(c db.Connection, roles string) Problems) (bad Problems) {
	roles := map[db.ID][]string{}
	for _, r := range b.roles {
		roles[r.ConnectionID] = append(roles[r.ConnectionID], r.Step)
	}
	for _, r := range b.roles {
		if r.Step == roles[r.ConnectionID][0] {
			bad = append(bad, judge(b.conns[r.ConnectionID], strings.Join(roles[r.ConnectionID], " and "))...)
		}
	}
	return bad
}

// EnableLink switches a link on, unless the credentials of its connections are known to lack what it needs. What its trigger's app holds already is read first, where only reading can tell it
// from news, so that a link acts on what comes after it was enabled.
func (e *Engine) EnableLink(ctx context.Context, org, id db.ID, door Door, commit Commit) (db.FlowLink, error) {
	link, err := db.GetFlowLink(ctx, e.DB, org, id)
	if err != nil {
		return link, err
	}
	use, err := e.bound(ctx, e.DB, link)
	if err != nil {
		return link, err
	}
	if bad := use.gone(); len(bad) > 0 {
		return link, bad
	}
	if bad := use.broken(); len(bad) > 0 {
		return link, bad
	}
	if bad, err := e.lacking(ctx, link, use); err != nil || len(bad) > 0 {
		return link, cmp.Or(err, bad.or())
	}
	ids, conns := use.ids(), use.conns
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
		was := link.Enabled
		if err := db.SwitchLink(ctx, tx, &link, true); err != nil {
			return err
		}
		if !was {
			if err := e.setClock(ctx, tx, &link); err != nil {
				return err
			}
		}
		return commit(ctx, tx, id)
	})
	return link, err
}

// DisableLink switches a link off. Runs that exist go on; events that come meanwhile make none. It answers what waits there.
func (e *Engine) DisableLink(ctx context.Context, tx db.Tx, org, id db.ID) (db.Waiting, error) {
	link, err := db.GetFlowLink(ctx, tx, org, id)
	if err != nil {
		return db.Waiting{}, err
	}
	if err := db.SwitchLink(ctx, tx, &link, false); err != nil {
		return db.Waiting{}, err
	}
	return db.WaitingAt(ctx, tx, link)
}

// DeleteLink removes a link. Its runs stay, and those that are not over go on.
func (e *Engine) DeleteLink(ctx context.Context, tx db.Tx, org, id db.ID) (db.FlowLink, error) {
	link, err := db.GetFlowLink(ctx, tx, org, id)
	if err != nil {
		return link, err
	}
	return link, db.DropFlowLink(ctx, tx, org, id)
}
