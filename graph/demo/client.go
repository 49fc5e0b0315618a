package demo

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
)

// client speaks GraphQL.
type client struct{ url, token string }

// problem is an entry of errors, or of a payload's userErrors.
type problem struct {
	Field   []string `json:"field"`
	Message string   `json:"message"`
}

func joined(problems []problem) error {
	var errs []error
	for _, p := range problems {
		where := ""
		if len(p.Field) > 0 {
			where = strings.Join(p.Field, ".") + ": "
		}
		errs = append(errs, errors.New(where+p.Message))
	}
	return errors.Join(errs...)
}

// do runs a query and reads its data into out.
func (c client) do(ctx context.Context, document string, variables map[string]any, out any) error {
	var answer struct {
		Data   json.RawMessage `json:"data"`
		Errors []problem       `json:"errors"`
	}
	header := http.Header{"Authorization": {"Bearer " + c.token}, "Accept": {"application/graphql-response+json"}}
	err := post(ctx, c.url, header, map[string]any{"query": document, "variables": variables}, &answer)
	if len(answer.Errors) > 0 {
		return joined(answer.Errors)
	}
	if err != nil {
		return err
	}
	return json.Unmarshal(answer.Data, out)
}

// mutate runs a mutation of one field, takes its userErrors for an error, and reads the payload into out.
func (c client) mutate(ctx context.Context, field, selection string, input map[string]any, out any) error {
	document := fmt.Sprintf("mutation($input: %s%sInput!) { payload: %s(input: $input) { %s userErrors { field message } } }",
		strings.ToUpper(field[:1]), field[1:], field, selection)
	var data struct {
		Payload json.RawMessage `json:"payload"`
	}
	if err := c.do(ctx, document, map[string]any{"input": input}, &data); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	var refused struct {
		UserErrors []problem `json:"userErrors"`
	}
	if err := errors.Join(json.Unmarshal(data.Payload, &refused), joined(refused.UserErrors)); err != nil {
		return fmt.Errorf("%s: %w", field, err)
	}
	return json.Unmarshal(data.Payload, out)
}

// post sends JSON and reads JSON. An answer that is no success is an error, its body read all the same.
func post(ctx context.Context, url string, header http.Header, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, url, bytes.NewReader(body))
	if err != nil {
		return err
	}
	if header != nil {
		req.Header = header
	}
	req.Header.Set("Content-Type", "application/json")
	return send(req, out)
}

func send(req *http.Request, out any) error {
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return err
	}
	defer res.Body.Close()
	text, err := io.ReadAll(res.Body)
	if err != nil {
		return err
	}
	err = json.Unmarshal(text, out)
	if res.StatusCode != http.StatusOK {
		return fmt.Errorf("%s %s: %s: %s", req.Method, req.URL.Path, res.Status, bytes.TrimSpace(text))
	}
	return err
}

// feed is a subscription to all runs, over graphql-transport-ws.
type feed struct{ conn *websocket.Conn }

// message is what the protocol sends either way.
type message struct {
	ID      string `json:"id,omitempty"`
	Type    string `json:"type"`
	Payload any    `json:"payload,omitempty"`
}

const updates = `subscription($after: String) { runUpdates(after: $after) {
	change { state waitingReason step stepState }
	run {
		id record recordName state flow { key } error { message }
		steps { key state reason action { name app { name } } error { message } }
		cause { id key run { id } }
	}
} }`

// follow subscribes from now on: from the moment that the list of runs is read at.
func (c client) follow(ctx context.Context, url string) (*feed, error) {
	var now struct{ Runs struct{ FeedCursor *string } }
	if err := c.do(ctx, `{ runs(first: 1) { feedCursor } }`, nil, &now); err != nil {
		return nil, err
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, _, err := websocket.Dial(ctx, url, &websocket.DialOptions{Subprotocols: []string{"graphql-transport-ws"}})
	if err != nil {
		return nil, err
	}
	f := &feed{conn}
	conn.SetReadLimit(1 << 20)
	err = wsjson.Write(ctx, conn, message{Type: "connection_init", Payload: map[string]string{"Authorization": "Bearer " + c.token}})
	if err == nil {
		_, err = f.read(ctx, "connection_ack")
	}
	if err == nil {
		err = wsjson.Write(ctx, conn, message{ID: "1", Type: "subscribe", Payload: map[string]any{
			"query": updates, "variables": map[string]any{"after": now.Runs.FeedCursor},
		}})
	}
	if err != nil {
		f.close()
		return nil, err
	}
	return f, nil
}

// read waits for a message of a type, and answers pings meanwhile.
func (f *feed) read(ctx context.Context, want string) (json.RawMessage, error) {
	for {
		var m struct {
			Type    string
			Payload json.RawMessage
		}
		if err := wsjson.Read(ctx, f.conn, &m); err != nil {
			return nil, err
		}
		switch m.Type {
		case want:
			return m.Payload, nil
		case "ping":
			if err := wsjson.Write(ctx, f.conn, message{Type: "pong"}); err != nil {
				return nil, err
			}
		case "error":
			var problems []problem
			return nil, errors.Join(json.Unmarshal(m.Payload, &problems), joined(problems))
		case "complete":
			return nil, errors.New("the server ended the subscription")
		}
	}
}

// next is the next change of any run.
func (f *feed) next(ctx context.Context) (update, error) {
	var answer struct {
		Data   struct{ RunUpdates update }
		Errors []problem
	}
	text, err := f.read(ctx, "next")
	if err == nil {
		err = json.Unmarshal(text, &answer)
	}
	return answer.Data.RunUpdates, errors.Join(err, joined(answer.Errors))
}

func (f *feed) close() { _ = f.conn.Close(websocket.StatusNormalClosure, "") }
