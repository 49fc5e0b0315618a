package stripe

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stripe/stripe-go/v76/webhook"

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/stripe/stripesim"
)

const whsec = "whsec_0123456789abcdef0123456789abcdef"

func signed(body []byte, at time.Time, secrets ...string) string {
	h := fmt.Sprintf("t=%d", at.Unix())
	for _, s := range secrets {
		h += fmt.Sprintf(",v1=%x", webhook.ComputeSignature(at, body, s))
	}
	return h + ",v0=6ffbb59b2300aae63f272406069a9788598b792a944a07aba816edb039989a39"
}

func TestOpen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	body := []byte(`{"id":"evt_1","object":"event","type":"customer.created","api_version":"2099-01-01","created":1700000000,"livemode":true,"data":{"object":{"id":"cus_1"}}}`)
	ok := signed(body, now, whsec)
	old := now.Add(-time.Hour)
	for name, x := range map[string]struct {
		header  string
		body    []byte
		secrets []string
		want    error
	}{
		"good":                        {ok, body, []string{whsec}, nil},
		"one of several secrets":      {ok, body, []string{"whsec_other", whsec}, nil},
		"a secret with blanks":        {ok, body, []string{" " + whsec + "\n"}, nil},
		"one of several signatures":   {signed(body, now, "whsec_other", whsec), body, []string{whsec}, nil},
		"at the edge of the past":     {signed(body, now.Add(-tolerance), whsec), body, []string{whsec}, nil},
		"at the edge of the future":   {signed(body, now.Add(tolerance), whsec), body, []string{whsec}, nil},
		"too old":                     {signed(body, now.Add(-tolerance-time.Second), whsec), body, []string{whsec}, connectors.ErrTooOld},
		"too new":                     {signed(body, now.Add(tolerance+time.Second), whsec), body, []string{whsec}, connectors.ErrTooNew},
		"too old, and forged":         {signed(body, old, "whsec_other"), body, []string{whsec}, connectors.ErrBadSignature},
		"another secret":              {signed(body, now, "whsec_other"), body, []string{whsec}, connectors.ErrBadSignature},
		"another body":                {ok, append(slices.Clone(body), ' '), []string{whsec}, connectors.ErrBadSignature},
		"no secret":                   {ok, body, nil, connectors.ErrBadSignature},
		"an empty secret":             {signed(body, now, ""), body, []string{"", " "}, connectors.ErrBadSignature},
		"no header":                   {"", body, []string{whsec}, connectors.ErrBadSignature},
		"junk":                        {"junk", body, []string{whsec}, connectors.ErrBadSignature},
		"no time":                     {strings.SplitN(ok, ",", 2)[1], body, []string{whsec}, connectors.ErrBadSignature},
		"a zero time that was signed": {strings.SplitN(signed(body, time.Time{}, whsec), ",", 2)[1], body, []string{whsec}, connectors.ErrBadSignature},
		"the decoy alone":             {strings.ReplaceAll(ok, "v1=", "v2="), body, []string{whsec}, connectors.ErrBadSignature},
		"an old one made young":       {fmt.Sprintf("t=%d,%s", now.Unix(), signed(body, old, whsec)), body, []string{whsec}, connectors.ErrTooOld},
		"a young one in front":        {fmt.Sprintf("%s,t=%d", signed(body, old, whsec), now.Unix()), body, []string{whsec}, connectors.ErrBadSignature},
		"hex in capitals":             {strings.ToUpper(ok[strings.Index(ok, "v1=")+3:]), body, []string{whsec}, connectors.ErrBadSignature},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			d := connectors.Delivery{Header: http.Header{"Stripe-Signature": {x.header}}, Body: x.body, ReceivedAt: now}
			got, err := open(d, x.secrets)
			if !errors.Is(err, x.want) {
				t.Fatalf("%v, want %v", err, x.want)
			}
			want := connectors.Envelope{Trigger: "customer.created", DedupeKey: "evt_1", Type: "customer.created", Mode: connectors.Live, At: time.Unix(1700000000, 0).UTC()}
			if err == nil && got != want {
				t.Errorf("%+v", got)
			}
		})
	}
}

