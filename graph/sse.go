package graph

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/99designs/gqlgen/graphql"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"

	"tieline/graph/auth"
)

// eventWriter is an answer of server-sent events by graphql-sse's distinct connections mode: results as next, then complete.
// One goroutine writes it, so that nothing is written after the handler returned; in gqlgen's own transport another one
// may, which ends the process.
type eventWriter struct {
	w      http.ResponseWriter
	wire   *http.ResponseController
	within time.Duration // for the peer to take what was sent
}

// startEvents begins the answer. What was refused before is still an answer with a status.
func startEvents(w http.ResponseWriter, within time.Duration) *eventWriter {
	h := w.Header()
	h.Set("Content-Type", eventStream)
	h.Set("Cache-Control", "no-store, no-transform") // a proxy that compresses holds events back
	h.Set("X-Accel-Buffering", "no")
	return &eventWriter{w, http.NewResponseController(w), within}
}

func (e *eventWriter) send(text string) error {
	_ = e.wire.SetWriteDeadline(time.Now().Add(e.within))
	if _, err := e.w.Write([]byte(text)); err != nil {
		return err
	}
	return e.wire.Flush()
}

// comment is a sign of life, which clients skip. Nothing answers it, so a peer that vanished stays until the kernel has
// sent it again for long enough: a quarter of an hour on Linux.
func (e *eventWriter) comment(text string) error { return e.send(": " + text + "\n\n") }

// next sends a result, which is JSON and so has no line breaks.
func (e *eventWriter) next(result []byte) error {
	return e.send("event: next\ndata: " + string(result) + "\n\n")
}

// complete is the end of an operation. A stream that ends without it was cut, and its client comes back.
func (e *eventWriter) complete() error { return e.send("event: complete\ndata:\n\n") }

// stream answers an operation by events until it is done, its token ends, or the service stops.
func (t httpTransport) stream(w http.ResponseWriter, r *http.Request, exec graphql.GraphExecutor, op *graphql.OperationContext, viewer auth.Viewer) *Error {
	if !t.open.enter() {
		return fail(Unavailable, "the service is going away; try again")
	}
	defer t.open.all.Done()
	ctx, end := context.WithCancelCause(r.Context())
	defer end(nil)
	defer context.AfterFunc(t.closing, func() { end(context.Cause(t.closing)) })()
	ctx, cancel := whileGood(auth.WithViewer(ctx, viewer), viewer)
	defer cancel()
	if op.Operation.Operation == ast.Subscription {
		defer t.vigil.watch(auth.Bearer(r.Header.Get("Authorization")), end)()
	}

	out := startEvents(w, t.limits.Write)
	_ = out.wire.SetReadDeadline(time.Time{}) // a server's limit for requests is none for streams
	results := run(ctx, exec, op)
	defer func() {
		end(nil)
		for range results { // its resolvers have left when we do
		}
	}()
	out.follow(ctx, results, t.limits.Keepalive)
	return nil
}

// follow sends results until there are no more, or the peer is gone.
func (e *eventWriter) follow(ctx context.Context, results <-chan []byte, keepalive time.Duration) {
	alive := time.NewTicker(keepalive)
	defer alive.Stop()
	err := e.comment("hello") // at once, so that the client knows it is connected
	for err == nil {
		select {
		case <-alive.C:
			err = e.comment("still here")
		case result, more := <-results:
			switch {
			case ctx.Err() != nil: // the result may lack what could no longer be read
				_ = e.comment(whyEnded(ctx).reason)
				return
			case !more:
				_ = e.complete()
				return
			}
			err = e.next(result)
			alive.Reset(keepalive)
		}
	}
}

// run dispatches an operation. The channel is closed when it is over; ending ctx ends it.
func run(ctx context.Context, exec graphql.GraphExecutor, op *graphql.OperationContext) <-chan []byte {
	results := make(chan []byte)
	tell := func(r *graphql.Response) bool {
		select {
		case results <- encode(r): // before the next is asked for, which is written to the same place
			return true
		case <-ctx.Done():
			return false
		}
	}
	go func() {
		defer close(results)
		defer func() {
			if p := recover(); p != nil { // which net/http does for its own goroutines alone
				tell(exec.DispatchError(graphql.WithOperationContext(ctx, op), gqlerror.List{gqlerror.Wrap(op.Recover(ctx, p))}))
			}
		}()
		responses, ctx := exec.DispatchOperation(ctx, op)
		for r := responses(ctx); r != nil && tell(r); {
			r = responses(ctx)
		}
	}()
	return results
}

// encode is a result in JSON. One that we cannot write is a mistake of ours.
func encode(result any) []byte {
	raw, err := json.Marshal(result)
	if err != nil {
		panic(err)
	}
	return raw
}
