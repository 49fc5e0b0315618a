package intake

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow"
)

const (
	chunk = 500 // arrivals in one transaction
	tries = 5   // of a single arrival that met a deadlock
)

// arrival is an event with the deliveries that brought it.
type arrival struct {
	db.Arrival
	from []int
}

// batch folds what came together by event.
type batch struct {
	arrivals []*arrival
	byKey    map[eventKey]*arrival
}

type eventKey struct {
	connection db.ID
	dedupe     string
}

func newBatch() *batch { return &batch{byKey: map[eventKey]*arrival{}} }

func (b *batch) add(i int, conn db.Connection, env connectors.Envelope, body []byte, received time.Time) {
	key := eventKey{conn.ID, env.DedupeKey}
	if a := b.byKey[key]; a != nil {
		a.from = append(a.from, i)
		a.Repeats++
		return
	}
	if env.At.IsZero() {
		env.At = received
	}
	a := &arrival{from: []int{i}, Arrival: db.Arrival{
		OrgID: conn.OrgID, ID: db.NewID(), ConnectionID: conn.ID, Trigger: env.Trigger, DedupeKey: env.DedupeKey,
		VendorType: env.Type, VendorAt: env.At, Body: body,
	}}
	b.byKey[key] = a
	b.arrivals = append(b.arrivals, a)
}

// store keeps arrivals and gives those that are new to the queue, in one transaction for all, and tells of each what came
// of it. When one of them is bad, they are taken one by one, so that it fails alone.
func (in *Intake) store(ctx context.Context, source string, arrivals []*arrival, tell func(*arrival, Answer)) {
	slices.SortFunc(arrivals, func(a, b *arrival) int { return db.CompareArrivals(a.Arrival, b.Arrival) })
	for group := range slices.Chunk(arrivals, chunk) {
		err := in.storeTogether(ctx, source, group, tell)
		for try := 1; err != nil && len(group) == 1 && db.Retryable(err) && try < tries; try++ {
			err = in.storeTogether(ctx, source, group, tell)
		}
		switch {
		case err == nil:
		case len(group) > 1 && (db.Retryable(err) || ofContent(err)):
			for _, a := range group {
				in.store(ctx, source, []*arrival{a}, tell)
			}
		case len(group) == 1 && ofContent(err):
			in.log.WarnContext(ctx, "an event cannot be stored", "org", group[0].OrgID, "connection", group[0].ConnectionID, "error", err)
			tell(group[0], malformed)
		default:
			in.log.ErrorContext(ctx, "storing events failed", "events", len(group), "error", err)
			for _, a := range group {
				tell(a, unavailable)
			}
		}
	}
}

// storeTogether is one transaction: the events with their bodies, repeats of known ones, and the jobs.
func (in *Intake) storeTogether(ctx context.Context, source string, group []*arrival, tell func(*arrival, Answer)) error {
	rows := make([]db.Arrival, len(group))
	for i, a := range group {
		rows[i] = a.Arrival
	}
	fresh := map[db.ID]int{} // how many wait before it
	err := in.engine.DB.InShared(ctx, func(ctx context.Context, tx db.Tx) error {
		clear(fresh)
		stored, err := db.TakeEvents(ctx, tx, source, rows)
		if err != nil {
			return err
		}
		for _, f := range stored {
			fresh[f.ID] = f.Behind
		}
		var tasks []flow.Task
		var known []db.Arrival
		for _, r := range rows {
			behind, isFresh := fresh[r.ID]
			switch {
			case !isFresh:
				known = append(known, r)
			case source != flow.FromBaseline:
				tasks = append(tasks, flow.Task{Kind: flow.Dispatch, Org: r.OrgID, ID: r.ID, Behind: behind})
			}
		}
		// What is read again is no repeat: reading goes over the same ground each time.
		if len(known) > 0 && source == flow.FromWebhook {
			if err := db.CountRepeats(ctx, tx, known); err != nil {
				return err
			}
		}
		if len(tasks) == 0 {
			return nil
		}
		return in.engine.Queue.Add(ctx, tx, tasks...)
	})
	if err != nil {
		return err
	}
	for _, a := range group {
		if _, isFresh := fresh[a.ID]; isFresh {
			tell(a, taken)
		} else {
			tell(a, repeated)
		}
	}
	return nil
}

// ofContent reports whether what is stored is at fault, and not where: a text with a NUL in it, a time out of range.
func ofContent(err error) bool {
	pg, ok := errors.AsType[*pgconn.PgError](err)
	return ok && (strings.HasPrefix(pg.Code, "22") || strings.HasPrefix(pg.Code, "23"))
}

// Take is the flow.Door: what reading found goes the way of a webhook's deliveries. An item that cannot be stored is left
// out, or it would be in the way of everything after it.
func (in *Intake) Take(ctx context.Context, conn db.Connection, source string, items []connectors.Item) (fresh int, err error) {
	keys := make([]string, 0, len(items))
	for _, it := range items {
		if usable(it) {
			keys = append(keys, it.DedupeKey)
		}
	}
	known, err := db.KnownEvents(ctx, in.engine.DB, conn.OrgID, conn.ID, keys) // most of what is read is
	if err != nil {
		return 0, fmt.Errorf("looking up known events: %w", err)
	}
	b := newBatch()
	for i, it := range items {
		switch {
		case known[it.DedupeKey]:
		case !usable(it):
			in.log.WarnContext(ctx, "an item that was read cannot be stored", "org", conn.OrgID, "connection", conn.ID, "trigger", it.Trigger)
		default:
			b.add(i, conn, it.Envelope, it.Body, time.Now())
		}
	}
	failed := 0
	in.store(ctx, source, b.arrivals, func(_ *arrival, a Answer) {
		switch a {
		case taken:
			fresh++
		case unavailable:
			failed++
		}
	})
	if failed > 0 {
		return fresh, fmt.Errorf("%d events could not be stored", failed)
	}
	return fresh, nil
}

func usable(it connectors.Item) bool {
	return it.Trigger != "" && it.DedupeKey != "" && len(it.DedupeKey) <= maxKey && len(it.Type) <= maxKey && !strings.Contains(it.DedupeKey, "\x00")
}
