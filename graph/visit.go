package graph

import (
	"crypto/sha256"
	"encoding/base64"
	"encoding/hex"
	"errors"
	"fmt"
	"html/template"
	"log/slog"
	"net/http"
	"net/url"
	"strings"

	"tieline/graph/model"
	"tieline/jobs/flow"
)

// Visits are the pages that a person's browser comes by on its way to a vendor's consent page and back. What went wrong is
// said there, with the way out: nobody else can tell that person.
type Visits struct {
	Engine *flow.Engine
	Log    *slog.Logger
}

// ServeHTTP serves flow.BeginPath and flow.BackPath.
func (v Visits) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	r = withRequestID(w, r)
	h := w.Header()
	h.Set("Cache-Control", "no-store")
	h.Set("Referrer-Policy", "no-referrer") // addresses here hold a state or a code
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Content-Security-Policy", noticePolicy)
	state, begins := strings.CutPrefix(r.URL.Path, flow.BeginPath)
	switch {
	case r.Method != http.MethodGet: // a HEAD too: whoever looks at a link first must not begin in the person's place
		h.Set("Allow", http.MethodGet)
		http.Error(w, "use GET", http.StatusMethodNotAllowed)
	case begins:
		v.begin(w, r, state)
	case r.URL.Path == flow.BackPath:
		v.back(w, r)
	default:
		http.NotFound(w, r)
	}
}

func (v Visits) begin(w http.ResponseWriter, r *http.Request, state string) {
	visit, err := v.Engine.BeginVisit(r.Context(), state)
	if err != nil {
		v.halt(w, r, visit, err)
		return
	}
	c := v.cookie(state)
	c.Value, c.MaxAge = visit.Cookie, int(flow.AuthorizationLife.Seconds())
	http.SetCookie(w, c)
	w.Header().Set("Location", visit.Next)
	w.WriteHeader(http.StatusSeeOther)
}

func (v Visits) back(w http.ResponseWriter, r *http.Request) {
	query := r.URL.Query()
	state := query.Get("state")
	c := v.cookie(state)
	if had, err := r.Cookie(c.Name); err == nil {
		c.Value = had.Value
	}
	var visit flow.Visit
	var err error
	if choice := query.Get("choice"); choice != "" {
		visit, err = v.Engine.Choose(r.Context(), state, c.Value, choice)
	} else {
		visit, err = v.Engine.EndVisit(r.Context(), state, c.Value, query)
	}
	if err != nil {
		v.halt(w, r, visit, err)
		return
	}
	if visit.Choice != nil {
		asks(visit, state).write(w, http.StatusOK)
		return
	}
	c.Value, c.MaxAge = "", -1
	http.SetCookie(w, c)
	if visit.ReturnURL == "" {
		notice{
			Title: visit.App + " is connected", Text: fmt.Sprintf("The connection “%s” works now. You can close this page.", visit.Connection.Name),
		}.write(w, http.StatusOK)
		return
	}
	w.Header().Set("Location", with(visit.ReturnURL, "connection", model.ConnectionID.Of(visit.Connection.ID)))
	w.WriteHeader(http.StatusSeeOther)
}

// asks has a person choose. Each value is a link, since a form's answer could not lead on to another page's origin.
func asks(visit flow.Visit, state string) notice {
	n := notice{Title: "Choose one", Text: fmt.Sprintf("%s lets us in. %s: which one is this connection for?", visit.App, visit.Choice.Label)}
	for _, o := range visit.Choice.Options {
		n.Links = append(n.Links, link{"?" + url.Values{"state": {state}, "choice": {o.Value}}.Encode(), o.Label, o.Detail})
	}
	return n
}

// cookie ties one authorization to one browser. Its name holds nothing of the state, which is a secret.
func (v Visits) cookie(state string) *http.Cookie {
	name := sha256.Sum256([]byte("cookie of " + state))
	root, path := v.Engine.PublicURL, "/oauth/"
	if u, err := url.Parse(root); err == nil { // we may be below a path of that address
		path = u.Path + path
	}
	return &http.Cookie{
		Name: "tieline_" + hex.EncodeToString(name[:8]), Path: path, HttpOnly: true,
		SameSite: http.SameSiteLaxMode, // the way back is a link on another site, which Strict would come without it
		Secure:   strings.HasPrefix(strings.ToLower(root), "https://"),
	}
}

