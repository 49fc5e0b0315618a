package conntest

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"sync"
	"testing"

	"tieline/connectors"
)

// watched is a connection of which everything that it says is kept. At its end no secret may be in any of it.
type watched struct {
	connectors.Conn
	*Journal
	t   testing.TB
	mu  sync.Mutex
	log bytes.Buffer
	// secrets are those of the form, and what went out as an Authorization.
	secrets map[string]bool
	said    []string
}

// watch opens a connection to a site, whose vendor repeats secrets in the messages of its refusals.
func (s Suite[W]) watch(t *testing.T, site Site) *watched {
	t.Helper()
	w := &watched{Journal: &Journal{effects: map[string]*Effect{}}, t: t, secrets: map[string]bool{}}
	for _, f := range s.App.Auth {
		if v := site.Credentials[f.Key]; f.Secret && v != "" {
			w.secrets[v] = true
		}
	}
	base := &http.Transport{}
	t.Cleanup(base.CloseIdleConnections)
	var err error
	w.Conn, err = connectors.Open(s.App, site.Credentials, connectors.Options{
		URL: site.URL, Login: site.Login, Journal: w.Journal, Tokens: site.Tokens, Base: gossip{base, w}, Log: slog.New(slog.NewTextHandler(writes{w}, &slog.HandlerOptions{Level: slog.LevelDebug})),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(w.check)
	return w
}

// hear keeps what an error says.
func (w *watched) hear(err error) error {
	if err != nil {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.said = append(w.said, fmt.Sprintf("%v %+v %#v", err, err, connectors.KindOf(err)))
	}
	return err
}

func (w *watched) check() {
	w.Journal.mu.Lock()
	kept := fmt.Sprintf("%+v", w.Calls)
	for _, e := range w.effects {
		kept += fmt.Sprintf(" %+v %s", *e, e.Request.Body)
	}
	w.Journal.mu.Unlock()
	w.mu.Lock()
	defer w.mu.Unlock()
	for where, text := range map[string]string{"the log": w.log.String(), "the journal": kept, "errors": strings.Join(w.said, "\n")} {
		for secret := range w.secrets {
			if strings.Contains(text, secret) {
				w.t.Errorf("a secret is in %s: %s", where, text)
			}
		}
		if strings.Contains(text, "<html>") {
			w.t.Errorf("a page of a proxy is in %s: %s", where, text)
		}
	}
}

type writes struct{ *watched }

func (l writes) Write(p []byte) (int, error) {
	l.watched.mu.Lock()
	defer l.watched.mu.Unlock()
	return l.log.Write(p)
}

// gossip is a vendor that tells callers their own secrets.
type gossip struct {
	base http.RoundTripper
	w    *watched
}

func (g gossip) RoundTrip(r *http.Request) (*http.Response, error) {
	g.w.mu.Lock()
	form := make([]string, 0, len(g.w.secrets))
	for s := range g.w.secrets {
		form = append(form, s)
	}
	if _, token, ok := strings.Cut(r.Header.Get("Authorization"), " "); ok && token != "" {
		g.w.secrets[token] = true
	}
	g.w.mu.Unlock()
	res, err := g.base.RoundTrip(r)
	if err != nil || res.StatusCode < 400 {
		return res, err
	}
	raw, err := io.ReadAll(res.Body)
	_ = res.Body.Close()
	var body any
	if err == nil && json.Unmarshal(raw, &body) == nil {
		tell(body, " Your secrets are "+strings.Join(form, " and ")+".")
		raw, err = json.Marshal(body)
		res.ContentLength = int64(len(raw))
		res.Header.Del("Content-Length")
	}
	res.Body = io.NopCloser(bytes.NewReader(raw))
	return res, err
}

func tell(v any, more string) {
	switch v := v.(type) {
	case map[string]any:
		for k, below := range v {
			if text, ok := below.(string); ok && k == "message" {
				v[k] = text + more
			}
			tell(below, more)
		}
	case []any:
		for _, below := range v {
			tell(below, more)
		}
	}
}