func TestEnvelopes(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	for name, x := range map[string]struct {
		body string
		want connectors.Envelope
		fail error
	}{
		"unused type": {`{"id":"evt_1","object":"event","type":"charge.failed","created":1,"livemode":false}`,
			connectors.Envelope{DedupeKey: "evt_1", Type: "charge.failed", Mode: connectors.Test, At: time.Unix(1, 0).UTC()}, nil},
		"thin": {`{"id":"evt_2","object":"v2.core.event","type":"customer.created","created":"2026-03-01T12:00:00Z","livemode":true}`,
			connectors.Envelope{DedupeKey: "evt_2", Type: "customer.created", Mode: connectors.Live, At: now, Ignored: "thin"}, nil},
		"thin without mode": {`{"id":"evt_2","object":"v2.core.event","type":"v1.billing.meter.error"}`,
			connectors.Envelope{DedupeKey: "evt_2", Type: "v1.billing.meter.error", Ignored: "thin"}, nil},
		"of before 2017": {`{"id":"evt_3","object":"event","type":"customer.created","created":1,"livemode":false,"request":"req_1"}`,
			connectors.Envelope{Trigger: "customer.created", DedupeKey: "evt_3", Type: "customer.created", Mode: connectors.Test, At: time.Unix(1, 0).UTC()}, nil},
		"of a connected account": {`{"id":"evt_4","object":"event","account":"acct_2","type":"customer.created","created":1,"livemode":false}`,
			connectors.Envelope{DedupeKey: "evt_4", Type: "customer.created", Mode: connectors.Test, At: time.Unix(1, 0).UTC(), Ignored: "connected account"}, nil},
		"no JSON":       {`junk`, connectors.Envelope{}, connectors.ErrMalformed},
		"no id":         {`{"object":"event","type":"customer.created"}`, connectors.Envelope{}, connectors.ErrMalformed},
		"no type":       {`{"id":"evt_1","object":"event"}`, connectors.Envelope{}, connectors.ErrMalformed},
		"no event":      {`{"id":"cus_1","object":"customer","type":"x"}`, connectors.Envelope{}, connectors.ErrMalformed},
		"id of numbers": {`{"id":1,"object":"event","type":"x"}`, connectors.Envelope{}, connectors.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body := []byte(x.body)
			d := connectors.Delivery{Header: http.Header{"Stripe-Signature": {signed(body, now, whsec)}}, Body: body, ReceivedAt: now}
			got, err := open(d, []string{whsec})
			if !strings.Contains(got.Ignored, x.want.Ignored) || (got.Ignored == "") != (x.want.Ignored == "") {
				t.Errorf("ignored as %q, want %q", got.Ignored, x.want.Ignored)
			}
			if got.Ignored = x.want.Ignored; got != x.want || !errors.Is(err, x.fail) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	f.Add("t=1,v1=00", []byte(`{"id":"evt_1","object":"event","type":"customer.created","data":{"object":{"id":"cus_1"}}}`))
	f.Add("", []byte(`{"id":"evt_1","object":"v2.core.event","type":"x","created":"2026"}`))
	f.Fuzz(func(t *testing.T, header string, body []byte) {
		d := connectors.Delivery{Header: http.Header{"Stripe-Signature": {header}}, Body: body, ReceivedAt: now}
		if _, err := open(d, []string{whsec}); err == nil {
			t.Errorf("taken without the secret: %q", header)
		}
		d.Header.Set("Stripe-Signature", signed(body, now, whsec))
		if e, err := open(d, []string{whsec}); err == nil && (e.DedupeKey == "" || e.Type == "") {
			t.Errorf("%+v", e)
		}
		if o, err := decodeCustomerCreated(body); err == nil && (o.Record.ID == "" || o.BusinessKey == "" || o.Payload == nil) {
			t.Errorf("%+v", o)
		}
	})
}

func hook(t *testing.T) (string, <-chan connectors.Delivery) {
	t.Helper()
	got := make(chan connectors.Delivery, 100)
	s := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- connectors.Delivery{Header: r.Header, Body: b, ReceivedAt: time.Now()}
	}))
	t.Cleanup(s.Close)
	return s.URL, got
}