// titles are what a person reads first, by the code of what stood in the way.
var titles = map[string]string{
	flow.CodeExpired: "This link works no more", flow.CodeEnded: "This link works no more", flow.CodeOtherBrowser: "This began in another browser",
	flow.CodeDeclined: "Nothing was connected", flow.CodeOtherAccount: "That is another account", flow.CodeUnavailable: "Try again in a moment",
	flow.CodeTaken: "The name is taken", flow.CodeNotFound: "The connection is gone",
}

var statuses = map[string]int{
	flow.CodeExpired: http.StatusNotFound, flow.CodeEnded: http.StatusGone, flow.CodeOtherBrowser: http.StatusForbidden, flow.CodeNotFound: http.StatusNotFound,
	flow.CodeUnavailable: http.StatusServiceUnavailable, flow.CodeOtherAccount: http.StatusConflict, flow.CodeTaken: http.StatusConflict,
}

// halt says what stood in the way, and leads back to where the person came from.
func (v Visits) halt(w http.ResponseWriter, r *http.Request, visit flow.Visit, err error) {
	p, status, code := notice{Title: "Something went wrong here", Text: "Begin once more; if that does not help, ask whoever runs this and name the request " + requestID(r.Context()) + "."}, http.StatusInternalServerError, "INTERNAL"
	if problems, ok := errors.AsType[flow.Problems](err); ok {
		code = problems[0].Code
		status, p.Title, p.Text = statuses[code], titles[code], problems[0].Message
		if status == 0 {
			status = http.StatusBadRequest
		}
		if p.Title == "" {
			p.Title = visit.App + " was not connected"
		}
	} else {
		v.Log.ErrorContext(r.Context(), "authorization", "err", err, "request", requestID(r.Context()))
	}
	if u, err := url.Parse(visit.ReturnURL); err == nil && visit.ReturnURL != "" {
		p.Back, p.BackName = with(visit.ReturnURL, "authorizationError", code), u.Host
	}
	p.write(w, status)
}

// with adds a value to an address.
func with(address, name, value string) string {
	u, err := url.Parse(address)
	if err != nil {
		return address
	}
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
	return u.String()
}

// notice is a page of ours, without scripts.
type notice struct {
	Title, Text    string
	Links          []link
	Back, BackName string
}

type link struct{ To, Name, Detail string }

func (p notice) write(w http.ResponseWriter, status int) {
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	w.WriteHeader(status)
	_ = noticeText.Execute(w, p) // the browser left: there is nobody to tell
}

const noticeStyle = `body{font:17px/1.5 system-ui,sans-serif;max-width:34rem;margin:18vh auto;padding:0 1.5rem;color:#1d2733;background:#f7f8fa}h1{font-size:1.4rem}a{color:#1f5fbf}@media(prefers-color-scheme:dark){body{color:#e6e9ee;background:#171b21}a{color:#8db8ff}}`

var (
	noticePolicy = "default-src 'none'; style-src 'sha256-" + digest(noticeStyle) + "'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
	noticeText   = template.Must(template.New("notice").Parse(`<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width">` +
		`<title>{{.Title}}</title><style>` + noticeStyle + `</style></head><body><main><h1>{{.Title}}</h1><p>{{.Text}}</p>` +
		`{{range .Links}}<p><a href="{{.To}}">{{.Name}}</a>{{with .Detail}}<br>{{.}}{{end}}</p>{{end}}` +
		`{{if .Back}}<p><a href="{{.Back}}">Back to {{.BackName}}</a></p>{{end}}</main></body></html>`))
)

func digest(text string) string {
	h := sha256.Sum256([]byte(text))
	return base64.StdEncoding.EncodeToString(h[:])
}
