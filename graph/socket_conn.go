package graph

import (
	"bytes"
	"encoding/json"
	"io"
	"reflect"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/99designs/gqlgen/graphql/handler/transport"
	coderws "github.com/coder/websocket"
)

// socket stands between the wire and gqlgen. It checks what comes in, answers pings itself, and gives every operation
// an id of its own inside, so that gqlgen never meets an id twice and nothing of an ended operation gets out.
type socket struct {
	transport.WebsocketConn
	life   *life
	vigil  *vigil
	limits Limits

	mu    sync.Mutex
	begun bool              // connection_init was seen
	last  int               // inner id
	inner map[string]string // client's id → ours, of live operations
	outer map[string]string // and back
}

// message is what either side sends.
type message struct {
	ID      *string         `json:"id,omitempty"`
	Type    string          `json:"type"`
	Payload json.RawMessage `json:"payload,omitempty"`
}

// violation is a breach of the protocol and the code to close with.
type violation struct {
	code   int
	reason string
}

func (v *violation) Error() string { return v.reason }

// NextReader reads on until there is a message for gqlgen. A breach of the protocol closes the socket.
func (s *socket) NextReader() (int, io.Reader, error) {
	for {
		kind, r, err := s.WebsocketConn.NextReader()
		if err != nil {
			return kind, nil, err
		}
		raw, err := io.ReadAll(r)
		if err != nil {
			return kind, nil, err
		}
		var m message
		if kind != int(coderws.MessageText) || strictly(raw, &m) != nil {
			return 0, nil, s.end(violation{closeBadMessage, "a message must be a JSON object"})
		}
		pass, bad := s.take(&m)
		if bad == nil && pass && m.Type == "subscribe" {
			bad = s.vigil.check(s.life.ctx, s.life.bearer)
		}
		if bad != nil {
			return 0, nil, s.end(*bad)
		}
		if pass {
			raw, err = json.Marshal(m)
			return kind, bytes.NewReader(raw), err
		}
	}
}

func (s *socket) end(v violation) error {
	_ = s.WriteClose(v.code, v.reason)
	return transport.ErrWebsocketClosed
}

// take looks at one message: whether gqlgen is to see it, or what is wrong with it.
func (s *socket) take(m *message) (pass bool, bad *violation) {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch m.Type {
	case "connection_init":
		if s.begun {
			return false, &violation{closeSecondInit, "Too many initialisation requests"}
		}
		if !isObject(m.Payload) && !isAbsent(m.Payload) {
			return false, &violation{closeBadMessage, "the payload of connection_init must be an object"}
		}
		s.begun = true
		return true, nil
	case "ping":
		return false, s.pong(m.Payload)
	case "pong":
		return s.begun, nil
	case "subscribe":
		return s.subscribe(m)
	case "complete":
		if m.ID == nil {
			return false, &violation{closeBadMessage, "complete needs an id"}
		}
		inner, live := s.inner[*m.ID]
		if live {
			s.forget(inner)
			m.ID = &inner
		}
		return live, nil
	}
	return false, &violation{closeBadMessage, "the type of a message must be one of " + protocol}
}

func (s *socket) subscribe(m *message) (bool, *violation) {
	var p struct {
		Query, OperationName  *string
		Variables, Extensions map[string]json.RawMessage
	}
	switch {
	case !s.begun:
		return false, &violation{closeUnauthorized, "Unauthorized"}
	case m.ID == nil || *m.ID == "":
		return false, &violation{closeBadMessage, "subscribe needs an id"}
	case !isObject(m.Payload) || json.Unmarshal(m.Payload, &p) != nil || p.Query == nil:
		return false, &violation{closeBadMessage, "the payload of subscribe must have a query, and its parameters their types"}
	case s.inner[*m.ID] != "":
		return false, &violation{closeSameID, "Subscriber for " + *m.ID + " already exists"}
	case len(s.inner) >= s.limits.Subscriptions:
		payload, _ := json.Marshal(tooMany(s.limits.Subscriptions))
		_ = s.write(message{ID: m.ID, Type: "error", Payload: payload})
		return false, nil
	}
	s.last++
	inner := strconv.Itoa(s.last)
	s.inner[*m.ID], s.outer[inner] = inner, *m.ID
	m.ID = &inner
	return true, nil
}

func (s *socket) pong(payload json.RawMessage) *violation {
	_ = s.write(message{Type: "pong", Payload: payload})
	return nil
}

func (s *socket) forget(inner string) {
	delete(s.inner, s.outer[inner])
	delete(s.outer, inner)
}

// WriteJSON sends a message of gqlgen's under the client's id. What belongs to an operation that has ended is dropped:
// after error or complete nothing may follow. gqlgen's type is its own, hence the reflection.
func (s *socket) WriteJSON(v any) error {
	m := reflect.ValueOf(v).Elem()
	id, kind := m.FieldByName("ID"), m.FieldByName("Type").String()
	if inner := id.String(); inner != "" {
		s.mu.Lock()
		outer, live := s.outer[inner]
		if kind == "error" || kind == "complete" {
			s.forget(inner)
		}
		s.mu.Unlock()
		// When the socket is about to close, its code says whether to come back; a complete before it would say not to,
		// and a result may lack what could no longer be read.
		if !live || s.life.ctx.Err() != nil {
			return nil
		}
		id.SetString(outer)
	}
	return s.write(v)
}

// write sends a message, to a peer that takes it in time. From one that does not, no ping comes back either, and yet
// gqlgen would wait for it: its own deadline is set by the next ping, which cannot be sent.
func (s *socket) write(v any) error {
	late := time.AfterFunc(s.limits.Write, func() { _ = s.WebsocketConn.Close() })
	defer late.Stop()
	return s.WebsocketConn.WriteJSON(v)
}

// WriteClose closes with the code that tells the client whether to come back.
func (s *socket) WriteClose(code int, reason string) error {
	switch {
	case code == transport.WebsocketCloseProtocolError && reason == "connection initialisation timeout":
		code, reason = closeInitTimeout, "Connection initialisation timeout"
	case code == transport.WebsocketCloseProtocolError:
		code, reason = closeBadMessage, "Bad message"
	case (code == transport.WebsocketCloseNormalClosure || code == closeTryLater) && s.life.ctx.Err() != nil: // a token is not verified any more, either
		why := whyEnded(s.life.ctx)
		code, reason = why.code, why.reason
	}
	return s.WebsocketConn.WriteClose(code, clip(reason))
}

// clip keeps a reason within a close frame's 125 bytes, two of them the code.
func clip(reason string) string {
	const most = 123
	if len(reason) > most {
		return strings.ToValidUTF8(reason[:most], "")
	}
	return reason
}

// SetReadLimit passes the limit on: gqlgen asks for it through an optional interface.
func (s *socket) SetReadLimit(n int64) {
	s.WebsocketConn.(transport.WebsocketReadLimiter).SetReadLimit(n)
}

// SetReadDeadline passes the deadline on, without which a peer that is gone would stay.
func (s *socket) SetReadDeadline(t time.Time) error {
	return s.WebsocketConn.(transport.WebsocketReadDeadliner).SetReadDeadline(t)
}

func isObject(raw json.RawMessage) bool {
	return len(raw) > 0 && bytes.TrimLeft(raw, " \t\r\n")[0] == '{'
}

func isAbsent(raw json.RawMessage) bool { return len(raw) == 0 || string(raw) == "null" }
