package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// replayAtOnce is how many runs are made again in one transaction.
const replayAtOnce = 50

// CountReplay counts the runs that a replay would make again.
func (e *Engine) CountReplay(ctx context.Context, tx db.Tx, org db.ID, f db.ReplayFilter) (int, error) {
	now, err := db.Now(ctx, tx)
	if err != nil {
		return 0, err
	}
	return db.CountReplayable(ctx, tx, org, f, now)
}

// StartReplay has the runs that a filter finds made again, in the background. expected is the number that was agreed to; another
// one refuses it, nil does not.
func (e *Engine) StartReplay(ctx context.Context, tx db.Tx, org db.ID, f db.ReplayFilter, expected *int32) (db.Replay, error) {
	n, err := e.CountReplay(ctx, tx, org, f)
	switch {
	case err != nil:
		return db.Replay{}, err
	case expected != nil && int(*expected) != n:
		return db.Replay{}, problem(CodeState, fmt.Sprintf("%d runs match now, not %d. Look at them again, and repeat it with the new number.", n, *expected), "expected")
	case n == 0:
		return db.Replay{}, problem(CodeState, "No run matches. Only runs that SUCCEEDED, FAILED or were CANCELLED can be replayed; a SUPPRESSED one has nothing to do.", "filter")
	}
	rp := db.Replay{OrgID: org, ID: db.NewID(), Matched: n, Skips: json.RawMessage("{}")}
	if rp.Filter, err = json.Marshal(f); err != nil {
		return rp, err
	}
	if err := db.AddReplay(ctx, tx, &rp); err != nil {
		return rp, err
	}
	return rp, e.Queue.Add(ctx, tx, Task{Kind: Replay, Org: org, ID: rp.ID})
}

// CancelReplay has a replay make no more runs. Those that it has made go on.
func (e *Engine) CancelReplay(ctx context.Context, tx db.Tx, org, id db.ID) error {
	rp, err := db.CancelReplay(ctx, tx, org, id)
	if err == nil && !rp.Cancelled {
		err = problem(CodeState, "The replay is finished, so there is nothing to cancel.", "id")
	}
	return err
}

// Replay goes on with a replay, for a turn. Each batch of runs is made together with the note how far it has come, so that doing
// it twice, or dying in the middle, makes none twice.
func (e *Engine) Replay(ctx context.Context, org, id db.ID) error {
	for until := time.Now().Add(e.timing().Turn); ; {
		more := false
		err := e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) (err error) {
			more, err = e.replaySome(ctx, tx, org, id)
			if err == nil && more && time.Now().After(until) {
				err = e.Queue.Add(ctx, tx, Task{Kind: Replay, Org: org, ID: id})
			}
			return err
		})
		if errors.Is(err, db.ErrNotFound) { // it is finished
			return nil
		}
		if err != nil || !more || time.Now().After(until) {
			return err
		}
	}
}

// replaySome makes the next runs of a replay again. It stops before a second run of a lane, which must see the first.
func (e *Engine) replaySome(ctx context.Context, tx db.Tx, org, id db.ID) (more bool, err error) {
	rp, err := db.LockReplay(ctx, tx, org, id)
	if err != nil {
		return false, err
	}
	var f db.ReplayFilter
	if err := json.Unmarshal(rp.Filter, &f); err != nil {
		return false, fmt.Errorf("reading the filter of replay %s: %w", id, err)
	}
	runs, err := db.Replayable(ctx, tx, rp, f, replayAtOnce)
	if err != nil {
		return false, err
	}
	lanes := map[db.Lane]bool{}
	for i, r := range runs {
		if lanes[laneOf(r)] {
			runs = runs[:i]
			break
		}
		lanes[laneOf(r)] = true
	}
	if len(runs) == 0 {
		return false, db.SaveReplay(ctx, tx, rp, true)
	}
	skips := map[string]int{}
	if err := json.Unmarshal(rp.Skips, &skips); err != nil {
		return false, fmt.Errorf("reading what replay %s left out: %w", id, err)
	}
	made, err := e.again(ctx, tx, runs, skips)
	if err != nil {
		return false, err
	}
	rp.Made, rp.At = rp.Made+made, runs[len(runs)-1].ID
	if rp.Skips, err = json.Marshal(skips); err != nil {
		return false, err
	}
	return true, db.SaveReplay(ctx, tx, rp, false)
}

// Why a run is not made again.
const (
	skipDeleted    = "Its flow link was deleted."
	skipElsewhere  = "Its flow link listens to another vendor account now."
	skipUnreadable = "Its event's body is no longer kept, or can no longer be read."
	skipSuppressed = "All its steps would bring back what came from where they write."
	skipMeanwhile  = "It was replayed meanwhile."
)

