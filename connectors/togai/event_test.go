package togai

import (
	"context"
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

	"tieline/connectors"
	"tieline/connectors/sim"
	"tieline/connectors/togai/togaisim"
)

// post makes something by hand, past the journal's knowledge.
func post(t *testing.T, c connectors.Conn, path, body string) {
	t.Helper()
	_, err := c.Effect(t.Context(), connectors.Append("by hand", body), nil, func(ctx context.Context, _ string) (connectors.Ref, error) {
		_, err := call(ctx, c, http.MethodPost, path, json.RawMessage(body), nil)
		return connectors.Ref{}, err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func mustJSON(t *testing.T, v any) []byte {
	t.Helper()
	b, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func contains(err error, text string) bool { return strings.Contains(err.Error(), text) }

func TestOpen(t *testing.T) {
	t.Parallel()
	now := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	const body = `{"id":"event.1.2","type":"account.created","createdAt":"2026-03-01T11:00:00Z","organizationId":"o","data":{"id":"acme"}}`
	want := connectors.Envelope{Trigger: "account.created", DedupeKey: "account.created:acme", Type: "account.created", At: now.Add(-time.Hour)}
	for name, x := range map[string]struct {
		body  string
		want  connectors.Envelope
		fails error
	}{
		"an account":          {body, want, nil},
		"an unused type":      {`{"id":"e1","type":"customer.merged","data":{"id":"inv"}}`, connectors.Envelope{DedupeKey: "e1", Type: "customer.merged"}, nil},
		"an account of no id": {`{"id":"e1","type":"account.created","data":{}}`, connectors.Envelope{}, connectors.ErrMalformed},
		"no type":             {`{"id":"e1","data":{"id":"acme"}}`, connectors.Envelope{}, connectors.ErrMalformed},
		"no JSON":             {`junk`, connectors.Envelope{}, connectors.ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := open(connectors.Delivery{Body: []byte(x.body), ReceivedAt: now}, nil)
			if got != x.want || !errors.Is(err, x.fails) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
}

func FuzzOpen(f *testing.F) {
	f.Add([]byte(`{"id":"event.1.2","type":"account.created","data":{"id":"acme","tags":["a"]}}`))
	f.Add([]byte(`{"type":"account.created","data":null}`))
	f.Fuzz(func(t *testing.T, body []byte) {
		e, err := open(connectors.Delivery{Header: http.Header{}, Body: body}, nil)
		if err == nil && e.Trigger != "" && e.DedupeKey == e.Type+":" {
			t.Errorf("%+v", e)
		}
		if o, err := decodeAccountCreated(body); err == nil && (o.Record.ID == "" || !o.Thin) {
			t.Errorf("%+v", o)
		}
	})
}

// What the simulator delivers and what the list finds are one event, and both say to read again.
func TestDeliveredAndListed(t *testing.T) {
	t.Parallel()
	s, c, _ := opened(t, togaisim.WithBackoff())
	got := make(chan connectors.Delivery, 10)
	hook := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body)
		got <- connectors.Delivery{Header: r.Header, Body: b, ReceivedAt: time.Now()}
	}))
	t.Cleanup(hook.Close)
	s.Target(hook.URL, "")
	base, err := listCreated(t.Context(), c, "")
	if err != nil || len(base.Items) != 0 {
		t.Fatal(base, err)
	}
	if _, err := runCreateCustomer(t.Context(), c, acme); err != nil {
		t.Fatal(err)
	}
	if err := s.Settle(t.Context()); err != nil {
		t.Fatal(err)
	}
	d := <-got
	e, err := open(d, nil)
	if err != nil || e.Trigger != "account.created" {
		t.Fatalf("%+v, %v", e, err)
	}
	page, err := listCreated(t.Context(), c, base.Cursor)
	if err != nil || len(page.Items) != 1 || page.Items[0].DedupeKey != e.DedupeKey || page.Items[0].At.IsZero() {
		t.Fatalf("%+v, %v", page, err)
	}
	for _, body := range [][]byte{d.Body, page.Items[0].Body} {
		o, err := decodeAccountCreated(body)
		if err != nil || !o.Thin || o.BusinessKey != "acme.usd" || o.Record.ID != "acme.usd" || *o.Parent != (connectors.Subject{Entity: "customer", ID: "acme/1"}) || o.At.IsZero() {
			t.Fatalf("%+v, %v", o, err)
		}
		now, err := readAccountCreated(t.Context(), c, o)
		if err != nil || now.Thin || !now.At.Equal(o.At) {
			t.Fatalf("%+v, %v", now, err)
		}
		if !now.Cause.Creation || now.Cause.IdempotencyKey != "" || !strings.HasPrefix(now.Cause.Mark, "tl_") {
			t.Errorf("cause %+v", now.Cause)
		}
		if problems := accountCreated().Output.Validate(now.Payload); len(problems) > 0 {
			t.Errorf("the payload does not fit its schema: %v", problems)
		}
	}
}

// Where a read of the account shows no settings, they are read apart.
func TestReadFindsSettings(t *testing.T) {
	t.Parallel()
	s, c, _ := opened(t)
	if _, err := s.CreateAccount(map[string]any{"id": "acme", "name": "Acme"}); err != nil {
		t.Fatal(err)
	}
	read := func() Account {
		o, err := readAccountCreated(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{Entity: "account", ID: "acme"}})
		if err != nil {
			t.Fatal(err)
		}
		return o.Payload.(Account)
	}
	if a := read(); a.StripeCustomerID != "" || a.Metadata == nil || a.Tags == nil || s.Count("GET", "/settings") != 1 {
		t.Errorf("%+v", a)
	}
	if _, err := readAccountCreated(t.Context(), c, connectors.Occurrence{Record: connectors.Subject{Entity: "account", ID: "gone"}}); connectors.KindOf(err) != connectors.NotFound {
		t.Errorf("%v", err)
	}
}

func TestListCreated(t *testing.T) {
	t.Parallel()
	s, c, _ := opened(t)
	add := func(from, to int) {
		for i := from; i < to; i++ {
			if _, err := s.CreateAccount(map[string]any{"id": fmt.Sprintf("a%03d", i), "name": "Account"}); err != nil {
				t.Fatal(err)
			}
		}
	}
	add(0, 150)
	base, err := listCreated(t.Context(), c, "")
	if err != nil || len(base.Items) != 150 || base.More || base.Cursor == "" {
		t.Fatalf("the baseline has %d accounts: %v %v", len(base.Items), base.More, err)
	}
	add(150, 260)
	var keys []string
	pages := 0
	for cursor, more := base.Cursor, true; more; pages++ {
		p, err := listCreated(t.Context(), c, cursor)
		if err != nil || !p.Stop {
			t.Fatal(p.Stop, err)
		}
		for _, i := range p.Items {
			keys = append(keys, i.DedupeKey)
		}
		if cursor, more = p.Cursor, p.More; !more && cursor != base.Cursor {
			t.Errorf("the next walk begins with %q", cursor)
		}
	}
	if len(keys) != 260 || pages != 3 || keys[0] != "account.created:a259" || len(slices.Compact(slices.Sorted(slices.Values(keys)))) != 260 {
		t.Errorf("%d accounts in %d pages, the first %s", len(keys), pages, keys[0])
	}
	stale, err := listCreated(t.Context(), c, within+"forgotten")
	if err != nil || !stale.More || stale.Cursor != base.Cursor || len(stale.Items) != 0 {
		t.Errorf("a forgotten token: %+v, %v", stale, err)
	}
	s.Fault(sim.Fault{Path: "/accounts", Point: sim.Before, Status: 503, Skip: 1})
	if _, err := listCreated(t.Context(), c, ""); connectors.KindOf(err) != connectors.Unavailable {
		t.Errorf("a baseline that breaks off: %v", err)
	}
}
