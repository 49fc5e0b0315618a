package flow

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"tieline/connectors"
	"tieline/db"
)

// Conflict is what both sides of a write look like of which nobody can tell what became.
type Conflict struct {
	Effect     db.Effect
	Request    json.RawMessage // what was to be written: method, path and body; nil when that is not kept
	ExternalID string          // the record that was looked at; empty when none is known
	Name       string          // its name
	Record     json.RawMessage // as its app has it now; nil when it is not there, or cannot be read
	Missing    string          // why there is no record, in words
	Holder     db.ID           // the mapping that has the record already
}

// Conflict looks at both sides of a write that waits for a person, the record of the given id on the other. db.ErrNotFound when
// the write waits for nobody.
func (e *Engine) Conflict(ctx context.Context, org, id db.ID, externalID string) (Conflict, error) {
	ef, err := db.GetEffect(ctx, e.DB, org, id)
	if err != nil {
		return Conflict{}, err
	}
	if ef.RunID == (db.ID{}) || ef.State != EffectConflict && ef.State != EffectUnknown {
		return Conflict{}, db.ErrNotFound
	}
	out := Conflict{Effect: ef, ExternalID: cmp.Or(strings.TrimSpace(externalID), ef.ExternalID)}
	if out.Request, err = e.asked(ef); err != nil {
		return out, err
	}
	if out.ExternalID == "" {
		claimed, err := db.SlotsByEffect(ctx, e.DB, org, []db.ID{id})
		if err != nil {
			return out, err
		}
		for _, s := range claimed[id] {
			if s.Entity == ef.Entity {
				out.ExternalID = cmp.Or(out.ExternalID, s.OwnID)
			}
		}
	}
	if out.ExternalID == "" {
		out.Missing = fmt.Sprintf("The app chooses the id, so it is not known which %s it would be. Ask again with the externalId of one you found.", ef.Entity)
		return out, nil
	}
	holder, err := db.SlotByExternalID(ctx, e.DB, org, ef.VendorAccountID, ef.Entity, out.ExternalID)
	if err != nil && !errors.Is(err, db.ErrNotFound) {
		return out, err
	}
	out.Holder = holder.MappingID
	ref, record, err := e.readRecord(ctx, ef, out.ExternalID)
	if bad, ok := errors.AsType[Problems](err); ok {
		out.Missing = bad[0].Message
		return out, nil
	}
	if errors.Is(err, errNoLook) {
		out.Missing = "It cannot be read from here: look at it in the app."
		return out, nil
	}
	if err != nil {
		return out, err
	}
	out.Name = ref.Name
	out.Record, err = storable(record)
	return out, err
}

// asked is what a write was to send, as people read it: a body that is a form comes as an object of its fields.
func (e *Engine) asked(ef db.Effect) (json.RawMessage, error) {
	if len(ef.Request) == 0 {
		return nil, nil
	}
	plain, err := e.Keys.Open(ef.Request, effectAD(ef.OrgID, ef.ID))
	if err != nil {
		return nil, fmt.Errorf("unsealing the stored request: %w", err)
	}
	var r connectors.Request
	if err := json.Unmarshal(plain, &r); err != nil {
		return nil, fmt.Errorf("reading the stored request: %w", err)
	}
	var body any
	if json.Unmarshal(r.Body, &body) != nil {
		body = string(r.Body)
		if form, err := url.ParseQuery(string(r.Body)); err == nil && strings.Contains(r.Header.Get("Content-Type"), "form-urlencoded") {
			fields := map[string]any{}
			for name, values := range form {
				fields[name] = strings.Join(values, ", ")
			}
			body = fields
		}
	}
	return storable(map[string]any{"method": r.Method, "path": r.Path, "body": body})
}