// What the simulator delivers is what Open takes, and what it lists is the same event.
func TestDelivered(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t, stripesim.WithBackoff())
	url, got := hook(t)
	page, err := listEvents("customer.created")(t.Context(), c, "")
	if err != nil {
		t.Fatal(err)
	}
	reg, err := register(t.Context(), c, connectors.Endpoint{ConnectionID: "con_1", URL: url, Events: c.App.Events(), Generation: 1})
	if err != nil || reg.ID == "" || !strings.HasPrefix(reg.Secret, "whsec_") {
		t.Fatal(reg.ID, err)
	}
	id := makes(t, a, map[string]any{"name": "Jenny", "email": "j@acme.test", "address": map[string]any{"city": "Bern"}, "metadata": map[string]any{metaAccount: "acme", metaCustomer: "group"}})
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := <-got
	e, err := open(d, []string{reg.Secret})
	if err != nil || e.Trigger != "customer.created" || e.Mode != connectors.Test {
		t.Fatalf("%+v, %v", e, err)
	}
	page, err = listEvents("customer.created")(t.Context(), c, page.Cursor)
	if err != nil || len(page.Items) != 1 || page.Items[0].Envelope != e || page.More {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, body := range [][]byte{d.Body, page.Items[0].Body} {
		o, err := decodeCustomerCreated(body)
		if err != nil || o.Thin || o.BusinessKey != id || o.Record != (connectors.Subject{Entity: "customer", ID: id, Name: "Jenny"}) || o.At != e.At || !o.Cause.Creation || o.Cause.IdempotencyKey != "" {
			t.Fatalf("%+v, %v", o, err)
		}
		if o.Cause.Mark != "" || !o.Cause.Unmarked {
			t.Errorf("a customer that names a Togai account looks like ours: %+v", o.Cause)
		}
		p := o.Payload.(CustomerCreated)
		if p.EventID != e.DedupeKey || p.Livemode || p.CustomerID != id || p.Phone != "" || p.Address.City != "Bern" || p.TogaiAccountID != "acme" || p.Metadata[metaCustomer] != "group" {
			t.Errorf("%+v", p)
		}
		if problems := customerCreated().Output.Validate(p); len(problems) > 0 {
			t.Errorf("the payload does not fit its schema: %v", problems)
		}
	}
	for name, dials := range map[string]sim.Dials{"signature": {BadSignature: 1}, "old": {OldTime: 1}, "new": {FutureTime: 1}} {
		s.Dial(dials)
		makes(t, a, nil)
		if err := s.Settle(t.Context()); err != nil {
			t.Fatal(err)
		}
		want := map[string]error{"signature": connectors.ErrBadSignature, "old": connectors.ErrTooOld, "new": connectors.ErrTooNew}[name]
		if _, err := open(<-got, []string{reg.Secret}); !errors.Is(err, want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestOwnCreateNamesItsKey(t *testing.T) {
	t.Parallel()
	_, a, c, j := opened(t)
	if _, err := runCreateCustomer(t.Context(), c, acme); err != nil {
		t.Fatal(err)
	}
	raw, _ := json.Marshal(a.All("event")[0])
	o, err := decodeCustomerCreated(raw)
	if err != nil || o.Cause.IdempotencyKey != j.Effects()[0].Key {
		t.Errorf("%+v, %v", o.Cause, err)
	}
}

func TestOtherVersionIsReadAgain(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	a.UseVersion("2025-03-31.basil")
	id := makes(t, a, map[string]any{"name": "Old name"})
	raw, _ := json.Marshal(a.All("event")[0])
	o, err := decodeCustomerCreated(raw)
	if err != nil || !o.Thin {
		t.Fatalf("%+v, %v", o, err)
	}
	if _, err := a.UpdateCustomer(id, map[string]any{"name": "New name", "metadata": map[string]any{metaAccount: "written-later"}}); err != nil {
		t.Fatal(err)
	}
	now, err := readCustomerCreated(t.Context(), c, o)
	p := now.Payload.(CustomerCreated)
	if err != nil || now.Thin || p.Name != "New name" || now.Record.Name != "New name" || p.TogaiAccountID != "written-later" || p.EventID == "" || !p.OccurredAt.Equal(o.At) {
		t.Errorf("%+v, %v", now, err)
	}
	if now.Cause != o.Cause {
		t.Errorf("what was written later looks like the cause: %v", now.Cause)
	}
}

func TestExplain(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		in   stripesim.Checkout
		says string
	}{
		"reference": {stripesim.Checkout{ClientReferenceID: "YWNtZQ"}, "made by checkout session cs_"},
		"metadata":  {stripesim.Checkout{Metadata: map[string]string{metaAccount: "acme"}}, "made by checkout session cs_"},
		"somebody":  {stripesim.Checkout{Metadata: map[string]string{"shop": "1"}}, ""},
	} {
		_, a, c, _ := opened(t)
		session := a.Complete(x.in)
		o := connectors.Occurrence{Record: connectors.Subject{Entity: "customer", ID: session["customer"].(string)}}
		if got, err := explainCustomerCreated(t.Context(), c, o); err != nil || !strings.HasPrefix(got, x.says) || (x.says == "") != (got == "") {
			t.Errorf("%s: %q, %v", name, got, err)
		}
		o.Record.ID = makes(t, a, nil)
		if got, err := explainCustomerCreated(t.Context(), c, o); err != nil || got != "" {
			t.Errorf("by hand: %q, %v", got, err)
		}
	}
}

// walk lists until there is no more, and gives the event ids and the next cursor.
func walk(t *testing.T, c connectors.Conn, cursor string) (ids []string, next string, pages int) {
	t.Helper()
	for more := true; more; pages++ {
		p, err := listEvents("customer.created")(t.Context(), c, cursor)
		if err != nil {
			t.Fatal(err)
		}
		for _, i := range p.Items {
			ids = append(ids, i.DedupeKey)
		}
		cursor, more = p.Cursor, p.More
	}
	return ids, cursor, pages
}

func TestListEvents(t *testing.T) {
	t.Parallel()
	s, a, c, _ := opened(t)
	makes(t, a, map[string]any{"name": "before the connection"})
	before := len(a.All("event"))
	ids, at, _ := walk(t, c, "")
	var base cursor
	if err := json.Unmarshal([]byte(at), &base); err != nil || len(ids) != 0 || time.Since(time.Unix(base.Floor, 0)).Abs() > time.Minute || base.From != base.Floor {
		t.Fatalf("baseline: %v, %q", ids, at)
	}
	base.Floor, base.From = base.Floor+5, base.From+5 // the simulator's header does not follow its clock
	at = base.String()
	s.Clock.Advance(10 * time.Second)
	for range 205 {
		makes(t, a, nil)
	}
	ids, at, pages := walk(t, c, at)
	events := a.All("event")[before:]
	if len(ids) != 205 || pages != 3 || ids[0] != events[204]["id"] || ids[204] != events[0]["id"] {
		t.Fatalf("%d events in %d pages", len(ids), pages)
	}
	// The overlap is read again, but never what was there before the connection.
	if ids, _, _ := walk(t, c, at); len(ids) != 205 {
		t.Errorf("%d events again", len(ids))
	}
	s.Clock.Advance(3 * time.Hour)
	makes(t, a, nil)
	_, at, _ = walk(t, c, at)
	s.Clock.Advance(3 * time.Hour)
	makes(t, a, nil)
	if ids, _, _ := walk(t, c, at); len(ids) != 2 {
		t.Errorf("%d events, want the new one and the one of the overlap", len(ids))
	}
}

func TestListGoesOnWhereItStopped(t *testing.T) {
	t.Parallel()
	_, a, c, _ := opened(t)
	for range 150 {
		makes(t, a, nil)
	}
	list := listEvents("customer.created")
	first, err := list(t.Context(), c, `{"floor":1,"from":1}`)
	if err != nil || len(first.Items) != 100 || !first.More {
		t.Fatalf("%d items, %v", len(first.Items), err)
	}
	makes(t, a, nil) // arrives within the walk: the next one's
	rest, at, _ := walk(t, c, first.Cursor)
	if len(rest) != 50 {
		t.Errorf("%d in the rest", len(rest))
	}
	if ids, _, _ := walk(t, c, at); len(ids) != 151 { // all within the overlap
		t.Errorf("%d in the next walk", len(ids))
	}
	lost, err := list(t.Context(), c, `{"floor":1,"from":1,"after":"evt_forgotten","newest":5}`)
	if err != nil || !lost.More {
		t.Fatalf("a forgotten position: %+v, %v", lost, err)
	}
	if ids, _, _ := walk(t, c, lost.Cursor); len(ids) != 151 {
		t.Errorf("%d after a forgotten position", len(ids))
	}
	if _, err := list(t.Context(), c, "junk"); err == nil {
		t.Error("a junk cursor is taken")
	}
}

func TestRegister(t *testing.T) {
	t.Parallel()
	s, a, _, _ := opened(t)
	url, _ := hook(t)
	e := connectors.Endpoint{ConnectionID: "con_1", URL: url, Events: []string{"customer.created"}, Generation: 1}
	endpoints := func() (ids []string) {
		for _, w := range a.All("webhook_endpoint") {
			ids = append(ids, w["id"].(string))
		}
		return ids
	}
	must := func(what string, e connectors.Endpoint) connectors.Registration {
		t.Helper()
		c, _ := connect(t, s, a.Key()) // another process: a journal that knows nothing of the create
		r, err := register(t.Context(), c, e)
		if err != nil {
			t.Fatalf("%s: %v", what, err)
		}
		return r
	}
	other := must("another connection's", connectors.Endpoint{ConnectionID: "con_2", URL: url, Events: e.Events, Generation: 1})
	r := must("the first", e)
	if w := a.All("webhook_endpoint")[1]; r.Secret == "" || w["api_version"] != apiVersion || w["url"] != url || w["status"] != "enabled" {
		t.Fatalf("%+v", w)
	}
	e.KnownID, e.Generation = r.ID, 2
	if again := must("the same", e); again.ID != r.ID || again.Secret != "" {
		t.Errorf("a good endpoint is not kept: %+v", again.ID)
	}
	e.URL = url + "/new"
	moved := must("a new URL", e)
	if moved.ID == r.ID || moved.Secret == "" || moved.Secret == r.Secret {
		t.Errorf("moved to %s", moved.ID)
	}
	e.KnownID, e.Generation, e.Events = moved.ID, 3, []string{"customer.created", "invoice.paid"}
	wider := must("more events", e)
	if wider.ID == moved.ID || wider.Secret == "" {
		t.Errorf("widened: %s", wider.ID)
	}
	// Its secret was never saved: unknown, and so replaced.
	e.KnownID, e.Generation = "", 4
	fresh := must("an unknown one", e)
	if fresh.ID == wider.ID || fresh.Secret == "" || !slices.Equal(endpoints(), []string{other.ID, fresh.ID}) {
		t.Errorf("left %v, want another connection's and %s", endpoints(), fresh.ID)
	}
	for range 2 {
		c, _ := connect(t, s, a.Key())
		if err := remove(t.Context(), c, e); err != nil {
			t.Errorf("removing: %v", err)
		}
	}
	if !slices.Equal(endpoints(), []string{other.ID}) {
		t.Errorf("left %v", endpoints())
	}
}

func TestRegisterRecoversAFullAccount(t *testing.T) {
	t.Parallel()
	s, a, _, _ := opened(t)
	url, _ := hook(t)
	e := connectors.Endpoint{ConnectionID: "con_1", URL: url, Events: []string{"customer.created"}}
	for e.Generation = range 16 {
		c, _ := connect(t, s, a.Key())
		if _, err := createEndpoint(t.Context(), c, e); err != nil {
			t.Fatal(err)
		}
	}
	c, _ := connect(t, s, a.Key())
	e.Generation = 16
	r, err := register(t.Context(), c, e)
	if left := a.All("webhook_endpoint"); err != nil || len(left) != 1 || left[0]["id"] != r.ID || r.Secret == "" {
		t.Errorf("%d left, %v", len(left), err)
	}
}

func TestRegisterWhereTheAnswerIsLost(t *testing.T) {
	t.Parallel()
	for _, point := range []sim.Point{sim.Cut, sim.CutBefore} {
		s, a, c, j := opened(t)
		url, _ := hook(t)
		e := connectors.Endpoint{ConnectionID: "con_1", URL: url, Events: []string{"customer.created"}, Generation: 1}
		s.Fault(sim.Fault{Method: "POST", Path: "/v1/webhook_endpoints", Point: point})
		if _, err := register(t.Context(), c, e); connectors.KindOf(err) != connectors.OutcomeUnknown {
			t.Fatal(err)
		}
		// The same generation again, under the same key: the replayed answer has the secret.
		j.Resend = true
		r, err := register(t.Context(), c, e)
		if left := a.All("webhook_endpoint"); err != nil || r.Secret == "" || len(left) != 1 || left[0]["id"] != r.ID {
			t.Errorf("%s: %d left, %v", point, len(left), err)
		}
		// Asked once more, the secret is lost with whoever had it: another generation is wanted, and works.
		lost, err := register(t.Context(), c, e)
		if err != nil || lost != (connectors.Registration{}) {
			t.Errorf("%s: %q, %v", point, lost.ID, err)
		}
		e.Generation = 2
		fresh, err := register(t.Context(), c, e)
		if left := a.All("webhook_endpoint"); err != nil || fresh.Secret == "" || fresh.ID == r.ID || len(left) != 1 {
			t.Errorf("%s: %d left, %v", point, len(left), err)
		}
		// A deleted endpoint's create must not be repeated.
		e.KnownID, e.URL = fresh.ID, url+"/moved"
		dead, err := register(t.Context(), c, e)
		if err != nil || dead != (connectors.Registration{Gone: true}) {
			t.Errorf("%s: a dead endpoint is described: %q, %v", point, dead.ID, err)
		}
		for _, e := range j.Effects() {
			if raw, _ := json.Marshal(e); strings.Contains(string(raw), "whsec_") {
				t.Errorf("the journal has a secret: %s", raw)
			}
		}
	}
}

func TestRegisterWithoutTheRight(t *testing.T) {
	t.Parallel()
	s, a, _, _ := opened(t)
	c, _ := connect(t, s, a.RestrictedKey("rak_webhook_write", "rak_webhook_endpoint_write"))
	url, _ := hook(t)
	_, err := register(t.Context(), c, connectors.Endpoint{ConnectionID: "con_1", URL: url, Events: []string{"customer.created"}, Generation: 1})
	if connectors.KindOf(err) != connectors.Forbidden || !strings.Contains(err.Error(), "permission") {
		t.Errorf("%v", err)
	}
}
