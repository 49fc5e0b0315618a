package auth

import (
	"context"
	"errors"
	"log/slog"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/dbtest"
)

func TestSecrets(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for range 1000 {
		s := NewSecret()
		if !wellFormed(s) || len(s) != len(prefix)+digits || seen[s] {
			t.Fatalf("bad secret %q", s)
		}
		seen[s] = true
		if hint := Hint(s); !strings.HasPrefix(hint, "tl_…") || !strings.HasSuffix(s, strings.TrimPrefix(hint, "tl_…")) {
			t.Errorf("hint %q", hint)
		}
	}
	for _, bad := range []string{"", "tl_", "tl_" + strings.Repeat("-", digits), "xx_" + strings.Repeat("a", digits), NewSecret() + "a"} {
		if wellFormed(bad) {
			t.Errorf("%q is taken for a token", bad)
		}
	}
}

func TestParseScopes(t *testing.T) {
	t.Parallel()
	got, err := ParseScopes("read, Trigger,READ")
	if err != nil || !slices.Equal(got, []Scope{Read, Trigger}) {
		t.Errorf("%v, %v", got, err)
	}
	if _, err := ParseScopes("read,root"); err == nil || !strings.Contains(err.Error(), `"root"`) {
		t.Errorf("unknown scope: %v", err)
	}
}

func TestViewerMay(t *testing.T) {
	t.Parallel()
	if v := (Viewer{Scopes: []Scope{Write}}); v.May(Read) || !v.May(Write) {
		t.Error("scopes must not include each other")
	}
	if v := (Viewer{Scopes: []Scope{Admin}}); !v.May(Trigger) {
		t.Error("ADMIN includes all")
	}
}

func TestBearer(t *testing.T) {
	t.Parallel()
	for header, want := range map[string]string{
		"Bearer tl_1": "tl_1", "bearer  tl_1 ": "tl_1", "Basic tl_1": "", "tl_1": "", "": "", "Bearer": "",
	} {
		if got := Bearer(header); got != want {
			t.Errorf("%q gives %q", header, got)
		}
	}
}

func TestVerify(t *testing.T) {
	t.Parallel()
	d, ctx := dbtest.New(t), t.Context()
	org, err := db.CreateOrganization(ctx, d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	add := func(expires time.Time) (string, db.Token) {
		secret, row := NewToken(org.OrgID, "ci", []Scope{Read, Trigger}, expires)
		if err := db.AddToken(ctx, d, row); err != nil {
			t.Fatal(err)
		}
		return secret, row
	}
	good, row := add(time.Time{})
	later, _ := add(time.Now().Add(time.Hour))
	expired, _ := add(time.Now().Add(-time.Second))
	revoked, gone := add(time.Time{})
	if err := db.RevokeToken(ctx, d, org.OrgID, gone.ID); err != nil {
		t.Fatal(err)
	}
	tokens := Tokens{DB: d, Log: slog.New(slog.DiscardHandler)}
	for secret, want := range map[string]error{
		good: nil, later: nil, expired: ErrExpired, revoked: ErrRevoked, NewSecret(): ErrUnknown, "nonsense": ErrUnknown,
	} {
		v, err := tokens.Verify(ctx, secret)
		if !errors.Is(err, want) || (want == nil) != (v.Org == org.OrgID) {
			t.Errorf("%v and %+v, want %v", err, v, want)
		}
	}
	v, err := tokens.Verify(ctx, good)
	if err != nil || v.Token != row.ID || v.Name != "ci" || !slices.Equal(v.Scopes, []Scope{Read, Trigger}) || !v.Expires.IsZero() {
		t.Errorf("%+v, %v", v, err)
	}
	if _, err := FromRequest(tokens, httptest.NewRequest("GET", "/", nil)); !errors.Is(err, ErrMissing) {
		t.Errorf("without a token: %v", err)
	}
	stopped, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := tokens.Verify(stopped, good); err == nil || Refused(err) {
		t.Errorf("a database that does not answer is no refusal: %v", err)
	}
}

func TestLastUsedIsWrittenOnceAMinute(t *testing.T) {
	t.Parallel()
	d, ctx := dbtest.New(t), t.Context()
	org, err := db.CreateOrganization(ctx, d, "Acme")
	if err != nil {
		t.Fatal(err)
	}
	secret, row := NewToken(org.OrgID, "ci", []Scope{Read}, time.Time{})
	if err := db.AddToken(ctx, d, row); err != nil {
		t.Fatal(err)
	}
	use := func() time.Time {
		t.Helper()
		if _, err := (Tokens{DB: d, Log: slog.Default()}).Verify(ctx, secret); err != nil {
			t.Fatal(err)
		}
		now, err := db.TokenByHash(ctx, d, Hash(secret))
		if err != nil {
			t.Fatal(err)
		}
		return now.LastUsedAt
	}
	first := use()
	if time.Since(first) > time.Minute {
		t.Fatalf("first use noted as %v", first)
	}
	if again := use(); !again.Equal(first) {
		t.Errorf("noted again within the minute: %v, %v", first, again)
	}
	if _, err := d.ExecContext(ctx, "UPDATE api_tokens SET last_used_at = last_used_at - interval '61 seconds'"); err != nil {
		t.Fatal(err)
	}
	if again := use(); !again.After(first) {
		t.Errorf("not noted after a minute: %v, %v", first, again)
	}
}
