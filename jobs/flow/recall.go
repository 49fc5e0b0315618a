package flow

import (
	"context"
	"slices"

	"tieline/connectors"
	"tieline/db"
)

// A step whose target the change came through is done without being taken, and so leaves no output. Where a later step reads
// one, it is worked out: the action runs with a journal that sends nothing, and answers each write with the record that the
// mapping has for it.

// recall works out the outputs that a step reads of such steps. It answers through which connection an error came.
func (a *Activation) recall(ctx context.Context, i int) (db.ID, error) {
	for _, k := range a.plan.steps[i].needs {
		s, p := &a.steps[k], a.plan.steps[k]
		if s.State != Adopted || len(s.Output) > 0 || !slices.Contains(a.run.Chain, s.VendorAccountID) || p.items > 0 || p.ForEach != "" {
			continue
		}
		if through, err := a.recall(ctx, k); err != nil {
			return through, err
		}
		err := a.recollect(ctx, s, p)
		if connectors.KindOf(err) == connectors.Unauthorized { // whoever mends that connection does not know of the step that reads
			err = &errWait{reason: ForRetry, for_: a.e.timing().RetryMax, why: err.Error()}
		}
		if err != nil {
			return s.ConnectionID, err
		}
		a.done = append(a.done, s)
	}
	return db.ID{}, nil
}

func (a *Activation) recollect(ctx context.Context, s *db.Step, p planStep) error {
	conn, ok := a.conns[s.ConnectionID]
	if !ok || !conn.DeletedAt.IsZero() {
		return connectors.Errorf(connectors.Invalid, "the connection of the step %q, which this one reads, was deleted", s.Key)
	}
	if p.when != nil { // what would have been left out leaves nothing
		if yes, err := p.when.Eval(ctx, a.env()); err != nil || !yes {
			return err
		}
	}
	in, err := p.input.Render(ctx, a.env())
	if err != nil {
		return err
	}
	raw, err := storable(in)
	if err != nil {
		return err
	}
	j := a.journal(s, conn)
	if p.record != nil {
		if j.mapping, err = a.about(ctx, s, p); err != nil {
			return err
		}
	}
	c, err := a.e.open(conn, recalling{j})
	if err != nil {
		return err
	}
	out, err := runAction(ctx, p.action, c, raw)
	if err != nil {
		return err
	}
	return a.leave(s, out, c.Hide)
}

// recalling is a journal that remembers, and sends nothing.
type recalling struct{ *journal }

// Effect implements connectors.Journal.
func (r recalling) Effect(ctx context.Context, in connectors.Intent, _ connectors.Probe, _ connectors.Send) (connectors.Ref, error) {
	if in.Kind == connectors.SetEffect {
		return connectors.Ref{ID: in.Slots[0].ID, Adopted: true}, nil
	}
	if ef, err := r.known(ctx, r.key(in)); err != nil {
		return connectors.Ref{}, err
	} else if ef != nil && ef.State == EffectConfirmed {
		return refOf(ef)
	}
	if in.Kind == connectors.CreateEffect {
		ref, err := r.mapped(ctx, in)
		if err != nil || ref.ID != "" {
			return ref, err
		}
	}
	return connectors.Ref{}, connectors.Errorf(connectors.NotFound, "the change came from %s, and nothing says which %s it is there; link it with createMapping and try again", r.app.Name, in.Slots[0].Entity)
}

// Adopt implements connectors.Journal.
func (r recalling) Adopt(ctx context.Context, in connectors.Intent, _ connectors.Ref) (connectors.Ref, error) {
	return r.Effect(ctx, in, nil, nil)
}

// mapped is what the mapping holds, or that of the record it belongs to: a second account has its customer there.
func (r recalling) mapped(ctx context.Context, in connectors.Intent) (ref connectors.Ref, err error) {
	known, err := db.MappingsOf(ctx, r.e.DB, r.conn.OrgID, []db.ID{r.mapping})
	if err != nil {
		return ref, err
	}
	near := []db.ID{r.mapping, known[r.mapping].ParentID}
	slots, err := db.SlotsByMapping(ctx, r.e.DB, r.conn.OrgID, near)
	if err != nil {
		return ref, err
	}
	for i, want := range in.Slots {
		for _, s := range slices.Concat(slots[near[0]], slots[near[1]]) {
			if s.VendorAccountID != r.conn.VendorAccountID || s.Entity != want.Entity || s.Role != want.Role || s.ExternalID == "" {
				continue
			}
			if i == 0 {
				ref.ID, ref.Name, ref.Attributes, ref.Adopted = s.ExternalID, s.Name, s.Attributes, true
			} else {
				ref.With = append(ref.With, connectors.Slot{Entity: s.Entity, Role: s.Role, ID: s.ExternalID})
			}
			break
		}
	}
	return ref, nil
}
