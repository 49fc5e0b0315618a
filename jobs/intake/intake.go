// Package intake takes in what happened at vendors: their webhooks, and what reading them finds. A delivery is believed,
// stored with its job in one transaction, and only then answered; nothing of it is decoded before.
package intake

import (
	"context"
	"crypto/sha256"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"time"

	"tieline/connectors"
	"tieline/db"
	"tieline/jobs/flow"
)

const (
	storeWithin = 5 * time.Second // vendors wait 10 to 30 s; one that gave up comes again
	retryAfter  = 5 * time.Second
	maxKey      = 255 // bytes of a dedupe key or type; longer ones are no vendor's, and would not fit an index

	clerks       = 2        // transactions at once
	batchCount   = 256      // deliveries in one transaction
	batchBytes   = 8 << 20  // of their bodies, but for a single one that is larger
	waitingBytes = 64 << 20 // of bodies in line; what comes beyond it is to come again
)

// Intake is the way in. It is the engine's flow.Door, too.
type Intake struct {
	Observe func(app, code string) // metrics: told of each answer to a webhook; set it before serving. nil: none

	engine *flow.Engine
	log    *slog.Logger
	desk   db.Desk[Delivery, Answer]
}

// New makes an intake that stores for an engine, and gives jobs to its queue.
func New(e *flow.Engine) *Intake {
	log := e.Log
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	return &Intake{engine: e, log: log, desk: db.Desk[Delivery, Answer]{
		Clerks: clerks, Most: batchCount, Size: func(d Delivery) int { return len(d.Body) }, Batch: batchBytes, Line: waitingBytes,
	}}
}

// Delivery is one call to a webhook, with what its URL said.
type Delivery struct {
	App, Token string
	connectors.Delivery
}

// Answer is what the vendor is told. Status is exactly 200 when the delivery was taken: it is stored, or a repeat, or one
// that we can never act on. A vendor sends everything else again.
type Answer struct {
	Status     int
	Code       string
	Message    string        // for whoever reads the vendor's log of deliveries; never holds a secret
	RetryAfter time.Duration // of a 503
	Challenge  string        // of a 401
	Reply      string        // goes out as it is, in place of code and message
}

// The codes of answers.
const (
	Taken       = "TAKEN"
	Repeated    = "REPEATED"
	Ignored     = "IGNORED"
	Granted     = "GRANTED" // an access token
	NotFound    = "NOT_FOUND"
	NoSecret    = "NO_SECRET"
	BadSig      = "BAD_SIGNATURE"
	NoProof     = "NO_PROOF"
	TooOld      = "TOO_OLD"
	TooNew      = "TOO_NEW"
	Malformed   = "MALFORMED"
	Unavailable = "UNAVAILABLE"
)

var (
	taken       = Answer{Status: http.StatusOK, Code: Taken}
	repeated    = Answer{Status: http.StatusOK, Code: Repeated}
	notFound    = Answer{Status: http.StatusNotFound, Code: NotFound, Message: "There is no such webhook. It may have been removed; then remove it at the vendor, too."}
	malformed   = Answer{Status: http.StatusBadRequest, Code: Malformed, Message: "The body is not what this app sends."}
	unavailable = Answer{Status: http.StatusServiceUnavailable, Code: Unavailable, Message: "Nothing can be stored at the moment. Send it again.", RetryAfter: retryAfter}
)

// take takes a delivery in, with others that come at the same moment. It is stored although its sender hangs up.
func (in *Intake) take(ctx context.Context, d Delivery) Answer {
	a, err := in.desk.Take(context.WithoutCancel(ctx), db.ID{}, d, in.Receive)
	if err != nil {
		in.log.ErrorContext(ctx, "a delivery was not taken", "app", d.App, "error", err)
		return unavailable
	}
	return a
}

// Receive takes deliveries in, those that came together in one transaction, and answers each. It does not return before
// what it took is safe.
func (in *Intake) Receive(ctx context.Context, deliveries []Delivery) []Answer {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), storeWithin) // one caller's hanging up must not undo the others' work
	defer cancel()
	answers := make([]Answer, len(deliveries))
	hashes := make([][]byte, len(deliveries))
	for i, d := range deliveries {
		sum := sha256.Sum256([]byte(d.Token))
		hashes[i] = sum[:]
	}
	conns, err := db.ConnectionsByWebhook(ctx, in.engine.DB, hashes)
	if err != nil {
		in.log.ErrorContext(ctx, "looking up a webhook failed", "error", err)
		for i := range answers {
			answers[i] = unavailable
		}
		return answers
	}
	batch := newBatch()
	for i, d := range deliveries {
		conn, ok := conns[string(hashes[i])]
		if !ok || conn.App != d.App {
			answers[i] = notFound
			continue
		}
		var env connectors.Envelope
		if env, answers[i] = in.open(ctx, conn, d.Delivery); answers[i].Status == 0 {
			body := d.Body
			if env.Body != "" {
				body = []byte(env.Body)
			}
			batch.add(i, conn, env, body, d.ReceivedAt)
		}
	}
	in.store(ctx, flow.FromWebhook, batch.arrivals, func(a *arrival, out Answer) {
		for n, i := range a.from {
			if answers[i] = out; out == taken && n > 0 {
				answers[i] = repeated
			}
		}
	})
	in.count(ctx, answers, func(i int) db.Connection { return conns[string(hashes[i])] })
	return answers
}

