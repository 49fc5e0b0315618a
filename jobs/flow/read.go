package flow

import (
	"context"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// readLease is how long one reader has a cursor for itself; a walk renews it page by page.
const readLease = 30 * time.Second

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
		if err := e.readTrigger(ctx, conn, app, t, door); err != nil && !errors.Is(err, errReading) {
			return err
		}
	}
	return nil
}

// base makes sure that what was there before is known, for a link that is about to be enabled.
func (e *Engine) base(ctx context.Context, conn db.Connection, trigger string, door Door) error {
	app, _ := e.Apps.App(conn.App)
	t, ok := app.Trigger(trigger)
	if !ok || t.List == nil {
		return nil
	}
	for {
		c, err := db.GetCursor(ctx, e.DB, conn.OrgID, conn.ID, trigger)
		if err != nil || !c.BasedAt.IsZero() {
			return err
		}
		err = e.readTrigger(ctx, conn, app, t, door)
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

// readTrigger walks one trigger's list from its cursor, under a lease.
func (e *Engine) readTrigger(ctx context.Context, conn db.Connection, app connectors.Connector, t connectors.Trigger, door Door) error {
	cur, err := db.LeaseCursor(ctx, e.DB, conn.OrgID, conn.ID, t.Key, readLease)
	if errors.Is(err, db.ErrNotFound) {
		return errReading
	}
	if err != nil {
		return err
	}
	c, err := e.open(conn, &caller{pace: e.pacer(app, *conn.VendorAccount, time.Time{})})
	if err != nil {
		return err
	}
	next, rerr := e.walk(ctx, conn, t, c, cur, door)
	if rerr != nil && ctx.Err() != nil {
		next.DueAt = time.Now() // stopping: somebody else goes on
	} else {
		next.DueAt = time.Now().Add(e.pause(conn, t))
	}
	next.Error = ""
	if rerr != nil {
		next.Error = rerr.Error()
		if connectors.KindOf(rerr) == connectors.Unauthorized {
			if err := db.NeedReauth(context.WithoutCancel(ctx), e.DB, conn.OrgID, conn.ID, rerr.Error()); err != nil {
				return err
			}
		}
	}
	if err := db.SaveCursor(context.WithoutCancel(ctx), e.DB, next); err != nil {
		return err
	}
	if cur.BasedAt.IsZero() && rerr != nil {
		return rerr // whoever enables a link must hear of it
	}
	return nil
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
		page, err := t.List(ctx, c, at)
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
		if err := db.RenewCursor(ctx, e.DB, cur, readLease); err != nil {
			return cur, err
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
