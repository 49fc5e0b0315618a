package flow

import (
	"cmp"
	"context"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// pacer draws calls from the budget of one vendor account, which all processes share. An activation has one for each
// account it calls.
type pacer struct {
	e        *Engine
	account  db.VendorAccount
	rate     connectors.Rate
	reserved time.Time // a start drawn earlier and not used yet
	begun    bool      // a call was let through
	patient  bool      // it waits however long it takes: there is no run that could wait instead
}

func (e *Engine) pacer(app connectors.Connector, account db.VendorAccount) *pacer {
	return &pacer{e: e, account: account, rate: app.Rate(connectors.Mode(account.Mode)), patient: true}
}

// pacer is the activation's for an account, with the start that an earlier activation was given.
func (a *Activation) pacer(app connectors.Connector, account db.VendorAccount) *pacer {
	p, ok := a.pacers[account.ID]
	if !ok {
		p = a.e.pacer(app, account)
		p.patient = false
		for _, s := range a.steps {
			if s.ReservedAccount == account.ID {
				p.reserved = s.ReservedAt
			}
		}
		a.pacers[account.ID] = p
	}
	return p
}

// reserve keeps with a step the start that a budget gave to the run, so that it is not drawn again.
func (a *Activation) reserve(s *db.Step) {
	s.ReservedAt, s.ReservedAccount = time.Time{}, db.ID{}
	for id, p := range a.pacers {
		if !p.reserved.IsZero() {
			s.ReservedAt, s.ReservedAccount = p.reserved, id
		}
	}
}

func (p *pacer) every() time.Duration { return time.Duration(float64(time.Second) / p.rate.PerSecond) }

// wait lets a call start.
func (p *pacer) wait(ctx context.Context) error {
	d, err := p.draw(ctx)
	if err != nil {
		return err
	}
	return sleep(ctx, d)
}

// draw takes the next call, and says how far away its start is. When the first call's is further away than a worker should
// sleep, the run waits instead, and the start stays reserved for it. The calls that follow are drawn and go on: a run that
// parked between two of its calls would have to make the first again, and a long queue would never get shorter.
func (p *pacer) draw(ctx context.Context) (time.Duration, error) {
	start, now := p.reserved, time.Now()
	if start.IsZero() {
		var err error
		if start, now, err = p.e.drawCall(ctx, draw{p.account.OrgID, p.account.ID, p.every(), max(p.rate.Burst, 1)}); err != nil {
			return 0, err
		}
	}
	d := start.Sub(now)
	switch {
	case p.begun:
		d = min(d, p.every())
	case !p.patient && d > p.e.timing().Pause:
		p.reserved = start
		return 0, &errWait{reason: ForRate, for_: d, why: "the vendor's budget of calls is used up until then"}
	}
	p.reserved, p.begun = time.Time{}, true
	return d, nil
}

// draw is one call wanted from a vendor account's budget; drawn is when it may start, and when that was said.
type draw struct {
	org, account db.ID
	every        time.Duration
	burst        int
}

type drawn struct {
	start, now time.Time
	err        error
}

// drawCall draws a call, with those that others draw from the same budget at the moment.
func (e *Engine) drawCall(ctx context.Context, want draw) (start, now time.Time, err error) {
	got, err := e.draws.Take(ctx, want.org, want, e.drawCalls)
	return got.start, got.now, cmp.Or(err, got.err)
}

func (e *Engine) drawCalls(ctx context.Context, all []draw) []drawn {
	ctx, cancel := context.WithTimeout(ctx, shareWithin)
	defer cancel()
	out, calls := make([]drawn, len(all)), map[draw][]int{}
	for i, d := range all {
		calls[d] = append(calls[d], i)
	}
	for d, of := range calls {
		start, now, err := db.DrawCalls(ctx, e.DB, d.org, d.account, d.every, d.burst, len(of))
		for n, i := range of {
			out[i] = drawn{start.Add(time.Duration(n) * d.every), now, err}
		}
	}
	return out
}

func sleep(ctx context.Context, d time.Duration) error {
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

// delay keeps the account quiet: the vendor asked for it.
func (p *pacer) delay(ctx context.Context, d time.Duration) error {
	return db.DelayCalls(ctx, p.e.DB, p.account.OrgID, p.account.ID, d+time.Duration(max(p.rate.Burst, 1)-1)*p.every())
}