// open believes a delivery or not. Its answer has no status when the delivery is to be stored. A body that brings a
// connector down fails alone, and not the process or those that came with it.
func (in *Intake) open(ctx context.Context, conn db.Connection, d connectors.Delivery) (env connectors.Envelope, a Answer) {
	none := connectors.Envelope{}
	defer func() {
		if p := recover(); p != nil {
			in.log.ErrorContext(ctx, "opening a delivery panicked", "org", conn.OrgID, "connection", conn.ID, "panic", p, "trace", string(debug.Stack()))
			env, a = none, malformed
		}
	}()
	app, ok := in.engine.Apps.App(conn.App)
	if !ok || app.Webhook == nil {
		return none, notFound
	}
	secrets, err := in.engine.WebhookSecrets(conn)
	if err != nil {
		in.log.ErrorContext(ctx, "a webhook's secret cannot be read", "org", conn.OrgID, "connection", conn.ID, "error", err)
		return none, unavailable
	}
	if len(secrets) == 0 && !app.Webhook.Unsigned {
		return none, Answer{Status: http.StatusBadRequest, Code: NoSecret,
			Message: "The connection has no signing secret yet, so nothing sent here can be believed. Copy the webhook's signing secret at " + app.Name + " into the connection; the vendor then sends this again."}
	}
	if app.Webhook.Grant != nil {
		if reply, asked, err := app.Webhook.Grant(d, secrets); asked {
			return none, granted(reply, err)
		}
	}
	env, err = app.Webhook.Open(d, secrets)
	if ask, ok := errors.AsType[connectors.NoProof](err); ok {
		return none, Answer{Status: http.StatusUnauthorized, Code: NoProof, Challenge: string(ask), Message: "Send it again with the credentials of this webhook."}
	}
	if err != nil {
		return none, refusal(err)
	}
	if len(env.DedupeKey) > maxKey || len(env.Type) > maxKey || (env.DedupeKey == "" && env.Trigger != "") {
		return none, malformed
	}
	if why := ignores(app, conn, env); why != "" {
		return none, Answer{Status: http.StatusOK, Code: Ignored, Message: why}
	}
	return env, Answer{}
}

// granted answers a request for an access token.
func granted(reply string, err error) Answer {
	switch {
	case err == nil:
		return Answer{Status: http.StatusOK, Code: Granted, Reply: reply}
	case errors.Is(err, connectors.ErrBadSignature):
		return Answer{
			Status: http.StatusUnauthorized, Code: BadSig, Reply: reply, Challenge: `Basic realm="Tieline"`,
			Message: "An access token was asked for by a client that is not the one of the signing secret.",
		}
	}
	a := malformed
	a.Reply = reply
	return a
}

// refusal is 400 whatever is wrong: the vendor's log shows it, and what is repaired here in time is sent again.
func refusal(err error) Answer {
	a := Answer{Status: http.StatusBadRequest, Code: Malformed}
	switch {
	case errors.Is(err, connectors.ErrBadSignature):
		a.Code, a.Message = BadSig, "The signature does not match the body. Is the signing secret of the connection that of this webhook?"
	case errors.Is(err, connectors.ErrTooOld):
		a.Code, a.Message = TooOld, "The delivery was signed too long ago. Either it is an old one sent again by somebody else, or a clock is wrong."
	case errors.Is(err, connectors.ErrTooNew):
		a.Code, a.Message = TooNew, "The delivery was signed in the future. A clock is wrong."
	default: // what a connector says beside may quote the body
		return malformed
	}
	return a
}

// ignores says why nothing can ever be done about a delivery that is believed. It is answered 200 all the same, for a
// vendor would send it for days, then give the webhook up. So it would the webhook of a connection that is switched off,
// and nobody would notice when it is switched on again; what came meanwhile is found by reading then.
func ignores(app connectors.Connector, conn db.Connection, env connectors.Envelope) string {
	if conn.State == flow.ConnDisabled {
		return "The connection is switched off."
	}
	if account := connectors.Mode(conn.VendorAccount.Mode); env.Mode != "" && env.Mode != account {
		return "It is about " + string(env.Mode) + " data, and the connection is for " + string(account) + " data."
	}
	if env.Ignored != "" {
		return env.Ignored
	}
	if _, ok := app.Trigger(env.Trigger); !ok {
		return "Nothing uses events of type " + quoted(env.Type) + "."
	}
	return ""
}

// quoted keeps what an outsider chose short and printable.
func quoted(typ string) string {
	out := make([]rune, 0, len(typ))
	for _, r := range typ {
		if r < ' ' || r == 0x7f || r == 0xfffd {
			r = '?'
		}
		if out = append(out, r); len(out) == 80 {
			return string(out) + "…"
		}
	}
	return string(out)
}

// counted is what is not stored, at a connection.
type counted struct {
	org, connection db.ID
	answer          Answer
}

// count notes on the connections what is not stored. An ignored delivery that cannot be counted was not taken.
func (in *Intake) count(ctx context.Context, answers []Answer, of func(int) db.Connection) {
	counts := map[counted][]int{}
	for i, a := range answers {
		if a.Code == Ignored || a.Code == BadSig || a.Status == http.StatusBadRequest {
			key := counted{of(i).OrgID, of(i).ID, a}
			counts[key] = append(counts[key], i)
		}
	}
	for key, from := range counts {
		add := db.CountRefused
		switch key.answer.Code {
		case Ignored:
			add = db.CountIgnored
		case BadSig:
			add = db.CountForged
		}
		err := add(ctx, in.engine.DB, key.org, key.connection, len(from), key.answer.Message)
		if err == nil {
			continue
		}
		in.log.ErrorContext(ctx, "counting a delivery failed", "org", key.org, "connection", key.connection, "error", err)
		for _, i := range from {
			if key.answer.Code == Ignored {
				answers[i] = unavailable
			}
		}
	}
}
