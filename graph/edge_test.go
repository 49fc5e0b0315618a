package graph

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/generated"
	"tieline/graph/model"
)

// stub resolves just enough to see how requests travel.
type stub struct {
	generated.QueryResolver
	generated.MutationResolver
	updates chan *model.RunUpdate
}

type rootStub struct {
	generated.ResolverRoot
	stub stub
}

func (r rootStub) Query() generated.QueryResolver               { return r.stub }
func (r rootStub) Mutation() generated.MutationResolver         { return r.stub }
func (r rootStub) Subscription() generated.SubscriptionResolver { return r.stub }

func (stub) Viewer(ctx context.Context) (*model.Viewer, error) {
	v, _ := auth.FromContext(ctx)
	return &model.Viewer{ID: "viewer", Scopes: v.Scopes, Organization: &model.Organization{ID: "org", Name: "Acme"}}, nil
}

func (stub) App(ctx context.Context, key string) (*model.App, error) {
	switch key {
	case "slow":
		<-ctx.Done()
		return nil, ctx.Err()
	case "panic":
		panic("the secret is 42")
	}
	return nil, errors.New("pq: the secret is 42")
}

func (stub) Mapping(context.Context, string) (*model.Mapping, error) { return nil, db.ErrNotFound }

func (s stub) RunUpdates(ctx context.Context, _ *model.RunUpdateFilter, _ *string) (<-chan *model.RunUpdate, error) {
	out := make(chan *model.RunUpdate)
	go func() {
		defer close(out)
		for n := int32(1); ; n++ {
			update := &model.RunUpdate{ID: "upd", Cursor: "c", Change: &model.RunChange{ID: "chg", Version: n, State: model.RunStateRunning}}
			select {
			case <-ctx.Done():
				return
			case out <- update:
			}
			select {
			case <-ctx.Done():
				return
			case <-s.updates: // nil: one message, then silence
			}
		}
	}()
	return out, nil
}

func (s stub) RunUpdated(ctx context.Context, _ string, _ *string) (<-chan *model.RunUpdate, error) {
	return s.RunUpdates(ctx, nil, nil)
}

// holders are tokens and who holds them.
type holders map[string]auth.Viewer

func (h holders) Verify(_ context.Context, bearer string) (auth.Viewer, error) {
	switch bearer {
	case "revoked":
		return auth.Viewer{}, auth.ErrRevoked
	case "down":
		return auth.Viewer{}, errors.New("connection refused")
	}
	v, ok := h[bearer]
	if !ok {
		return auth.Viewer{}, auth.ErrUnknown
	}
	return v, nil
}

var everyone = holders{
	"reader":  {Org: db.NewID(), Token: db.NewID(), Scopes: []auth.Scope{auth.Read}},
	"trigger": {Org: db.NewID(), Token: db.NewID(), Scopes: []auth.Scope{auth.Trigger}},
	"admin":   {Org: db.NewID(), Token: db.NewID(), Scopes: []auth.Scope{auth.Admin}},
}

// edge serves the stub.
func edge(t testing.TB, change func(*Config)) (*httptest.Server, *bytes.Buffer) {
	t.Helper()
	var log bytes.Buffer
	c := Config{Resolvers: rootStub{}, Verifier: everyone, Log: slog.New(slog.NewTextHandler(&log, nil))}
	if change != nil {
		change(&c)
	}
	h, err := New(c)
	if err != nil {
		t.Fatal(err)
	}
	srv := httptest.NewServer(h)
	t.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
		defer cancel()
		if err := h.Close(ctx); err != nil {
			t.Errorf("closing: %v", err)
		}
		srv.Close()
	})
	return srv, &log
}

type reply struct {
	Status int
	Header http.Header
	Raw    string
	Data   map[string]any
	Errors []struct {
		Message    string
		Extensions struct{ Code, RequestID string }
	}
}

func (r reply) code() string {
	if len(r.Errors) == 0 {
		return ""
	}
	return r.Errors[0].Extensions.Code
}

// send makes one request; header lines are "Name: value" and replace the usual ones.
func send(t testing.TB, method, url, body string, header ...string) reply {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("Authorization", "Bearer reader")
	r.Header.Set("Content-Type", plainJSON)
	r.Header.Set("Accept", responseJSON)
	for _, line := range header {
		name, value, _ := strings.Cut(line, ": ")
		if value == "" {
			r.Header.Del(name)
		} else {
			r.Header.Set(name, value)
		}
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		t.Fatal(err)
	}
	defer res.Body.Close()
	raw, err := io.ReadAll(res.Body)
	if err != nil {
		t.Fatal(err)
	}
	out := reply{Status: res.StatusCode, Header: res.Header, Raw: string(raw)}
	if err := json.Unmarshal(raw, &out); err != nil && method != http.MethodOptions && method != http.MethodHead {
		t.Fatalf("%d, not JSON: %s", res.StatusCode, raw)
	}
	return out
}

func query(q string) string {
	b, _ := json.Marshal(map[string]string{"query": q})
	return string(b)
}
