package intake

import (
	"encoding/json"
	"errors"
	"io"
	"net/http"
	"os"
	"strconv"
	"time"

	"tieline/connectors"
)

const (
	maxBody     = 2 << 20
	bodyWithin  = 10 * time.Second // for the whole body to arrive
	maxToken    = 128
	contentType = "application/json"
)

// Path is where the handler belongs, for http.ServeMux.
const Path = "/webhooks/{app}/{token}"

// ServeHTTP is the front of webhooks at Path.
func (in *Intake) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	app, known := in.engine.Apps.App(r.PathValue("app"))
	a := notFound
	if known {
		a = in.serve(w, r, app.Key)
	}
	if in.Observe != nil {
		in.Observe(app.Key, a.Code)
	}
	write(w, a)
}

func (in *Intake) serve(w http.ResponseWriter, r *http.Request, app string) Answer {
	if r.Method != http.MethodPost {
		w.Header().Set("Allow", http.MethodPost)
		return Answer{Status: http.StatusMethodNotAllowed, Code: "METHOD_NOT_ALLOWED", Message: "Webhooks are sent by POST."}
	}
	d := Delivery{App: app, Token: r.PathValue("token")}
	if d.Token == "" || len(d.Token) > maxToken {
		return notFound
	}
	body, refused := read(w, r)
	if refused.Status != 0 {
		return refused
	}
	d.Delivery = connectors.Delivery{Header: r.Header, Query: r.URL.Query(), Body: body, ReceivedAt: time.Now()}
	return in.take(r.Context(), d)
}

// read takes the body as it is: signatures are over its bytes.
func read(w http.ResponseWriter, r *http.Request) ([]byte, Answer) {
	deadline := http.NewResponseController(w)
	_ = deadline.SetReadDeadline(time.Now().Add(bodyWithin)) // not every writer can
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, maxBody))
	_ = deadline.SetReadDeadline(time.Time{})
	var large *http.MaxBytesError
	switch {
	case err == nil:
		return body, Answer{}
	case errors.As(err, &large):
		return nil, Answer{Status: http.StatusRequestEntityTooLarge, Code: "TOO_LARGE", Message: "A delivery has at most 2 MiB."}
	case errors.Is(err, os.ErrDeadlineExceeded):
		w.Header().Set("Connection", "close")
		return nil, Answer{Status: http.StatusRequestTimeout, Code: "TOO_SLOW", Message: "The body took too long to arrive."}
	}
	return nil, Answer{Status: http.StatusBadRequest, Code: Malformed, Message: "The body could not be read to its end."}
}

// write answers so that whoever looks at the vendor's log of deliveries understands.
func write(w http.ResponseWriter, a Answer) {
	type said struct {
		Code    string `json:"code"`
		Message string `json:"message,omitempty"`
	}
	out := map[string]said{"error": {a.Code, a.Message}}
	if a.Status == http.StatusOK {
		out = map[string]said{"delivery": {a.Code, a.Message}}
	}
	if a.RetryAfter > 0 {
		w.Header().Set("Retry-After", strconv.Itoa(int(a.RetryAfter.Seconds())))
	}
	if a.Challenge != "" {
		w.Header().Set("WWW-Authenticate", a.Challenge)
	}
	w.Header().Set("Content-Type", contentType)
	w.Header().Set("X-Content-Type-Options", "nosniff")
	if a.Reply != "" { // it may hold an access token
		w.Header().Set("Cache-Control", "no-store")
		w.WriteHeader(a.Status)
		_, _ = io.WriteString(w, a.Reply)
		return
	}
	w.WriteHeader(a.Status)
	_ = json.NewEncoder(w).Encode(out)
}
