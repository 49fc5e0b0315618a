package flow

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow/expr"
)

// recognition is what is asked about the records of one page.
type recognition struct {
	w      *passage
	m      *match
	conn   db.Connection // of the other side
	app    connectors.Connector
	entity string // of what the records are on the other side
	links  bool   // an equal e-mail address may be enough

	byID    map[[2]string]db.Known // by entity and id
	byEmail map[string][]db.Known
	below   map[string][]db.Known // by what they hang below
	sources map[string]int        // how many records of the list have an address
}

// wanted is what a record says of itself.
type wanted struct {
	it    *item
	named [][2]string // entity and id
	own   [2]string
	email []byte
}

// recognise tells of records that no mapping leads from what they are on the other side: known by an id that they name,
// else by the id that we would have chosen. An equal e-mail address alone is a possible duplicate, unless the flow says that
// it is enough where only one record on either side has it. What is linked to another record already is nobody's duplicate.
func (w *passage) recognise(ctx context.Context, items []*item) error {
	k := slices.IndexFunc(w.a.plan.steps[w.first:w.first+w.plan.items], func(p planStep) bool { return p.match != nil })
	if k < 0 {
		return nil
	}
	p := w.a.plan.steps[w.first+k]
	r := &recognition{w: w, m: p.match, conn: w.a.conns[w.a.steps[w.first+k].ConnectionID], entity: p.action.Entity}
	r.app, _ = w.a.e.Apps.App(r.conn.App)
	var err error
	if r.links, err = r.m.links(ctx, w.a.env()); err != nil {
		return err
	}
	var asked []wanted
	for _, it := range items {
		if it.settles || it.slot(r.conn.VendorAccountID, r.entity) != nil {
			continue
		}
		want, err := r.m.want(ctx, w.a.env(), it)
		if err != nil {
			if err := r.w.judge(ctx, it, r.w.part(it, r.w.a.run), r.w.step, err); err != nil {
				return err
			}
			continue
		}
		asked = append(asked, want)
	}
	if len(asked) == 0 {
		return nil
	}
	if err := r.look(ctx, asked); err != nil {
		return err
	}
	for _, want := range asked {
		if err := r.decide(ctx, want); err != nil {
			return err
		}
	}
	return nil
}

// want renders what a record says of itself.
func (m *match) want(ctx context.Context, env expr.Env, it *item) (wanted, error) {
	value, err := asJSON(it.entry.Value)
	if err != nil {
		return wanted{}, err
	}
	env.Vars = maps.Clone(env.Vars)
	env.Vars["item"] = value
	text := func(t *expr.Template) string {
		if t == nil || err != nil {
			return ""
		}
		var v any
		v, err = t.Render(ctx, env)
		s, _ := v.(string)
		return strings.TrimSpace(s)
	}
	out := wanted{it: it, email: db.HashEmail(text(m.email))}
	for _, n := range m.named {
		if id := text(n.id); id != "" {
			out.named = append(out.named, [2]string{n.entity, id})
		}
	}
	if m.own != nil {
		out.own = [2]string{m.own.entity, text(m.own.id)}
	}
	return out, err
}

// links tells whether an equal e-mail address may be enough.
func (m *match) links(ctx context.Context, env expr.Env) (bool, error) {
	if m.link == nil {
		return false, nil
	}
	return m.link.Eval(ctx, env)
}

// read looks for one record of the other side.
func (m *match) read(ctx context.Context, c connectors.Conn, n [2]string) (db.Known, bool, error) {
	i := slices.IndexFunc(m.lists, func(a connectors.Action) bool { return a.Entity == n[0] })
	if i < 0 || n[1] == "" {
		return db.Known{}, false, nil
	}
	e, err := m.lists[i].Walk.Read(ctx, c, n[1])
	if connectors.KindOf(err) == connectors.NotFound {
		return db.Known{}, false, nil
	}
	return db.Known{Entity: e.Record.Entity, ExternalID: e.Record.ID, ParentID: e.Parent}, err == nil, err
}

