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
	"time"

	"tieline/db"
)

// LinkChange is what a user wants changed of a flow link. What is nil stays.
type LinkChange struct {
	Name        *string
	Connections map[string]db.ID // the roles that change: TriggerSlot and steps' keys
	Params      map[string]any   // all of them, anew
	Filter      *string          // empty: none
	Redact      []string         // all of them, anew
	Version     *int             // of the flow, to stay with; zero: the newest, whichever that is
}

// Moved says what it means that a role of a link is bound to another connection.
type Moved struct {
	Role    string
	From    db.Connection
	To      db.Connection
	Missing int // records that are linked in the old vendor account and not in the new one; none where it is the same
}

// Same tells whether both connections open one vendor account: then nothing is lost.
func (m Moved) Same() bool { return m.From.VendorAccountID == m.To.VendorAccountID }

// rehearing is how far back events are looked into once more that came in through a link's new connection before it listened.
const rehearing = 15 * time.Minute

// UpdateLink changes a flow link, also one that is on. Within a vendor account no event is lost and none acted on twice: what
// the old connection has heard by now is dispatched first, and what the new one has heard alone is dispatched again. Another
// account begins as with enableFlowLink: what it holds already is no news. With look nothing is changed.
func (e *Engine) UpdateLink(ctx context.Context, org, id db.ID, in LinkChange, look bool, door Door, commit Commit) ([]Moved, error) {
	link, err := db.GetFlowLink(ctx, e.DB, org, id)
	if err != nil {
		return nil, err
	}
	use, err := e.bound(ctx, e.DB, link)
	if err != nil {
		return nil, err
	}
	version, err := db.LinkVersion(ctx, e.DB, link)
	if in.Version != nil {
		version, err = chosenVersion(ctx, e.DB, db.Flow{OrgID: org, ID: link.FlowID}, *in.Version)
		if link.PinnedVersionID = version.ID; *in.Version == 0 {
			link.PinnedVersionID = db.ID{}
		}
	}
	if err != nil {
		return nil, err
	}
	p, err := e.plan(ctx, e.DB, org, version.ID)
	if err != nil {
		return nil, err
	}
	next, moves, err := e.rebound(ctx, p, &link, use, in)
	if err != nil {
		return nil, err
	}
	if look {
		return moves, nil
	}
	if link.Enabled && len(moves) > 0 {
		if bad := next.broken(); len(bad) > 0 {
			return nil, bad
		}
		if bad, err := e.lacking(ctx, link, next); err != nil || len(bad) > 0 {
			return nil, cmp.Or(err, bad.or())
		}
	}
	var trigger *Moved
	if i := slices.IndexFunc(moves, func(m Moved) bool { return m.Role == TriggerSlot }); i >= 0 {
		trigger = &moves[i]
	}
	if link.Enabled && trigger != nil {
		if err := e.handOver(ctx, *trigger, link.Trigger, door); err != nil {
			return nil, err
		}
	}
	return moves, e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		if link.Enabled && len(moves) > 0 {
			// Held, so that none is deleted beside it.
			if n, err := db.HoldConnections(ctx, tx, org, next.ids()); err != nil {
				return err
			} else if n < len(next.conns) {
				return problem(CodeState, "A connection of the link was deleted or has stopped working meanwhile.", "id")
			}
		}
		if err := db.SaveFlowLink(ctx, tx, &link, trigger != nil && !trigger.Same()); err != nil {
			return taken(err)
		}
		if err := e.move(ctx, tx, link, moves); err != nil {
			return err
		}
		if in.Version != nil {
			if err := db.UnbindSteps(ctx, tx, org, id, p.stepKeys()); err != nil {
				return err
			}
		}
		if link.Enabled && (trigger != nil || in.Params != nil) {
			if err := e.setClock(ctx, tx, &link); err != nil {
				return err
			}
		}
		return commit(ctx, tx, id)
	})
}

