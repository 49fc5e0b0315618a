package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"slices"
	"strings"

	"tieline/connectors"
	"tieline/db"
)

// unknownMark begins what stands in a preview for a text that only the run will know. Calls that would carry it to a vendor
// are not made.
const unknownMark = "tl_unknown_"

var (
	errPreview = errors.New("this is a preview: nothing is written")
	errNoCall  = errors.New("this is a preview: the call would name what is not there yet")
)

// previewJournal shows what effects there would be. It writes nothing down, and lets nothing be sent.
type previewJournal struct {
	view    *viewing
	inner   *journal
	out     *PreviewStep
	conn    *connectors.Conn
	unknown bool // a call would have named what is not there yet
}

// open makes a connection ready whose writes go nowhere.
func (v *viewing) open(s *db.Step, row db.Connection, out *PreviewStep) (connectors.Conn, *previewJournal, error) {
	app, ok := v.e.Apps.App(row.App)
	if !ok {
		return connectors.Conn{}, nil, fmt.Errorf("no connector for app %q", row.App)
	}
	if row.State == ConnNeedsReauth {
		return connectors.Conn{}, nil, fmt.Errorf("the credentials of the connection %q do not work; repair it first", row.Name)
	}
	creds, err := v.e.credentials(row)
	if err != nil {
		return connectors.Conn{}, nil, err
	}
	pace := v.e.pacer(app, *row.VendorAccount)
	pace.within = personWaits
	j := &previewJournal{view: v, inner: &journal{e: v.e, a: v.a, step: s, conn: row, app: app, pace: pace, mapping: v.a.run.MappingID}, out: out}
	base := v.e.Base
	if base == nil {
		base = http.DefaultTransport
	}
	c, err := connectors.Open(app, creds, connectors.Options{
		URL: v.e.URLs[app.Key], Journal: j, Tokens: &tokens{v.e, row.OrgID, row.ID}, Base: readsOnly{base, j}, Log: v.e.Log, Observe: v.e.Observe,
	})
	j.conn = &c
	return c, j, err
}

// readsOnly is the wire of a preview: no write passes, whatever came before it.
type readsOnly struct {
	base http.RoundTripper
	j    *previewJournal
}

// RoundTrip implements http.RoundTripper.
func (t readsOnly) RoundTrip(r *http.Request) (*http.Response, error) {
	if connectors.Writes(r.Context()) {
		return nil, errPreview
	}
	if path, err := url.QueryUnescape(r.URL.RequestURI()); err != nil || strings.Contains(path, unknownMark) {
		t.j.unknown = true
		return nil, errNoCall
	}
	return t.base.RoundTrip(r)
}

// Pace implements connectors.Journal: reads take their turn like any other.
func (j *previewJournal) Pace(ctx context.Context, c connectors.Call) (func(), error) {
	if c.Write { // it will not be made
		return func() {}, nil
	}
	return j.inner.pace.pass(ctx, c, func() error { return nil })
}

// Called implements connectors.Journal.
func (j *previewJournal) Called(_ context.Context, c connectors.Call) {
	if !j.unknown {
		j.out.Reads = append(j.out.Reads, c)
	}
}

// Adopt implements connectors.Journal.
func (j *previewJournal) Adopt(ctx context.Context, in connectors.Intent, ref connectors.Ref) (connectors.Ref, error) {
	if have, err := j.there(ctx, in); err != nil || have.Adopted {
		return have, err
	}
	ref.Adopted = true
	j.note(in, ref.ID, "It is there already, and would be linked.")
	return ref, nil
}

// Effect implements connectors.Journal: it answers what is known of the effect, or shows what would be sent.
func (j *previewJournal) Effect(ctx context.Context, in connectors.Intent, _ connectors.Probe, send connectors.Send) (connectors.Ref, error) {
	if ref, err := j.there(ctx, in); err != nil || ref.Adopted {
		return ref, err
	}
	w := &previewWriter{}
	ref, err := send(connectors.WithWriter(ctx, w), "tl_preview")
	if w.request == nil {
		if err == nil && ref.Adopted {
			j.note(in, ref.ID, "It is there already.")
		}
		return ref, err
	}
	w.request.Body = []byte(j.readable(string(w.request.Body), w.request.Header.Get("Content-Type")))
	w.request.Path = j.readable(w.request.Path, "")
	w.request.Header.Del("Idempotency-Key") // it is another one in a run
	f := PreviewEffect{Kind: string(in.Kind), Entity: in.Slots[0].Entity, Sends: true, ExternalID: in.Slots[0].ID, Request: w.request}
	j.out.Effects = append(j.out.Effects, f)
	return j.made(in), nil
}

