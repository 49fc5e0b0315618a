package db

import (
	"context"
	"time"

	"github.com/uptrace/bun"
)

// The reads below answer for many keys in one statement, each key that has something in the map. What was deleted is
// found too where history leads to it.

// byID reads rows by id.
func byID[T any](ctx context.Context, idb bun.IDB, org ID, ids []ID, id func(*T) ID) (map[ID]T, error) {
	t := tableOf[T]()
	rows, err := rowsOf[T](ctx, idb, t.read+" WHERE "+t.alias+".org_id = $1 AND "+t.alias+".id = ANY($2)", org, ids)
	out := make(map[ID]T, len(rows))
	for i := range rows {
		out[id(&rows[i])] = rows[i]
	}
	return out, err
}

// under reads rows by what they belong to, in an order.
func under[T any](ctx context.Context, idb bun.IDB, org ID, column string, keys []ID, order string, key func(*T) ID) (map[ID][]T, error) {
	t := tableOf[T]()
	rows, err := rowsOf[T](ctx, idb, t.read+" WHERE "+t.alias+".org_id = $1 AND "+t.alias+"."+column+" = ANY($2) ORDER BY "+order, org, keys)
	out := make(map[ID][]T, len(keys))
	for i := range rows {
		k := key(&rows[i])
		out[k] = append(out[k], rows[i])
	}
	return out, err
}

// OrganizationsOf reads organizations: that of org, if it is asked for.
func OrganizationsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Organization, error) {
	var rows []Organization
	err := idb.NewSelect().Model(&rows).Where("org_id = ? AND org_id IN (?)", org, bun.List(ids)).Scan(ctx)
	out := map[ID]Organization{}
	for _, o := range rows {
		out[o.OrgID] = o
	}
	return out, err
}

// TokensOf reads tokens by id.
func TokensOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Token, error) {
	return byID(ctx, idb, org, ids, func(t *Token) ID { return t.ID })
}

// AuditsOf reads entries of the audit log by id.
func AuditsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Audit, error) {
	return byID(ctx, idb, org, ids, func(a *Audit) ID { return a.ID })
}

// VendorAccountsOf reads vendor accounts by id.
func VendorAccountsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]VendorAccount, error) {
	return byID(ctx, idb, org, ids, func(v *VendorAccount) ID { return v.ID })
}

// FlowsOf reads flows by id.
func FlowsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Flow, error) {
	return byID(ctx, idb, org, ids, func(f *Flow) ID { return f.ID })
}

// NewestVersionsOf reads the newest published version of each flow.
func NewestVersionsOf(ctx context.Context, idb bun.IDB, org ID, flows []ID) (map[ID]FlowVersion, error) {
	var rows []FlowVersion
	err := idb.NewSelect().Model(&rows).DistinctOn("fv.flow_id").Where("fv.org_id = ? AND fv.flow_id IN (?)", org, bun.List(flows)).
		OrderExpr("fv.flow_id, fv.number DESC").Scan(ctx)
	out := make(map[ID]FlowVersion, len(rows))
	for _, v := range rows {
		out[v.FlowID] = v
	}
	return out, err
}

// VersionNumbersOf reads the numbers of published versions by their ids.
func VersionNumbersOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]int, error) {
	var rows []FlowVersion
	err := idb.NewSelect().Model(&rows).Column("id", "number").Where("org_id = ? AND id IN (?)", org, bun.List(ids)).Scan(ctx)
	out := make(map[ID]int, len(rows))
	for _, v := range rows {
		out[v.ID] = v.Number
	}
	return out, err
}

// FlowLinksOf reads flow links by id, deleted ones too.
func FlowLinksOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]FlowLink, error) {
	return byID(ctx, idb, org, ids, func(l *FlowLink) ID { return l.ID })
}

// StepsByLink reads which connections the steps of links use.
func StepsByLink(ctx context.Context, idb bun.IDB, org ID, links []ID) (map[ID][]FlowLinkStep, error) {
	return under(ctx, idb, org, "flow_link_id", links, "step", func(s *FlowLinkStep) ID { return s.FlowLinkID })
}

// EventsOf reads events by id.
func EventsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Event, error) {
	return byID(ctx, idb, org, ids, func(e *Event) ID { return e.ID })
}

// OutcomesByEvent reads what became of events, oldest link first.
func OutcomesByEvent(ctx context.Context, idb bun.IDB, org ID, events []ID) (map[ID][]EventOutcome, error) {
	return under(ctx, idb, org, "event_id", events, "flow_link_id", func(o *EventOutcome) ID { return o.EventID })
}

// BodyKey says where an event's body is: bodies lie by time.
type BodyKey struct {
	Event ID
	At    time.Time // received_at of the event
}

// Body is an event's raw body as it is stored.
type Body struct {
	Size int    // bytes
	Raw  []byte // nil when there was no room for it
}