// rebound puts the change into the link's row and says to what the link is bound then, and which of that is new. All that is
// wrong with it comes at once.
func (e *Engine) rebound(ctx context.Context, p *plan, link *db.FlowLink, use bound, in LinkChange) (next bound, moves []Moved, err error) {
	var bad Problems
	if in.Name != nil {
		link.Name = strings.TrimSpace(*in.Name)
		bad = append(bad, checkName(link.Name)...)
	}
	if in.Params != nil {
		found := p.checkParams(in.Params)
		if len(found) == 0 {
			_, err := p.clock(ctx, in.Params)
			if problems, ok := errors.AsType[Problems](err); ok {
				found = problems
			} else if err != nil {
				return next, nil, err
			}
		}
		bad = append(bad, found...)
		if link.Params, err = json.Marshal(in.Params); err != nil {
			return next, nil, err
		}
	}
	if in.Version != nil && in.Params == nil { // another version may want others
		var given map[string]any
		if err := json.Unmarshal(link.Params, &given); err != nil {
			return next, nil, err
		}
		bad = append(bad, p.checkParams(given)...)
	}
	if in.Filter != nil {
		link.Filter = strings.TrimSpace(*in.Filter)
		bad = append(bad, p.checkFilter(link.Filter)...)
	}
	if in.Redact != nil {
		link.Redact = in.Redact
		bad = append(bad, checkRedact(in.Redact)...)
	}
	if p.Trigger.Key != link.Trigger {
		if link.Enabled {
			bad = append(bad, problem(CodeState, fmt.Sprintf("That version is started by %s and not by %s. Switch the link off first, with disableFlowLink.", p.Trigger.Key, link.Trigger), "version")...)
		}
		link.Trigger = p.Trigger.Key
	}
	if len(in.Connections) == 0 && in.Version == nil {
		return use, nil, bad.or()
	}
	chosen := map[string]db.ID{}
	for _, r := range use.roles {
		if r.Step == TriggerSlot || slices.Contains(p.stepKeys(), r.Step) {
			chosen[r.Step] = r.ConnectionID
		}
	}
	maps.Copy(chosen, in.Connections)
	conns, err := db.ConnectionsOf(ctx, e.DB, link.OrgID, slices.Collect(maps.Values(chosen)))
	if err != nil {
		return next, nil, err
	}
	if bad = append(bad, p.checkConnections(chosen, conns)...); len(bad) > 0 {
		return next, nil, bad
	}
	next = bound{conns: map[db.ID]db.Connection{}}
	for _, role := range append([]string{TriggerSlot}, p.stepKeys()...) {
		to := conns[chosen[role]]
		next.roles, next.conns[to.ID] = append(next.roles, db.FlowLinkStep{OrgID: link.OrgID, FlowLinkID: link.ID, Step: role, ConnectionID: to.ID}), to
		from := db.Connection{}
		for _, r := range use.roles {
			if r.Step == role {
				from = use.conns[r.ConnectionID]
			}
		}
		if from.ID == to.ID {
			continue
		}
		m := Moved{Role: role, From: from, To: to}
		if from.ID != (db.ID{}) && !m.Same() {
			if m.Missing, err = db.MappedApart(ctx, e.DB, link.OrgID, from.VendorAccountID, to.VendorAccountID); err != nil {
				return next, nil, err
			}
		}
		moves = append(moves, m)
	}
	link.TriggerConnectionID = chosen[TriggerSlot]
	return next, moves, nil
}

func (p *plan) stepKeys() []string {
	keys := make([]string, len(p.steps))
	for i, s := range p.steps {
		keys[i] = s.Key
	}
	return keys
}

// handOver makes the new connection of a trigger ready: what it holds is known, and within one account whatever happened before
// that is dispatched through the old one, which still listens.
func (e *Engine) handOver(ctx context.Context, m Moved, trigger string, door Door) error {
	order := []db.Connection{m.To}
	if m.Same() && m.From.State == ConnActive && m.From.DeletedAt.IsZero() {
		order = append(order, m.From)
	}
	for _, c := range order {
		if err := e.catchUp(ctx, c, trigger, door); err != nil {
			app, _ := e.Apps.App(c.App)
			return refusal(app, err, "connections", TriggerSlot)
		}
	}
	return nil
}

// move writes what the link is bound to now. Runs that have not ended go on with the new connection where it opens the same
// vendor account; elsewhere they go on with the old one.
func (e *Engine) move(ctx context.Context, tx db.Tx, link db.FlowLink, moves []Moved) error {
	for _, m := range moves {
		if m.Role != TriggerSlot {
			if err := db.BindStep(ctx, tx, db.FlowLinkStep{OrgID: link.OrgID, FlowLinkID: link.ID, Step: m.Role, ConnectionID: m.To.ID}); err != nil {
				return err
			}
			if m.Same() {
				if err := db.RebindRuns(ctx, tx, link.OrgID, link.ID, m.Role, m.From.ID, m.To.ID); err != nil {
					return err
				}
			}
			continue
		}
		if !m.Same() {
			continue
		}
		if err := db.RebindTriggers(ctx, tx, link.OrgID, link.ID, m.From.ID, m.To.ID); err != nil {
			return err
		}
		if !link.Enabled {
			continue
		}
		missed, err := db.Rehear(ctx, tx, link, time.Now().Add(-rehearing))
		if err != nil {
			return err
		}
		tasks := make([]Task, len(missed))
		for i, ev := range missed {
			tasks[i] = Task{Kind: Dispatch, Org: ev.OrgID, ID: ev.ID}
		}
		if err := e.Queue.Add(ctx, tx, tasks...); err != nil {
			return err
		}
	}
	if !slices.ContainsFunc(moves, Moved.Same) {
		return nil
	}
	woken, err := db.WakeRuns(ctx, tx, "org_id = ? AND flow_link_id = ? AND waiting_reason = 'REAUTH'", link.OrgID, link.ID)
	if err != nil {
		return err
	}
	return e.queued(ctx, tx, woken...)
}
