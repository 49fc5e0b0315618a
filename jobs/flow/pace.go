package flow

import (
	"context"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// pacer draws calls from the budget of one vendor account, which all processes share.
type pacer struct {
	e        *Engine
	account  db.VendorAccount
	rate     connectors.Rate
	reserved time.Time // a start drawn earlier and not used yet
}

func (e *Engine) pacer(app connectors.Connector, account db.VendorAccount, reserved time.Time) *pacer {
	return &pacer{e: e, account: account, rate: app.Rate(connectors.Mode(account.Mode)), reserved: reserved}
}

// wait lets a call start. When its start is further away than a worker should sleep, the run waits instead, and the
// start stays reserved for it.
func (p *pacer) wait(ctx context.Context) error {
	start, now := p.reserved, time.Now()
	if start.IsZero() {
		var err error
		every := time.Duration(float64(time.Second) / p.rate.PerSecond)
		if start, now, err = db.DrawCall(ctx, p.e.DB, p.account.OrgID, p.account.ID, every, max(p.rate.Burst, 1)); err != nil {
			return err
		}
	}
	d := start.Sub(now)
	if d > p.e.timing().Pause {
		p.reserved = start
		return &errWait{reason: ForRate, for_: d, why: "the vendor's budget of calls is used up until then"}
	}
	p.reserved = time.Time{}
	if d <= 0 {
		return nil
	}
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return nil
	case <-ctx.Done():
		return ctx.Err()
	}
}
