package flow

import (
	"cmp"
	"context"
	"errors"
	"strings"
	"time"

	"tieline/connectors"
	"tieline/db"
)

// A run that must wait longer than a worker should sleep gives the worker back. Whoever has begun is let through before
// those who have not: it would have to make the calls before this one again, and a long queue would never get shorter.
const (
	wakerNear = 2  // of Timing.Pause: how far away the call of a run may be whose turn has come
	begunNear = 5  // likewise of one that has begun, and how long bulk work gives way to what people wait for
	wakeLead  = .5 // likewise, how long before its turn a run may be woken: the sweeper comes once a second
)

// personWaits is how long somebody waits for the budget who waits for an answer.
const personWaits = 10 * time.Second

const fullPause = 50 * time.Millisecond // between looks at whether there is room for one more call in the air

// pacer draws calls from the budget of one vendor account, which all processes share. An activation has one for each
// account it calls.
//
// Two clocks keep a budget. Calls are paced by the first, which is never ahead by more than those draw that sleep: that
// is what the vendor sees. Runs that are to begin stand in a line, by the second, for as many calls as such a run made
// lately; the place they get there is the start that people see, which may be hours away. Bulk work has both clocks in a
// bucket of its own, and when its turn has come it takes its call from the account's bucket like everybody else, but
// only when nobody else waits for one, or after a while.
type pacer struct {
	e       *Engine
	app     connectors.Connector
	account db.VendorAccount
	rate    connectors.Rate
	bulk    bool
	patient bool          // there is no run that could wait in its place
	within  time.Duration // of a patient one: somebody waits no longer; 0: however long it takes
	begun   bool          // a call was let through
	place   time.Time     // in the line, got earlier and not used yet
	line    string        // the bucket whose line that is
	last    limits        // of the last call
}

func (e *Engine) pacer(app connectors.Connector, account db.VendorAccount) *pacer {
	p := &pacer{e: e, app: app, account: account, patient: true}
	if app.Rate != nil { // one that is never called has none
		p.rate = app.Rate(connectors.Mode(account.Mode))
	}
	return p
}

// pacer is the activation's for an account, with the place that an earlier activation was given.
func (a *Activation) pacer(app connectors.Connector, account db.VendorAccount) *pacer {
	p, ok := a.pacers[account.ID]
	if ok {
		return p
	}
	p = a.e.pacer(app, account)
	p.patient, p.bulk = false, a.bulk
	for _, s := range a.steps {
		if stepFinal(s.State) {
			continue
		}
		if s.ReservedAccount == account.ID {
			p.place, p.line = s.ReservedAt, s.ReservedBucket
		} else if s.VendorAccountID == account.ID && s.State != Pending {
			p.begun = true
		}
	}
	a.pacers[account.ID] = p
	return p
}

// reserve keeps with a step the place in a line that the run got, so that it is not taken again.
func (a *Activation) reserve(s *db.Step) {
	s.ReservedAt, s.ReservedAccount, s.ReservedBucket = time.Time{}, db.ID{}, ""
	for id, p := range a.pacers {
		if !p.place.IsZero() {
			s.ReservedAt, s.ReservedAccount, s.ReservedBucket = p.place, id, p.line
		}
	}
}

// limits are the buckets that a call is taken from.
type limits struct{ own, bulk, part db.Bucket }

func (p *pacer) limits(c connectors.Call) limits {
	l := limits{own: bucket("", p.rate.PerSecond, p.rate.Burst)}
	if p.rate.Part != nil {
		if part, ok := p.rate.Part(c.Method, c.Path); ok && part.Apart {
			l.own = bucket(part.Name, part.PerSecond, part.Burst)
		} else if ok {
			l.part = bucket(part.Name, part.PerSecond, part.Burst)
		}
	}
	share := p.rate.Bulk
	if share == 0 {
		share = connectors.DefaultBulk
	}
	every := time.Duration(float64(l.own.Every) / share)
	l.bulk = db.Bucket{Name: "bulk", Every: every, Burst: 1 + int(p.near(1)/every)} // the sweeper wakes those of a second together
	if l.own.Name != "" {
		l.bulk.Name += " " + l.own.Name
	}
	return l
}

