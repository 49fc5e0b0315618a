package connectors_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
)

// granting is a vendor whose calls carry tokens that count up from t1.
func granting(fetched *atomic.Int32) connectors.Connector {
	v := vendor()
	v.Authorize = func(_ context.Context, r connectors.Requester, _ connectors.Credentials) error {
		r.SetHeader("Authorization", "Bearer "+r.Token())
		return nil
	}
	v.Login = &connectors.Login{Timeout: time.Second, Fetch: func(context.Context, *http.Client, string, connectors.Credentials) (connectors.Token, error) {
		return connectors.Token{Access: fmt.Sprint("t", fetched.Add(1)), Life: time.Hour}, nil
	}}
	return v
}

// TestRefusedToken: a call whose token is refused is sent once more, as it was, with another; a second refusal stands.
func TestRefusedToken(t *testing.T) {
	t.Parallel()
	for good, want := range map[string]string{"t1": "t1 body", "t2": "t1 body, t2 body", "t9": "t1 body, t2 body"} {
		for _, write := range []bool{false, true} {
			var fetched atomic.Int32
			var mu sync.Mutex
			var got []string
			url := serve(t, func(w http.ResponseWriter, r *http.Request) {
				body, _ := io.ReadAll(r.Body)
				token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
				mu.Lock()
				got = append(got, token+" "+string(body))
				mu.Unlock()
				if token != good {
					w.WriteHeader(http.StatusUnauthorized)
				}
			})
			c, j := conntest.OpenJournal(t, granting(&fetched), url, connectors.Credentials{"token": secret})
			var err error
			if write {
				err = effect(t.Context(), c, "/things", "body")
			} else {
				_, err = do(t.Context(), c, http.MethodPost, "/query", "body")
			}
			if err != nil || strings.Join(got, ", ") != want {
				t.Errorf("good %s, write %v: %v, %v", good, write, got, err)
			}
			if write && j.Effects()[0].Sent != 1 {
				t.Errorf("the write was journaled %d times", j.Effects()[0].Sent)
			}
			if text := c.Hide("with t1 in it"); text != "with (secret) in it" {
				t.Errorf("a token is shown: %s", text)
			}
		}
	}
}

// TestTokensInMemory: one asks at a time, what it is given is for all, and a caller that leaves does not hold up the others.
func TestTokensInMemory(t *testing.T) {
	t.Parallel()
	tokens := connectors.NewTokens()
	asked, answer := make(chan struct{}, 10), make(chan error)
	life := time.Hour
	fetch := func(context.Context, connectors.Token) (connectors.Token, error) {
		asked <- struct{}{}
		err := <-answer
		return connectors.Token{Access: "a", Of: "me", Life: life}, err
	}
	type result struct {
		token connectors.Token
		err   error
	}
	got := make(chan result, 10)
	ask := func(ctx context.Context, of, stale string) {
		go func() {
			token, err := tokens.Token(ctx, of, stale, fetch)
			got <- result{token, err}
		}()
	}
	for range 3 {
		ask(t.Context(), "me", "")
	}
	<-asked
	gone, cancel := context.WithCancel(t.Context())
	ask(gone, "me", "")
	cancel()
	if r := <-got; !errors.Is(r.err, context.Canceled) {
		t.Errorf("one that left: %v", r.err)
	}
	answer <- nil
	for range 3 {
		if r := <-got; r.err != nil || r.token.Access != "a" || fmt.Sprintf("%v %#v %s", r.token, r.token, r.token) != "token token token" {
			t.Errorf("%+v", r)
		}
	}
	if len(asked) != 0 {
		t.Error("it was asked for again")
	}
	for _, x := range []struct{ of, stale string }{{"me", "a"}, {"you", ""}} { // refused by the vendor, or of other credentials
		ask(t.Context(), x.of, x.stale)
		<-asked
		answer <- errors.New("no")
		if r := <-got; r.err == nil {
			t.Errorf("%+v: no error", x)
		}
	}
}
