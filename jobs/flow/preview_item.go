package flow

import (
	"context"
	"fmt"
	"slices"

	"tieline/connectors"
	"tieline/db"
)

// list reads the first page of what a step lists, and says what of it is linked already. What is done for each record is shown
// for the first one that is not.
func (v *viewing) list(ctx context.Context, c connectors.Conn, s *db.Step, p planStep, raw []byte) (out any, says string, err error) {
	page, err := p.action.Walk.Page(ctx, c, raw, "")
	if err != nil {
		return nil, "", err
	}
	out = map[string]any{"listed": len(page.Entries)}
	if len(page.Entries) == 0 {
		return out, "It lists nothing.", nil
	}
	ids := make([]string, len(page.Entries))
	for i, e := range page.Entries {
		ids[i] = e.Record.ID
	}
	slots, err := db.SlotsOfRecords(ctx, v.e.DB, v.a.run.OrgID, s.VendorAccountID, page.Entries[0].Record.Entity, ids)
	if err != nil {
		return nil, "", err
	}
	w := &passage{a: v.a, step: s, plan: p, first: s.Position + 1}
	linked := 0
	v.a.item = nil
	for _, e := range page.Entries {
		it := &item{entry: e, slots: slots[e.Record.ID]}
		if len(it.slots) > 0 {
			it.mapping = it.slots[0].MappingID
		}
		is := w.linked(it)
		if is {
			linked++
		}
		if v.a.item == nil || !is && w.linked(v.a.item) {
			v.a.item = it
		}
	}
	if v.a.vars["item"], err = asJSON(v.a.item.entry.Value); err != nil {
		return nil, "", err
	}
	v.a.vars["run"].(map[string]any)["linked"] = w.linked(v.a.item)
	says, who := "Listed", v.a.item.entry.Record.ID
	if page.More {
		says = "Listed on the first page"
	}
	says += fmt.Sprintf(": %d", len(page.Entries))
	if slices.ContainsFunc(v.a.plan.steps[w.first:w.first+p.items], func(p planStep) bool { return p.match != nil }) {
		says += fmt.Sprintf(", linked already: %d", linked)
	}
	if name := v.a.item.entry.Record.Name; name != "" {
		who = fmt.Sprintf("%s (%s)", name, who)
	}
	return out, fmt.Sprintf("%s. What is done for each is shown for %s.", says, who), nil
}

// recognise finds out what the record that is shown is on the other side, by the ids that it names and by ours. note says what
// is told by the lists alone, which only a run reads whole.
func (v *viewing) recognise(ctx context.Context, s *db.Step, p planStep, out *PreviewStep) (note string, err error) {
	it := v.a.item
	if it.slot(s.VendorAccountID, p.action.Entity) != nil {
		return "", nil
	}
	want, err := p.match.want(ctx, v.env(), it)
	if err != nil {
		return "", err
	}
	c, j, err := v.open(s, v.a.conns[s.ConnectionID], out)
	if err != nil {
		return "", err
	}
	for _, n := range append(want.named, want.own) {
		k, there, err := p.match.read(ctx, c, n)
		if err != nil {
			return "", err
		}
		if !there {
			continue
		}
		ref := connectors.Ref{ID: k.Root(), Name: it.entry.Record.Name, Adopted: true}
		for _, l := range p.match.lists {
			if l.Entity == p.action.Entity {
				continue
			}
			below := db.Known{Entity: l.Entity, ExternalID: ref.ID} // as those do that we make
			if k.Entity == l.Entity {
				below = k
			} else if b, there, err := p.match.read(ctx, c, [2]string{l.Entity, ref.ID}); err != nil {
				return "", err
			} else if !there || b.ParentID != ref.ID {
				below.ExternalID = j.later(l.Entity, "")
				note = fmt.Sprintf("If more than one %s hangs below it, nothing says which is meant, and it is reported as a possible duplicate.", l.Entity)
			}
			ref.With = append(ref.With, connectors.Slot{Entity: l.Entity, ID: below.ExternalID})
		}
		it.match = &matched{account: s.VendorAccountID, entity: p.action.Entity, ref: ref}
		return note, nil
	}
	if want.email != nil {
		note = "Whether another record has its e-mail address is found out by the run, which reads all of them."
	}
	return note, nil
}
