package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// readLease is how long a cursor stays with a reader that gives no sign.
const readLease = 15 * time.Second

// errReading says that another process reads the same cursor now.
var errReading = errors.New("another process is reading")

// Read looks after a connection: it asks for what webhooks may have missed, for each trigger that is due, and hands it
// to the door. Its failures are kept on the cursor and tried again.
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
		if !ok || t.List == nil || time.Since(cur.ReadAt) < e.pause(conn, t)/2 { // that one was read for another reason
			continue
		}
		if err := e.readTrigger(ctx, conn, app, t, door); err != nil && !errors.Is(err, errReading) && connectors.KindOf(err) == "" {
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
		err := e.readTrigger(ctx, conn, app, t, door)
		if err == nil {
			return e.dispatchPending(ctx, conn, trigger)
		}
		if !errors.Is(err, errReading) {
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
		if err := e.Dispatch(ctx, conn.OrgID, id); err != nil {
			return err
		}
	}
	return nil
}

// readTrigger walks one trigger's list from its cursor, under a lease.
func (e *Engine) readTrigger(ctx context.Context, conn db.Connection, app connectors.Connector, t connectors.Trigger, door Door) error {
	cur, err := db.LeaseCursor(ctx, e.DB, conn.OrgID, conn.ID, t.Key, readLease)
	if errors.Is(err, db.ErrNotFound) {
		return errReading
	}
	if err != nil {
		return err
	}
	c, err := e.open(conn, &caller{pace: e.pacer(app, *conn.VendorAccount)})
	if err != nil {
		return err
	}
	next, rerr := e.walk(ctx, conn, t, c, cur, door)
	if errors.Is(rerr, errReading) {
		return rerr
	}
	next.DueAt, next.Error = time.Now().Add(e.pause(conn, t)), ""
	if rerr != nil {
		next.Error = rerr.Error()
	}
	if ctx.Err() != nil {
		next.DueAt = time.Now() // stopping: somebody else goes on
	}
	err = e.DB.InTx(context.WithoutCancel(ctx), func(ctx context.Context, tx db.Tx) error {
		if connectors.KindOf(rerr) == connectors.Unauthorized {
			if _, err := db.AwaitReauth(ctx, tx, conn, true, rerr.Error()); err != nil {
				return err
			}
		}
		return db.SaveCursor(ctx, tx, next)
	})
	if errors.Is(err, db.ErrNotFound) {
		err = errReading
	}
	return errors.Join(rerr, err)
}

// walk reads page by page. A walk whose list has what changed last first ends where nothing is new, but goes to the
// very end once in a while: many changes of old records could hide a new one behind them.
func (e *Engine) walk(ctx context.Context, conn db.Connection, t connectors.Trigger, c connectors.Conn, cur db.Cursor, door Door) (db.Cursor, error) {
	source, first := FromCatchUp, cur.BasedAt.IsZero()
	if first {
		source = FromBaseline
	}
	whole := first || time.Since(cur.SweptAt) > e.timing().Sweep
	at := cur.Cursor
	for {
		page, err := e.list(ctx, t, c, at, &cur)
		if err != nil {
			return cur, err
		}
		fresh, err := door.Take(ctx, conn, source, page.Items)
		if err != nil {
			return cur, err
		}
		at = page.Cursor
		if !page.More {
			break
		}
		if page.Stop && fresh == 0 && !whole {
			at = cur.Cursor // the next walk begins where this one did
			break
		}
	}
	cur.Cursor, cur.ReadAt = at, time.Now()
	if first {
		cur.BasedAt = cur.ReadAt
	}
	if whole {
		cur.SweptAt = cur.ReadAt
	}
	return cur, nil
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

// pause is the time to the next look: short until a webhook was seen, then calm.
func (e *Engine) pause(conn db.Connection, t connectors.Trigger) time.Duration {
	if conn.WebhookSeenAt.IsZero() {
		return t.Every
	}
	return t.Calm
}

// caller is the journal of a reader: paced, and no write passes.
type caller struct {
	readOnly
	pace *pacer
}

func (c *caller) Pace(ctx context.Context) error { return c.pace.wait(ctx) }
