// Package follow is an example for clients in Go: it follows runs over graphql-transport-ws without gap or repeat, however
// often the line is cut. A client that only sends its first document again would miss what came meanwhile, or have it
// twice.
package follow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// It comes back soon, and then ever later, until it is told something.
const firstPause, lastPause = 50 * time.Millisecond, 5 * time.Second

const document = "subscription ($after: String) { runUpdates(after: $after) { cursor change { version state step stepState } run { id } } }"

// Update is a message, as far as document asks for it.
type Update struct {
	Cursor string
	Change struct {
		Version                int64
		State, Step, StepState string
	}
	Run *struct{ ID string }
}

// Runs calls each with every change after a cursor, "" for from now on. When it is cut it goes on from the last one. It
// returns when ctx ends, when each fails, and when coming back is no use: the token is refused, or the cursor expired.
func Runs(ctx context.Context, url, token, after string, each func(Update) error) error {
	for pause := firstPause; ; pause = min(2*pause, lastPause) {
		begun := after
		again, err := listen(ctx, url, token, &after, each)
		if !again || ctx.Err() != nil {
			return err
		}
		if after != begun {
			pause = firstPause
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-time.After(pause):
		}
	}
}

// listen follows over one connection; again tells whether another one may do better.
func listen(ctx context.Context, url, token string, after *string, each func(Update) error) (again bool, err error) {
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		return true, err
	}
	defer conn.CloseNow()
	variables := map[string]any{}
	if *after != "" {
		variables["after"] = *after
	}
	_ = wsjson.Write(ctx, conn, map[string]any{"type": "connection_init", "payload": map[string]any{"authorization": "Bearer " + token}})
	_ = wsjson.Write(ctx, conn, map[string]any{"type": "subscribe", "id": "1", "payload": map[string]any{"query": document, "variables": variables}})
	for {
		var m struct {
			Type    string
			Payload json.RawMessage
		}
		if err := wsjson.Read(ctx, conn, &m); err != nil {
			refused := slices.Contains([]websocket.StatusCode{4400, 4401, 4403}, websocket.CloseStatus(err))
			return !refused, err
		}
		switch m.Type {
		case "ping":
			_ = wsjson.Write(ctx, conn, map[string]string{"type": "pong"})
		case "error":
			return false, fmt.Errorf("the subscription was refused: %s", m.Payload)
		case "next":
			var p struct {
				Data   *struct{ RunUpdates Update }
				Errors []struct{ Extensions struct{ Code string } }
			}
			if err := json.Unmarshal(m.Payload, &p); err != nil {
				return false, err
			}
			if p.Data == nil || len(p.Errors) > 0 {
				resume := len(p.Errors) == 1 && slices.Contains([]string{"SLOW_SUBSCRIBER", "UNAVAILABLE"}, p.Errors[0].Extensions.Code)
				return resume, fmt.Errorf("the subscription ended: %s", m.Payload)
			}
			if err := each(p.Data.RunUpdates); err != nil {
				return false, err
			}
			*after = p.Data.RunUpdates.Cursor
		case "complete":
			return true, nil
		}
	}
}