func bucket(name string, perSecond float64, burst int) db.Bucket {
	return db.Bucket{Name: name, Every: time.Duration(float64(time.Second) / perSecond), Burst: burst}
}

// pass lets a call start. It tells pausing before it sleeps. done says that the call is over.
func (p *pacer) pass(ctx context.Context, c connectors.Call, pausing func() error) (done func(), err error) {
	p.last = p.limits(c)
	w := db.Draw{OrgID: p.account.OrgID, AccountID: p.account.ID, Bucket: p.last.own, Part: p.last.part, Parallel: p.rate.Parallel, Lease: p.app.Timeout, Near: p.near(begunNear), After: p.place}
	if turn := (db.Draw{OrgID: w.OrgID, AccountID: w.AccountID, Bucket: p.last.bulk, Near: w.Near, After: w.After}); p.bulk {
		if _, err := p.take(ctx, p.queue(turn), pausing); err != nil {
			return nil, err
		}
		w.After, w.Near = time.Time{}, w.Bucket.Every
		if n := p.rate.BulkParallel; n > 0 {
			w.Parallel = n
		}
	} else {
		w = p.queue(w)
	}
	lease, err := p.take(ctx, w, pausing)
	if err != nil {
		return nil, err
	}
	p.place, p.begun = time.Time{}, true
	return func() { p.e.callOver(lease) }, nil
}

func (p *pacer) near(pauses float64) time.Duration {
	return time.Duration(pauses * float64(p.e.timing().Pause))
}

// queue makes who has not begun stand in the line first.
func (p *pacer) queue(w db.Draw) db.Draw {
	switch {
	case p.begun || p.patient:
	case !p.place.IsZero():
		w.Near = p.near(wakerNear)
	default:
		w.Near, w.Line = p.near(1), true
	}
	w.First, w.Counted = !p.begun && !p.patient, !p.patient
	return w
}

// take draws a call and sleeps until its start. One that is too far away lets the run wait.
func (p *pacer) take(ctx context.Context, w db.Draw, pausing func() error) (db.Lease, error) {
	yields := p.bulk && w.Bucket.Name == p.last.own.Name
	for began := time.Now(); ; {
		got, err := p.e.draw(ctx, w)
		if err != nil {
			return db.Lease{}, err
		}
		d, waited := got.Start.Sub(got.Now), time.Since(began)
		switch {
		case got.OK:
		case p.patient && p.within > 0 && waited+d > p.within:
			return db.Lease{}, connectors.Errorf(connectors.Unavailable, "%s: the account's budget of calls is used up for the next %s", p.app.Name, max(d, time.Second).Round(time.Second))
		case p.patient:
		case !got.Full && !yields, d > p.near(begunNear), waited > 2*p.near(begunNear):
			return db.Lease{}, p.park(ctx, w, got)
		}
		if got.Full {
			d = max(d, fullPause)
		}
		if d > 0 {
			if err := pausing(); err != nil {
				return got.Lease, err
			}
		}
		if err := sleep(ctx, d); err != nil || got.OK {
			return got.Lease, err
		}
		if yields && waited+d > p.near(begunNear) {
			w.Near = p.near(begunNear) // it has given way for long enough
		}
	}
}

// drawn is what came of a draw.
type drawn struct {
	db.Drawn
	err error
}

// draw draws a call, with those that others draw likewise at the moment.
func (e *Engine) draw(ctx context.Context, w db.Draw) (db.Drawn, error) {
	got, err := e.draws.Take(ctx, w.OrgID, w, e.drawTogether)
	return got.Drawn, cmp.Or(err, got.err)
}

// drawTogether draws for all who want the same. Where there are not enough calls for all of them, each has its own answer.
func (e *Engine) drawTogether(ctx context.Context, all []db.Draw) []drawn {
	ctx, cancel := context.WithTimeout(ctx, shareWithin)
	defer cancel()
	out, same := make([]drawn, len(all)), map[db.Draw][]int{}
	for i, w := range all {
		same[w] = append(same[w], i)
	}
	for w, of := range same {
		if w.Calls = len(of); w.Calls > 1 && w.Parallel == 0 && w.Part.Name == "" {
			got, err := db.DrawCall(ctx, e.DB, w)
			for n, i := range of {
				out[i] = drawn{got, err}
				out[i].Start = got.Start.Add(time.Duration(n) * w.Bucket.Every)
			}
			if err != nil || got.OK {
				continue
			}
		}
		w.Calls = 1
		for _, i := range of {
			got, err := db.DrawCall(ctx, e.DB, w)
			out[i] = drawn{got, err}
		}
	}
	return out
}