// look asks for all that the records of a page may be, at once.
func (r *recognition) look(ctx context.Context, asked []wanted) error {
	var ids []string
	var emails [][]byte
	for _, want := range asked {
		for _, n := range want.named {
			ids = append(ids, n[1])
		}
		ids = append(ids, want.own[1])
		if want.email != nil {
			emails = append(emails, want.email)
		}
	}
	run, source := r.w.a.run, r.w.a.conns[r.w.step.ConnectionID].VendorAccountID
	found, err := db.KnownAs(ctx, r.w.a.e.DB, run.OrgID, run.ID, r.conn.VendorAccountID, r.entity, source, r.w.plan.action.Entity, ids, emails)
	if err != nil {
		return err
	}
	r.byID, r.byEmail, r.below = map[[2]string]db.Known{}, map[string][]db.Known{}, map[string][]db.Known{}
	for _, k := range found {
		r.byID[[2]string{k.Entity, k.ExternalID}] = k
		if k.Email != nil {
			r.byEmail[string(k.Email)] = append(r.byEmail[string(k.Email)], k)
		}
		if k.ParentID != "" {
			r.below[k.ParentID] = append(r.below[k.ParentID], k)
		}
	}
	if r.links {
		r.sources, err = db.CountEmails(ctx, r.w.a.e.DB, run.OrgID, run.ID, source, emails)
	}
	return err
}

func (r *recognition) decide(ctx context.Context, want wanted) error {
	for _, n := range want.named {
		k, there := r.byID[n]
		if !there {
			var err error
			if k, there, err = r.read(ctx, want.it, n); err != nil {
				return err
			}
		}
		if there {
			r.is(want.it, k)
			return nil
		}
		if want.it.state != "" { // it could not be read
			return nil
		}
	}
	if k, there := r.byID[want.own]; there {
		r.is(want.it, k)
		return nil
	}
	if want.email == nil {
		return nil
	}
	roots := map[string]bool{}
	for _, k := range r.byEmail[string(want.email)] {
		if !k.Linked {
			roots[k.Root()] = true
		}
	}
	same := slices.Sorted(maps.Keys(roots))
	switch {
	case len(same) == 0:
	case r.links && len(same) == 1 && r.sources[string(want.email)] == 1:
		r.is(want.it, db.Known{Entity: r.entity, ExternalID: same[0]})
	case r.links:
		r.duplicate(want.it, fmt.Sprintf("The e-mail address is that of %s in %s, and it is not the only one with it on either side, so that nothing says which is meant.", r.those(same), r.app.Name))
	default:
		r.duplicate(want.it, fmt.Sprintf("The e-mail address is that of %s in %s, and nothing else says that they are the same. Link them, or let equal addresses be enough.", r.those(same), r.app.Name))
	}
	return nil
}

// those names records of the other side.
func (r *recognition) those(ids []string) string {
	if len(ids) > 3 {
		return fmt.Sprintf("%s %s and %d more", r.entity, strings.Join(ids[:3], ", "), len(ids)-3)
	}
	return r.entity + " " + strings.Join(ids, ", ")
}

// read looks for a record that is named and was not listed: it may have been changed while the list was read.
func (r *recognition) read(ctx context.Context, it *item, n [2]string) (db.Known, bool, error) {
	it.through = r.conn.ID
	a := r.w.part(it, r.w.a.run)
	a.pacers = r.w.pacers(r.conn)
	s := *r.w.step
	c, err := a.e.open(r.conn, a.journal(&s, r.conn))
	if err != nil {
		return db.Known{}, false, err
	}
	k, there, err := r.m.read(ctx, c, n)
	if err != nil {
		r.w.through = r.conn.ID
		return k, false, r.w.judge(ctx, it, a, &s, err)
	}
	if there {
		r.byID[n] = k
	}
	return k, there, nil
}

// is links a record with what it is on the other side, with what hangs below that.
func (r *recognition) is(it *item, k db.Known) {
	ref := connectors.Ref{ID: k.Root(), Name: it.entry.Record.Name, Adopted: true}
	if k.Entity != r.entity {
		ref.With = []connectors.Slot{{Entity: k.Entity, ID: k.ExternalID}}
	} else if len(r.m.lists) > 1 {
		below := r.below[ref.ID]
		if i := slices.IndexFunc(below, func(b db.Known) bool { return b.ExternalID == ref.ID }); i >= 0 {
			below = below[i : i+1]
		}
		if len(below) != 1 {
			r.duplicate(it, fmt.Sprintf("It is %s %s in %s, below which there are %d records, and nothing says which is meant.", r.entity, ref.ID, r.app.Name, len(below)))
			return
		}
		ref.With = []connectors.Slot{{Entity: below[0].Entity, ID: below[0].ExternalID}}
	}
	it.match = &matched{account: r.conn.VendorAccountID, entity: r.entity, ref: ref}
}

func (r *recognition) duplicate(it *item, why string) { it.state, it.message = itemDuplicate, why }
