package graph

import (
	"context"
	"net/http"
	"regexp"

	"tieline/db"
)

type requestKey struct{}

var goodRequestID = regexp.MustCompile(`^[A-Za-z0-9._:-]{8,64}$`)

// withRequestID names a request, by the caller's name for it where that is a sound one, so that an answer, a log line
// and an audit entry can be brought together.
func withRequestID(w http.ResponseWriter, r *http.Request) *http.Request {
	id := r.Header.Get("X-Request-Id")
	if !goodRequestID.MatchString(id) {
		id = db.FormatID("req", db.NewID())
	}
	w.Header().Set("X-Request-Id", id)
	return r.WithContext(context.WithValue(r.Context(), requestKey{}, id))
}

func requestID(ctx context.Context) string {
	id, _ := ctx.Value(requestKey{}).(string)
	return id
}