// again makes runs for the same events at the same links, with the links as they are now. It adds to skips what it leaves out.
func (e *Engine) again(ctx context.Context, tx db.Tx, runs []db.Run, skips map[string]int) (made int, err error) {
	events, links, keys := map[db.ID]db.Stored{}, map[db.ID]bool{}, []db.Key(nil)
	for _, r := range runs {
		if _, known := events[r.EventID]; !known {
			events[r.EventID], keys = db.Stored{}, append(keys, db.Key{OrgID: r.OrgID, ID: r.EventID})
		}
		links[r.FlowLinkID] = true
	}
	stored, err := db.LockEvents(ctx, tx, keys...)
	if err != nil {
		return 0, err
	}
	for _, ev := range stored {
		events[ev.ID] = ev
	}
	bound, conns, err := e.boundNow(ctx, tx, runs[0].OrgID, links, events)
	if err != nil {
		return 0, err
	}
	var all []*dispatching
	for _, r := range runs {
		d, why, err := e.repeat(ctx, tx, r, events[r.EventID], bound[r.FlowLinkID], conns)
		if err != nil {
			return 0, err
		}
		if why != "" {
			skips[why]++
			continue
		}
		all = append(all, d)
	}
	if err := e.mapRecords(ctx, tx, all); err != nil {
		return 0, err
	}
	for _, d := range all {
		d.runs[0].MappingID = d.mapping.ID
	}
	if err := e.begin(ctx, tx, all, conns); err != nil {
		return 0, err
	}
	for _, d := range all {
		switch {
		case !d.runs[0].made:
			skips[skipMeanwhile]++
		case d.runs[0].State == Suppressed:
			skips[skipSuppressed]++
		default:
			made++
		}
	}
	return made, nil
}

// boundNow are links as new runs of theirs would see them, and the connections that take part. Links that were deleted are missing.
func (e *Engine) boundNow(ctx context.Context, tx db.Tx, org db.ID, ids map[db.ID]bool, events map[db.ID]db.Stored) (map[db.ID]db.BoundLink, map[db.Key]db.Connection, error) {
	var list []db.ID
	for id := range ids {
		list = append(list, id)
	}
	rows, err := db.FlowLinksOf(ctx, tx, org, list)
	if err != nil {
		return nil, nil, err
	}
	var listeners []db.Listener
	for _, l := range rows {
		if l.DeletedAt.IsZero() {
			listeners = append(listeners, db.Listener{OrgID: org, ConnectionID: l.TriggerConnectionID, Trigger: l.Trigger, FlowLinkID: l.ID})
		}
	}
	links, wanted := map[db.ID]db.BoundLink{}, map[db.Key]bool{}
	if len(listeners) > 0 {
		found, err := db.EnabledLinks(ctx, tx, listeners...)
		if err != nil {
			return nil, nil, err
		}
		for _, of := range found {
			for _, l := range of {
				links[l.ID] = l
				wanted[db.Key{OrgID: org, ID: l.TriggerConnectionID}] = true
				for _, id := range l.Connections {
					wanted[db.Key{OrgID: org, ID: id}] = true
				}
			}
		}
	}
	conns, err := openKeys(ctx, tx, wanted)
	return links, conns, err
}

// repeat prepares a run like one that there was. why says that there can be none.
func (e *Engine) repeat(ctx context.Context, tx db.Tx, r db.Run, ev db.Stored, link db.BoundLink, conns map[db.Key]db.Connection) (d *dispatching, why string, err error) {
	if link.ID == (db.ID{}) {
		return nil, skipDeleted, nil
	}
	if conns[db.Key{OrgID: r.OrgID, ID: link.TriggerConnectionID}].VendorAccountID != ev.VendorAccountID {
		return nil, skipElsewhere, nil
	}
	d = &dispatching{e: e, ev: ev, links: []db.BoundLink{link}}
	if d.occ, err = e.occurrence(ev); errors.Is(err, errUnreadable) {
		return nil, skipUnreadable, nil
	} else if err != nil {
		return nil, "", err
	}
	if d.occ.BusinessKey = r.BusinessKey; d.occ.Vague { // it was read before the run was made
		d.occ.Record, d.occ.Vague = connectors.Subject{Entity: r.Entity, ID: r.RecordID, Name: r.RecordName}, false
	}
	if r.EchoOf != (db.ID{}) {
		ef, err := db.GetEffect(ctx, tx, r.OrgID, r.EchoOf)
		if errors.Is(err, db.ErrNotFound) { // so old that retention has removed it
			ef = db.Effect{ID: r.EchoOf, Chain: r.Chain, MappingID: r.MappingID}
		} else if err != nil {
			return nil, "", err
		}
		d.cause = &ef
	}
	p, err := e.plan(ctx, tx, r.OrgID, link.VersionID)
	if err != nil {
		return nil, "", err
	}
	switch why, err := e.unconcerned(ctx, p, link.FlowLink, d.occ); {
	case err != nil && ctx.Err() != nil:
		return nil, "", err
	case err != nil:
		return nil, "The flow's condition cannot be worked out: " + text(err.Error()), nil
	case why != "":
		return nil, why, nil
	}
	again, err := d.begun(link, p, conns)
	if err != nil {
		return nil, "", err
	}
	again.Replay = r.Replay + 1
	d.runs = []begun{again}
	return d, "", nil
}
