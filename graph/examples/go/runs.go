package follow

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

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

// Runs calls each with every change after a cursor, "" for from now on, until ctx ends, each fails, or it is final. It is
// Follow around a client of no more than it needs, for those who have none.
func Runs(ctx context.Context, url, token, after string, each func(Update) error) error {
	return Follow(ctx, after, func(ctx context.Context, after string, handled func(string)) error {
		conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
		if err != nil {
			return err
		}
		defer conn.CloseNow()
		variables := map[string]any{}
		if after != "" {
			variables["after"] = after
		}
		_ = wsjson.Write(ctx, conn, map[string]any{"type": "connection_init", "payload": map[string]any{"authorization": "Bearer " + token}})
		_ = wsjson.Write(ctx, conn, map[string]any{"type": "subscribe", "id": "1", "payload": map[string]any{"query": document, "variables": variables}})
		for {
			var m struct {
				Type    string
				Payload json.RawMessage
			}
			switch err := wsjson.Read(ctx, conn, &m); {
			case slices.Contains([]websocket.StatusCode{4400, 4401, 4403}, websocket.CloseStatus(err)):
				return fmt.Errorf("%w: %w", ErrFinal, err)
			case m.Type == "error":
				return fmt.Errorf("%w: %s", ErrFinal, m.Payload)
			case err != nil, m.Type == "complete":
				return err
			case m.Type == "ping":
				_ = wsjson.Write(ctx, conn, map[string]string{"type": "pong"})
			case m.Type == "next":
				cursor, err := told(m.Payload, each)
				if err != nil {
					return err
				}
				handled(cursor)
			}
		}
	})
}

// told hands on a message's update. A slow subscriber, and one whose server goes away, is to come back.
func told(payload []byte, each func(Update) error) (cursor string, err error) {
	var p struct {
		Data   *struct{ RunUpdates Update }
		Errors []struct{ Extensions struct{ Code string } }
	}
	switch err := json.Unmarshal(payload, &p); {
	case err == nil && p.Data != nil && len(p.Errors) == 0:
		if err := each(p.Data.RunUpdates); err != nil {
			return "", fmt.Errorf("%w: %w", ErrFinal, err)
		}
		return p.Data.RunUpdates.Cursor, nil
	case len(p.Errors) == 1 && slices.Contains([]string{"SLOW_SUBSCRIBER", "UNAVAILABLE"}, p.Errors[0].Extensions.Code):
		return "", fmt.Errorf("the subscription ended: %s", payload)
	}
	return "", fmt.Errorf("%w: %s", ErrFinal, payload)
}