// park says until when a run waits that may not call now. Its place is kept: who has one already comes after those with
// earlier places, should their turns have passed as well.
func (p *pacer) park(ctx context.Context, w db.Draw, got db.Drawn) error {
	d := max(got.Start.Sub(got.Now), fullPause)
	if p.line = w.Bucket.Name; w.Line && !got.Full {
		p.place = got.Start
	} else {
		if p.place.IsZero() {
			p.place = got.Now
		}
		if !p.place.After(got.Now) {
			ahead, err := db.InLine(ctx, p.e.DB, w.OrgID, w.AccountID, p.line, p.place)
			if err != nil {
				return err
			}
			d = max(fullPause, d-w.Near) + time.Duration(float64(ahead)*got.Cost*float64(w.Bucket.Every))
		}
	}
	return &errWait{reason: ForRate, for_: d, why: "the vendor's budget of calls is used up until then"}
}

// slow keeps the account quiet, or only calls like the last one: the vendor asked for it.
func (p *pacer) slow(ctx context.Context, d time.Duration, narrow bool) error {
	l, org, id := p.last, p.account.OrgID, p.account.ID
	switch {
	case l.own.Every == 0: // it made no call
		return nil
	case narrow && l.part.Name == "":
		return nil
	case narrow:
		return db.DelayPart(ctx, p.e.DB, org, id, l.own.Name, l.part, d)
	}
	if err := db.DelayCalls(ctx, p.e.DB, org, id, l.own, d); err != nil {
		return err
	}
	return db.DelayCalls(ctx, p.e.DB, org, id, l.bulk, d)
}

// called keeps the account quiet for as long as an answer asks for, where that is longer than its calls are apart anyway. What
// cannot be written down now is told again by the next answer.
func (p *pacer) called(ctx context.Context, c connectors.Call) {
	if c.Ease <= p.last.own.Every {
		return
	}
	if err := p.slow(context.WithoutCancel(ctx), c.Ease, false); err != nil {
		p.e.Log.WarnContext(ctx, "the account's budget could not be eased", "app", p.app.Key, "error", err)
	}
}

// look is the journal of a look at who credentials are for. The account's budget pays for it where it is known already; a
// new one cannot be in use, so that it is enough not to be faster than that.
func (e *Engine) look(ctx context.Context, app connectors.Connector, creds connectors.Credentials, row *db.Connection) (connectors.Journal, error) {
	mode, err := app.Mode(creds)
	if err != nil {
		return nil, err
	}
	account := row.VendorAccount
	if account == nil && app.Account != "" {
		known, err := db.FindVendorAccount(ctx, e.DB, row.OrgID, app.Key, strings.TrimSpace(creds[app.Account]), string(mode))
		if err == nil {
			account = &known
		} else if !errors.Is(err, db.ErrNotFound) {
			return nil, err
		}
	}
	if account == nil {
		return &stranger{app: app, mode: mode}, nil
	}
	pace := e.pacer(app, *account)
	pace.within = personWaits
	return &caller{pace: pace}, nil
}

// stranger is the journal of a look at an account that we do not know yet.
type stranger struct {
	readOnly
	app  connectors.Connector
	mode connectors.Mode
	tat  time.Time
}

// Pace implements connectors.Journal.
func (s *stranger) Pace(ctx context.Context, _ connectors.Call) (func(), error) {
	r, now := s.app.Rate(s.mode), time.Now()
	b := bucket("", r.PerSecond, r.Burst)
	if s.tat.Before(now) {
		s.tat = now
	}
	s.tat = s.tat.Add(b.Every)
	return func() {}, sleep(ctx, s.tat.Sub(now)-time.Duration(max(b.Burst, 1))*b.Every)
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