// BodiesOf reads the raw bodies of events that are still kept, newest first, until they have filled room bytes, and of
// those after that the size alone. Where there is any room, the first body is read however large it is.
func BodiesOf(ctx context.Context, idb bun.IDB, org ID, keys []BodyKey, room int) (map[BodyKey]Body, error) {
	ids, times, at := make([]ID, len(keys)), make([]time.Time, len(keys)), make(map[ID]time.Time, len(keys))
	for i, k := range keys {
		ids[i], times[i], at[k.Event] = k.Event, k.At, k.At
	}
	var rows []struct {
		EventID ID
		Size    int
		Raw     []byte
	}
	// Lists of constants, so that other partitions are left alone. A length is known without reading the body.
	err := idb.NewRaw(`SELECT event_id, size, CASE WHEN above < ? THEN body END AS raw FROM (
			SELECT event_id, body, length(body) AS size, coalesce(sum(length(body)) OVER (ORDER BY event_id DESC ROWS BETWEEN UNBOUNDED PRECEDING AND 1 PRECEDING), 0) AS above
			FROM event_bodies WHERE org_id = ? AND event_id IN (?) AND at IN (?)) b`, room, org, bun.List(ids), bun.List(times)).Scan(ctx, &rows)
	out := make(map[BodyKey]Body, len(rows))
	for _, r := range rows {
		out[BodyKey{r.EventID, at[r.EventID]}] = Body{r.Size, r.Raw}
	}
	return out, err
}

// RunsOf reads runs by id.
func RunsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Run, error) {
	return byID(ctx, idb, org, ids, func(r *Run) ID { return r.ID })
}

// StepsByRun reads the steps of runs, in order.
func StepsByRun(ctx context.Context, idb bun.IDB, org ID, runs []ID) (map[ID][]Step, error) {
	return under(ctx, idb, org, "run_id", runs, "position", func(s *Step) ID { return s.RunID })
}

// AttemptsByRun reads the calls made for runs, oldest first.
func AttemptsByRun(ctx context.Context, idb bun.IDB, org ID, runs []ID) (map[ID][]Attempt, error) {
	return under(ctx, idb, org, "run_id", runs, "id", func(a *Attempt) ID { return a.RunID })
}

// AttemptsByEffect reads the calls made for effects, oldest first.
func AttemptsByEffect(ctx context.Context, idb bun.IDB, org ID, effects []ID) (map[ID][]Attempt, error) {
	return under(ctx, idb, org, "effect_id", effects, "id", func(a *Attempt) ID { return a.EffectID })
}

// EffectsOf reads effects by id.
func EffectsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Effect, error) {
	return byID(ctx, idb, org, ids, func(e *Effect) ID { return e.ID })
}

// EffectsByRun reads what runs wrote, oldest first, but for what runs over many records wrote about those.
func EffectsByRun(ctx context.Context, idb bun.IDB, org ID, runs []ID) (map[ID][]Effect, error) {
	t := tableOf[Effect]()
	rows, err := rowsOf[Effect](ctx, idb, t.read+" WHERE ef.org_id = $1 AND ef.run_id = ANY($2) AND NOT "+ofItem+" ORDER BY ef.id", org, runs)
	out := make(map[ID][]Effect, len(runs))
	for _, e := range rows {
		out[e.RunID] = append(out[e.RunID], e)
	}
	return out, err
}

// MappingsOf reads mappings by id.
func MappingsOf(ctx context.Context, idb bun.IDB, org ID, ids []ID) (map[ID]Mapping, error) {
	return byID(ctx, idb, org, ids, func(m *Mapping) ID { return m.ID })
}

// SlotsByMapping reads the slots of mappings.
func SlotsByMapping(ctx context.Context, idb bun.IDB, org ID, mappings []ID) (map[ID][]Slot, error) {
	return under(ctx, idb, org, "mapping_id", mappings, "claimed_at, entity, role", func(s *Slot) ID { return s.MappingID })
}

// SlotsByEffect reads the slots that effects claimed.
func SlotsByEffect(ctx context.Context, idb bun.IDB, org ID, effects []ID) (map[ID][]Slot, error) {
	return under(ctx, idb, org, "effect_id", effects, "entity, role", func(s *Slot) ID { return s.EffectID })
}

// MappingByRecord finds the mapping that holds a record of an app, in one vendor account when account is given.
// ErrConflict says that several accounts hold such a record, in different mappings.
func MappingByRecord(ctx context.Context, idb bun.IDB, org ID, app, entity, id string, account ID) (Mapping, error) {
	t := tableOf[Mapping]()
	rows, err := rowsOf[Mapping](ctx, idb, t.read+` WHERE m.org_id = $1 AND m.id IN (SELECT ms.mapping_id FROM mapping_slots ms
		JOIN vendor_accounts va ON va.org_id = ms.org_id AND va.id = ms.vendor_account_id
		WHERE ms.org_id = $1 AND ms.external_id = $2 AND ms.entity = $3 AND va.app = $4 AND ($5::uuid IS NULL OR ms.vendor_account_id = $5)) LIMIT 2`,
		org, id, entity, app, orNull(account))
	switch {
	case err != nil:
		return Mapping{}, err
	case len(rows) == 0:
		return Mapping{}, ErrNotFound
	case len(rows) > 1:
		return Mapping{}, ErrConflict
	}
	return rows[0], nil
}
