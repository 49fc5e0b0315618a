//go:build chaos

package jobs_test

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// quietFor is how long a subscriber hears nothing before it asks another process.
const quietFor = 3 * time.Second

// told is a change as a subscriber was told it, or as the table has it.
type told struct {
	Run, State, Step, StepState string
	Version                     int64
}

// subscriber follows all runs over whatever process it reaches, and goes on from its cursor when it was cut.
type subscriber struct {
	url, token string

	mu      sync.Mutex
	cursor  string
	log     []told
	ids     map[string]int // of changes: how often each was told
	resumes int
	expired bool
	changed chan struct{}
}

func follow(t *testing.T, url, token, cursor string) *subscriber {
	t.Helper()
	s := &subscriber{url: url, token: token, cursor: cursor, ids: map[string]int{}, changed: make(chan struct{}, 1)}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			_ = s.connect(ctx) // whatever ended it, it goes on
			s.mu.Lock()
			s.resumes++
			s.mu.Unlock()
			select {
			case <-ctx.Done():
			case <-time.After(100 * time.Millisecond):
			}
		}
	}()
	t.Cleanup(func() { cancel(); <-done })
	return s
}

type message struct {
	Type    string `json:"type"`
	ID      string `json:"id,omitempty"`
	Payload any    `json:"payload,omitempty"`
}

// askCursor asks for the end of the feed.
func askCursor(ctx context.Context, url, token string) (string, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, strings.NewReader(`{"query": "{ runs(first: 1) { feedCursor } }"}`))
	if err != nil {
		return "", err
	}
	req.Header.Set("Content-Type", "application/json")
	req.Header.Set("Authorization", "Bearer "+token)
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return "", err
	}
	defer res.Body.Close()
	var page struct {
		Data struct{ Runs struct{ FeedCursor string } }
	}
	if err := json.NewDecoder(res.Body).Decode(&page); err != nil {
		return "", err
	}
	if page.Data.Runs.FeedCursor == "" {
		return "", fmt.Errorf("no cursor: %s", res.Status)
	}
	return page.Data.Runs.FeedCursor, nil
}

// connect follows until it is cut.
func (s *subscriber) connect(ctx context.Context) error {
	dialing, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	conn, _, err := websocket.Dial(dialing, s.url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		return err
	}
	defer conn.CloseNow()
	s.mu.Lock()
	after := s.cursor
	s.mu.Unlock()
	if err := wsjson.Write(dialing, conn, message{Type: "connection_init", Payload: map[string]string{"authorization": "Bearer " + s.token}}); err != nil {
		return err
	}
	if err := wsjson.Write(dialing, conn, message{Type: "subscribe", ID: "1", Payload: map[string]any{
		"query":     "subscription($after: String) { runUpdates(after: $after) { cursor change { id version state step stepState } run { id } } }",
		"variables": map[string]any{"after": after},
	}}); err != nil {
		return err
	}
	for {
		if err := s.hear(ctx, conn); err != nil {
			return err
		}
	}
}

func (s *subscriber) hear(ctx context.Context, conn *websocket.Conn) error {
	ctx, cancel := context.WithTimeout(ctx, quietFor)
	defer cancel()
	var m struct {
		Type    string
		Payload json.RawMessage
	}
	if err := wsjson.Read(ctx, conn, &m); err != nil {
		return err
	}
	switch m.Type {
	case "ping":
		return wsjson.Write(ctx, conn, message{Type: "pong"})
	case "connection_ack", "pong":
		return nil
	case "next":
	default:
		return s.refused(m.Payload)
	}
	var p struct {
		Errors json.RawMessage
		Data   struct {
			RunUpdates struct {
				Cursor string
				Run    struct{ ID string }
				Change struct {
					ID, State, Step, StepState string
					Version                    int64
				}
			}
		}
	}
	if err := json.Unmarshal(m.Payload, &p); err != nil {
		return err
	}
	if u := p.Data.RunUpdates; u.Cursor != "" && u.Change.ID != "" {
		s.mu.Lock()
		s.cursor = u.Cursor
		s.ids[u.Change.ID]++
		s.log = append(s.log, told{u.Run.ID, u.Change.State, u.Change.Step, u.Change.StepState, u.Change.Version})
		s.mu.Unlock()
		select {
		case s.changed <- struct{}{}:
		default:
		}
	}
	if len(p.Errors) > 0 && string(p.Errors) != "null" {
		return s.refused(p.Errors)
	}
	return nil
}

// refused keeps what no resuming cures.
func (s *subscriber) refused(payload json.RawMessage) error {
	var list []struct{ Extensions struct{ Code string } }
	_ = json.Unmarshal(payload, &list)
	for _, e := range list {
		if e.Extensions.Code == "CURSOR_EXPIRED" {
			s.mu.Lock()
			s.expired = true
			s.mu.Unlock()
		}
	}
	return fmt.Errorf("the subscription ended: %s", payload)
}

// heard is the log so far.
func (s *subscriber) heard() ([]told, map[string]int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.log[:len(s.log):len(s.log)], s.ids
}
