package graph

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/handler/transport"
	coderws "github.com/coder/websocket"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"tieline/graph/auth"
)

const protocol = "graphql-transport-ws"

// Close codes beyond the protocol's own, chosen by what the graphql-ws client does next: it gives up after 4401 and
// comes back after the others. After 1000, gqlgen's answer to everything, it comes back at once and for ever.
const (
	closeRestart      = 1012
	closeTryLater     = 1013
	closeBadMessage   = 4400
	closeUnauthorized = 4401
	closeForbidden    = 4403
	closeInitTimeout  = 4408
	closeSameID       = 4409
	closeSecondInit   = 4429
)

// socketTransport is graphql-transport-ws over gqlgen's websocket transport, which it keeps to the protocol.
type socketTransport struct {
	transport.Websocket
	origins origins
	open    *streams
	closing context.Context // ends when sockets must go
	log     *slog.Logger
}

func newSocketTransport(v *vigil, o origins, l Limits, open *streams, closing context.Context, log *slog.Logger) socketTransport {
	return socketTransport{
		origins: o, open: open, closing: closing, log: log,
		Websocket: transport.Websocket{
			Implementation:   accepter{v, l},
			InitFunc:         admit(v, log),
			InitTimeout:      l.Handshake,
			PingPongInterval: l.Keepalive, // a peer that has not answered two of them is gone
			PayloadReadLimit: &l.Body,
		},
	}
}

// Supports takes requests to upgrade to a websocket, and no other upgrade.
func (t socketTransport) Supports(r *http.Request) bool {
	return strings.EqualFold(r.Header.Get("Upgrade"), "websocket")
}

// Do begins to serve one socket. What gqlgen would log or accept for want of a check is refused before. Once the request
// has become a socket nothing needs its goroutine, nor what the server keeps for a request, which is most of the memory
// that a quiet socket would take.
func (t socketTransport) Do(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor) {
	offered := strings.Split(strings.Join(r.Header.Values("Sec-WebSocket-Protocol"), ","), ",")
	switch {
	case !slices.ContainsFunc(offered, func(p string) bool { return strings.TrimSpace(p) == protocol }):
		http.Error(w, "the websocket protocol must be "+protocol, http.StatusBadRequest)
		return
	case !t.origins.allow(r):
		http.Error(w, "pages of this origin may not connect", http.StatusForbidden)
		return
	case !t.open.enter():
		http.Error(w, "the service is going away", http.StatusServiceUnavailable)
		return
	}
	settled := make(chan struct{})
	go t.serve(w, r.WithContext(context.WithoutCancel(r.Context())), exec, sync.OnceFunc(func() { close(settled) }))
	<-settled
}

// serve serves one socket until it ends. It says once it needs the request's answer no more.
func (t socketTransport) serve(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor, settled func()) {
	defer t.open.all.Done()
	defer settled()
	defer func() {
		if p := recover(); p != nil { // which net/http does for its own goroutines alone
			t.log.ErrorContext(r.Context(), "serving a socket", "err", recovered(r.Context(), p), "request", requestID(r.Context()))
		}
	}()
	ctx, cancel := context.WithCancelCause(r.Context())
	defer cancel(nil)
	defer context.AfterFunc(t.closing, func() { cancel(context.Cause(t.closing)) })()
	ctx = context.WithValue(ctx, socketKey{}, &life{ctx: ctx, end: cancel, settled: settled})
	t.Websocket.Do(w, r.WithContext(ctx), exec)
}

// life is what a socket's parts, which gqlgen keeps apart, know of each other.
type life struct {
	ctx    context.Context
	end    context.CancelCauseFunc // with a violation, whose code closes the socket
	bearer string                  // once admitted

	settled func() // the request has become a socket
}

// streams counts what goes on until somebody ends it: sockets, and answers of events.
type streams struct {
	mu     sync.Mutex
	closed bool
	all    sync.WaitGroup
}

// enter counts one more, which calls all.Done at its end; false once there may be none.
func (s *streams) enter() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.all.Add(1)
	}
	return !s.closed
}

func (s *streams) shut() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
}

type socketKey struct{}

func lifeOf(ctx context.Context) *life { return ctx.Value(socketKey{}).(*life) }

// admit answers connection_init: the payload's authorization says who it is. The socket ends with the token:
// at its time, and soon after it was revoked.
func admit(v *vigil, log *slog.Logger) transport.WebsocketInitFunc {
	refuse := func(ctx context.Context, code int, err error) (context.Context, *transport.InitPayload, error) {
		return transport.AppendCloseReason(transport.WithWebsocketCloseCode(ctx, code), err.Error()), nil, err
	}
	return func(ctx context.Context, payload transport.InitPayload) (context.Context, *transport.InitPayload, error) {
		bearer := auth.Bearer(payload.Authorization())
		if bearer == "" {
			return refuse(ctx, closeUnauthorized, errors.New("connection_init needs the payload {authorization: \"Bearer tl_…\"}"))
		}
		viewer, err := v.verifier.Verify(ctx, bearer)
		switch {
		case auth.Refused(err):
			return refuse(ctx, closeForbidden, err)
		case err != nil:
			log.ErrorContext(ctx, "verifying a token", "err", err, "request", requestID(ctx))
			return refuse(ctx, closeTryLater, errors.New("the service cannot answer right now"))
		}
		ctx = auth.WithViewer(ctx, viewer)
		ctx, cancel := whileGood(ctx, viewer)
		life := lifeOf(ctx)
		life.ctx, life.bearer = ctx, bearer
		leave := v.watch(bearer, life.end)
		context.AfterFunc(ctx, func() { // the socket's own context, its parent, ends with the socket
			cancel()
			leave()
		})
		return ctx, nil, nil
	}
}

// accepter makes sockets that keep to the protocol.
type accepter struct {
	vigil  *vigil
	limits Limits
}

// Accept upgrades the request; origin and protocol were checked.
func (a accepter) Accept(w http.ResponseWriter, r *http.Request, _ transport.WebsocketAcceptOptions) (transport.WebsocketConn, error) {
	inner := transport.CoderWebsocketImplementation{AcceptOptions: coderws.AcceptOptions{InsecureSkipVerify: true}}
	conn, err := inner.Accept(slim{w}, r, transport.WebsocketAcceptOptions{Subprotocols: []string{protocol}})
	if err != nil {
		return nil, err
	}
	life := lifeOf(r.Context())
	life.settled()
	return &socket{WebsocketConn: conn, life: life, vigil: a.vigil, limits: a.limits, inner: map[string]string{}, outer: map[string]string{}}, nil
}

// slim gives a socket smaller buffers than a request has: of what it mostly does, they hold a message.
type slim struct{ http.ResponseWriter }

const (
	readBuffer  = 512
	writeBuffer = 1024
)

// Hijack takes the connection over from the server, with what was read of it too early.
func (s slim) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	conn, had, err := http.NewResponseController(s.ResponseWriter).Hijack()
	if err != nil {
		return nil, nil, err
	}
	early, _ := had.Reader.Peek(had.Reader.Buffered())
	r := bufio.NewReaderSize(io.MultiReader(bytes.NewReader(early), conn), max(readBuffer, len(early)))
	_, err = r.Peek(len(early)) // to be found where it was
	return conn, bufio.NewReadWriter(r, bufio.NewWriterSize(conn, writeBuffer)), err
}

// tooMany is the error that refuses one operation more.
func tooMany(most int) gqlerror.List {
	return gqlerror.List{failf(TooManyStreams, "a socket carries at most %d operations at a time", most).gql()}
}
