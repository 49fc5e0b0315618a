package flow

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// readLease is how long a cursor stays with a reader that gives no sign.
const readLease = 15 * time.Second

// failedPause is the longest time from a reading that failed to the next.
const failedPause = 30 * time.Second

// errReading says that another process reads the same cursor now.
var errReading = errors.New("another process is reading")

// Read asks for what webhooks may have missed, for each trigger of a connection that is due, and hands it to the door. Its
// failures are kept on the cursor and tried again. Each trigger has one turn: what is left then is due at once, so that a
// large account leaves room for others.
func (e *Engine) Read(ctx context.Context, org, connection db.ID, door Door) error {
	conn, err := db.GetConnection(ctx, e.DB, org, connection)
	if errors.Is(err, db.ErrNotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	app, ok := e.Apps.App(conn.App)
	if !ok {
		return fmt.Errorf("no connector for app %q", conn.App)
	}
	cursors, err := db.ReadableCursors(ctx, e.DB, org, connection)
	if err != nil {
		return err
	}
	for _, cur := range cursors {
		t, ok := app.Trigger(cur.Trigger)
		asked := !cur.AskedAt.IsZero() || cur.Walk != "" || cur.Error != ""
		if !ok || t.List == nil || !asked && time.Since(cur.ReadAt) < e.pause(conn, t)/2 { // that one was read for another reason
			continue
		}
		if _, err := e.readTrigger(ctx, conn, app, t, door, time.Now().Add(e.timing().Turn)); err != nil && !errors.Is(err, errReading) && connectors.KindOf(err) == "" {
			return err // the vendor's own refusals are on the cursor
		}
	}
	return nil
}

// catchUp makes sure that all there is by now is known and dispatched, for a link that is about to be enabled: what is
// found afterwards came afterwards.
func (e *Engine) catchUp(ctx context.Context, conn db.Connection, trigger string, door Door) error {
	app, _ := e.Apps.App(conn.App)
	t, ok := app.Trigger(trigger)
	if !ok || t.List == nil {
		return nil
	}
	if err := db.AddCursor(ctx, e.DB, conn.OrgID, conn.ID, trigger); err != nil { // the trigger may be newer than the connection
		return err
	}
	for {
		whole, err := e.readTrigger(ctx, conn, app, t, door, time.Time{})
		switch {
		case err == nil && whole:
			return e.dispatchPending(ctx, conn, trigger)
		case err == nil: // the rest of a walk that began before
			continue
		case !errors.Is(err, errReading):
			return err
		}
		select { // another process is at it; its lease bounds the wait
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
}

func (e *Engine) dispatchPending(ctx context.Context, conn db.Connection, trigger string) error {
	pending, err := db.PendingEvents(ctx, e.DB, conn.OrgID, conn.ID, trigger)
	if err != nil {
		return err
	}
	for _, id := range pending {
		if err := e.Dispatch(ctx, conn.OrgID, id); ctx.Err() != nil {
			return err
		} else if err != nil { // it is due again, and no reason to keep a link from being enabled
			e.Log.WarnContext(ctx, "an event could not be dispatched", "org", conn.OrgID, "event", id, "error", err)
		}
	}
	return nil
}

// readTrigger walks one trigger's list from its cursor, under a lease, until its end or, unless that is zero, until a point
// in time. whole says that it went from the beginning to the end.
func (e *Engine) readTrigger(ctx context.Context, conn db.Connection, app connectors.Connector, t connectors.Trigger, door Door, until time.Time) (whole bool, err error) {
	cur, err := db.LeaseCursor(ctx, e.DB, conn.OrgID, conn.ID, t.Key, readLease)
	if errors.Is(err, db.ErrNotFound) {
		return false, errReading
	}
	if err != nil {
		return false, err
	}
	pace := e.pacer(app, *conn.VendorAccount)
	pace.bulk, pace.place = true, cur.ReservedAt
	if pace.patient = until.IsZero(); pace.patient {
		pace.within = personWaits
	}
	c, err := e.open(conn, &caller{pace: pace})
	if err != nil {
		return false, err
	}
	w := walk{e: e, conn: conn, trigger: t, c: c, door: door, cur: cur, until: until}
	rerr := w.walk(ctx)
	if errors.Is(rerr, errReading) {
		return false, rerr
	}
	next, resumed := w.cur, cur.Walk != ""
	next.DueAt, next.Error, next.ReservedAt = time.Now().Add(e.pause(conn, t)), "", pace.place
	wait, waits := errors.AsType[*errWait](rerr)
	if x, ok := errors.AsType[*connectors.Error](rerr); ok && x.Kind == connectors.RateLimited {
		rerr = errors.Join(rerr, pace.slow(context.WithoutCancel(ctx), max(x.RetryAfter, e.timing().Retry), x.Narrow))
	}
	switch {
	case waits: // before its first call
		next.DueAt, next.Walk, next.Error, rerr = time.Now().Add(wait.for_), cur.Walk, cur.Error, nil
	case ctx.Err() != nil: // stopping: somebody else goes on
		next.DueAt = time.Now()
	case rerr != nil:
		next.DueAt, next.Error = time.Now().Add(min(e.pause(conn, t), failedPause)), text(rerr.Error())
	case next.Walk != "", resumed && !cur.AskedAt.IsZero(): // there is more, or news that the walk may have passed by
		next.DueAt = time.Now()
	}
	err = e.DB.InTx(context.WithoutCancel(ctx), func(ctx context.Context, tx db.Tx) error {
		if connectors.KindOf(rerr) == connectors.Unauthorized {
			if _, err := db.AwaitReauth(ctx, tx, conn, true, rerr.Error()); err != nil {
				return err
			}
		}
		if w.found > 0 && conn.WebhookState == WebhookRegistered { // which a webhook should have brought
			if err := db.AskCare(ctx, tx, conn.OrgID, conn.ID); err != nil {
				return err
			}
		}
		return db.SaveCursor(ctx, tx, next, rerr == nil && !resumed && !waits)
	})
	if errors.Is(err, db.ErrNotFound) {
		err = errReading
	}
	return next.Walk == "" && !resumed && !waits, errors.Join(rerr, err)
}

// walk is one reading of a trigger's list.
type walk struct {
	e       *Engine
	conn    db.Connection
	trigger connectors.Trigger
	c       connectors.Conn
	door    Door
	cur     db.Cursor
	until   time.Time // when it stops between two pages; zero: never
	found   int       // what was new and is no baseline
}

// newer tells whether something of a page has come since the last walk: then what that walk knew begins further on, and
// what webhooks have missed since may lie behind what they have brought.
func (w *walk) newer(ctx context.Context, items []connectors.Item) (bool, error) {
	keys := make([]string, len(items))
	for i, it := range items {
		keys[i] = it.DedupeKey
	}
	return db.AnySince(ctx, w.e.DB, w.conn.OrgID, w.conn.ID, keys, w.cur.ReadAt.Add(-skew))
}

// walk reads page by page. A walk whose list has what changed last first ends where nothing has come since the last one,
// but goes to the very end once in a while: many changes of old records could hide a new one behind them. How far it came is on the cursor,
// also when it failed.
func (w *walk) walk(ctx context.Context) error {
	source, first := FromCatchUp, w.cur.BasedAt.IsZero()
	if first {
		source = FromBaseline
	}
	whole := first || time.Since(w.cur.SweptAt) > w.e.timing().Sweep
	at := cmp.Or(w.cur.Walk, w.cur.Cursor)
	w.cur.Walk = "" // should the vendor not know it any more, the next walk begins anew
	for {
		page, err := w.e.list(ctx, w.trigger, w.c, at, &w.cur)
		if err != nil {
			return err
		}
		fresh, err := w.door.Take(ctx, w.conn, source, page.Items)
		if err != nil {
			return err
		}
		if !first {
			w.found += fresh
		}
		if !page.More {
			w.cur.Cursor = page.Cursor
			break
		}
		if page.Stop && fresh == 0 && !whole {
			if newer, err := w.newer(ctx, page.Items); err != nil {
				return err
			} else if !newer {
				break // the next walk begins where this one did
			}
		}
		at = page.Cursor
		if w.cur.Walk = at; !w.until.IsZero() && time.Now().After(w.until) {
			return nil
		}
	}
	w.cur.Walk, w.cur.ReadAt = "", time.Now()
	if first {
		w.cur.BasedAt = w.cur.ReadAt
	}
	if whole {
		w.cur.SweptAt = w.cur.ReadAt
	}
	return nil
}

// list reads one page, however long that takes, and answers errReading when another reader has the cursor by then.
func (e *Engine) list(ctx context.Context, t connectors.Trigger, c connectors.Conn, at string, cur *db.Cursor) (connectors.Page, error) {
	type answer struct {
		page connectors.Page
		err  error
	}
	done := make(chan answer, 1)
	go func() {
		page, err := t.List(ctx, c, at)
		done <- answer{page, err}
	}()
	tick := time.NewTicker(readLease / 3)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			if err := db.RenewCursor(ctx, e.DB, cur, readLease); err != nil && !errors.Is(err, db.ErrNotFound) {
				e.Log.WarnContext(ctx, "a cursor could not be renewed", "connection", cur.ConnectionID, "error", err)
			}
		case a := <-done:
			if a.err != nil {
				return a.page, a.err
			}
			err := db.RenewCursor(ctx, e.DB, cur, readLease)
			if errors.Is(err, db.ErrNotFound) {
				err = errReading
			}
			return a.page, err
		}
	}
}

// pause is the time to the next look: calm once a webhook was seen, and short while none was or we know that there is none.
func (e *Engine) pause(conn db.Connection, t connectors.Trigger) time.Duration {
	app, _ := e.Apps.App(conn.App)
	if conn.WebhookSeenAt.IsZero() || app.Webhook != nil && !app.Webhook.Unsigned && conn.WebhookState == WebhookMissing {
		return t.Every
	}
	return t.Calm
}

// caller is the journal of a reader: paced, and no write passes.
type caller struct {
	readOnly
	pace *pacer
}

func (c *caller) Pace(ctx context.Context, call connectors.Call) (func(), error) {
	return c.pace.pass(ctx, call, func() error { return nil })
}

func (c *caller) Called(ctx context.Context, call connectors.Call) { c.pace.called(ctx, call) }