// readable hides secrets, and shows what stands for what is not known yet, in the way of the text's kind.
func (j *previewJournal) readable(text, kind string) string {
	marks := slices.Clone(j.view.marks)
	for i := 1; i < len(marks); i += 2 {
		switch {
		case strings.Contains(kind, "form"):
			marks[i] = url.QueryEscape(marks[i])
		case strings.Contains(kind, "json"):
			quoted, _ := json.Marshal(marks[i]) // texts always encode
			marks[i] = string(quoted[1 : len(quoted)-1])
		}
	}
	return strings.NewReplacer(marks...).Replace(j.conn.Hide(text))
}

// there answers the record that an effect has left before, or that is in the slot.
func (j *previewJournal) there(ctx context.Context, in connectors.Intent) (connectors.Ref, error) {
	it := j.view.a.item
	if it != nil && in.Kind == connectors.CreateEffect && it.matches(j.inner.conn.VendorAccountID, in.Slots[0].Entity) {
		j.note(in, it.match.ref.ID, "It is there already, and would be linked.")
		return it.match.ref, nil
	}
	if j.inner.mapping == (db.ID{}) && in.Kind == connectors.CreateEffect {
		return connectors.Ref{}, nil
	}
	if in.Kind != connectors.SetEffect {
		ef, err := db.LiveEffect(ctx, j.inner.e.DB, j.inner.conn.OrgID, j.inner.conn.VendorAccountID, j.inner.key(in))
		switch {
		case errors.Is(err, db.ErrNotFound):
		case err != nil:
			return connectors.Ref{}, err
		case ef.State == EffectConfirmed:
			ref, err := refOf(&ef)
			ref.Adopted = true
			j.note(in, ref.ID, "A run has made it before, so it is not made again.")
			return ref, err
		default:
			return connectors.Ref{}, &errWait{why: fmt.Sprintf("Another run is at it: its effect is %s.", ef.State)}
		}
	}
	if in.Kind != connectors.CreateEffect {
		return connectors.Ref{}, nil
	}
	ref, err := j.inner.filled(ctx, in)
	if ref.Adopted {
		j.note(in, ref.ID, "The record is linked to it already.")
	}
	return ref, err
}

func (j *previewJournal) note(in connectors.Intent, id, why string) {
	j.out.Effects = append(j.out.Effects, PreviewEffect{Kind: string(in.Kind), Entity: in.Slots[0].Entity, ExternalID: id, Reason: why})
}

// made is what the write would leave, as far as it is known: the ids that we choose.
func (j *previewJournal) made(in connectors.Intent) connectors.Ref {
	id := func(s connectors.Slot) string {
		if s.ID != "" {
			return s.ID
		}
		return j.later(s.Entity, s.Role)
	}
	ref := connectors.Ref{ID: id(in.Slots[0])}
	for _, s := range in.Slots[1:] {
		ref.With = append(ref.With, connectors.Slot{Entity: s.Entity, Role: s.Role, ID: id(s)})
	}
	return ref
}

// later stands for the id of a record that only the run will know.
func (j *previewJournal) later(entity, role string) string {
	mark := unknownMark + strings.Trim(j.out.Key+"_"+entity+"_"+role, "_") + "_"
	j.view.marks = append(j.view.marks, mark, fmt.Sprintf("{{ the %s of step %s }}", entity, j.out.Key))
	return mark
}

// previewWriter takes the rendered request, and stops it.
type previewWriter struct{ request *connectors.Request }

// Sending implements connectors.Writer.
func (w *previewWriter) Sending(_ context.Context, r connectors.Request) (connectors.Request, error) {
	if w.request == nil {
		w.request = &r
	}
	return r, errPreview
}
