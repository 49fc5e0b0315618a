package flow

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"unicode/utf8"

	"tieline/db"
)

// What the history of a run shows of a payload.
const (
	shownText  = 2 << 10  // characters of one text
	shownList  = 100      // entries of one list
	shownWhole = 64 << 10 // bytes of all of it
	hideAs     = "(secret)"
)

// secretNames are fields that hold secrets, whatever app they are of.
var secretNames = map[string]bool{
	"password": true, "passwd": true, "secret": true, "client_secret": true, "api_key": true, "apikey": true, "access_token": true,
	"refresh_token": true, "authorization": true, "private_key": true, "signing_secret": true, "card_number": true, "cvc": true, "iban": true,
}

func isSecret(name string) bool { return secretNames[name] || secretNames[strings.ToLower(name)] }

// mayHoldSecrets tells whether a payload as storable makes it has a field that holds a secret; also, now and then, where it has none.
func mayHoldSecrets(raw []byte) bool {
	for {
		before, after, found := bytes.Cut(raw, []byte(`":`))
		if !found {
			return false
		}
		if isSecret(string(before[bytes.LastIndexByte(before, '"')+1:])) {
			return true
		}
		raw = after
	}
}

// shown is the copy of a payload that the history keeps: without secrets and the fields that somebody named, long texts and lists
// cut and marked. changed says that it is not the whole.
func shown(raw json.RawMessage, hide func(string) string, redact []string) (out json.RawMessage, changed bool) {
	if len(redact) == 0 && len(raw) <= shownText && !mayHoldSecrets(raw) && hide(string(raw)) == string(raw) {
		return raw, false
	}
	d := json.NewDecoder(bytes.NewReader(raw))
	d.UseNumber()
	var v any
	if d.Decode(&v) != nil { // we rendered it
		return json.RawMessage(`"(not readable)"`), true
	}
	w := &showing{hide: hide, redact: redact}
	v = w.value(v, nil)
	if !w.changed && len(raw) <= shownWhole {
		return raw, false
	}
	out, err := storable(v)
	if err != nil {
		return json.RawMessage(`"(not readable)"`), true
	}
	if len(out) > shownWhole {
		text := string(out[:shownText])
		out, _ = storable(map[string]any{"cut": fmt.Sprintf("%d bytes", len(out)), "beginning": strings.ToValidUTF8(text, "")})
	}
	return out, true
}

// keep gives a step its output: what the history shows of it and, where that is less, all of it for later steps to read.
func (a *Activation) keep(s *db.Step, raw json.RawMessage, hide func(string) string) error {
	out, less := shown(raw, hide, a.redact)
	if s.Output = out; !less || a.item != nil { // of many records nothing is kept
		return nil
	}
	kept := db.StepOutput{OrgID: s.OrgID, ID: db.NewID(), RunID: s.RunID, Step: s.Key}
	box, err := a.e.Keys.Seal(raw, outputAD(kept.OrgID, kept.ID))
	if err != nil {
		return err
	}
	kept.Box, s.Redacted = box, true
	a.outputs = append(a.outputs, kept)
	return nil
}

// readOutputs reads what steps answered with, where the history keeps less of it.
func (a *Activation) readOutputs(ctx context.Context) error {
	if !slices.ContainsFunc(a.steps, func(s db.Step) bool { return s.Redacted && len(s.Output) > 0 }) {
		return nil
	}
	kept, err := db.OutputsOf(ctx, a.e.DB, a.run.OrgID, a.run.ID)
	if err != nil {
		return err
	}
	a.full = map[string]json.RawMessage{}
	for _, o := range kept {
		if a.full[o.Step], err = a.e.Keys.Open(o.Box, outputAD(o.OrgID, o.ID)); err != nil {
			return fmt.Errorf("unsealing the output of step %s: %w", o.Step, err)
		}
	}
	return nil
}

func outputAD(org, id db.ID) []byte { return placeAD("step_outputs", "box", org, id) }

// checkRedact says which names of fields cannot be meant.
func checkRedact(fields []string) (bad Problems) {
	if len(fields) > 100 {
		return problem(CodeInvalid, "Name 100 fields at most.", "redact")
	}
	for i, f := range fields {
		if strings.TrimSpace(f) == "" || len(f) > 200 {
			bad = append(bad, problem(CodeInvalid, "Name a field, such as email, or a path to one, such as address.line1.", "redact", fmt.Sprint(i))...)
		}
	}
	return bad
}

// showing makes a history's copy.
type showing struct {
	hide    func(string) string
	redact  []string
	changed bool
}

func (w *showing) value(v any, at []string) any {
	switch v := v.(type) {
	case string:
		return w.text(v)
	case []any:
		n := len(v)
		if n > shownList {
			v = append(slices.Clip(v[:shownList]), fmt.Sprintf("… (cut, %d entries in all)", n))
			w.changed = true
		}
		for i := range v {
			v[i] = w.value(v[i], at)
		}
		return v
	case map[string]any:
		for name, x := range v {
			path := append(at[:len(at):len(at)], name)
			if w.named(path) && !empty(x) {
				v[name], w.changed = hideAs, true
				continue
			}
			v[name] = w.value(x, path)
		}
	}
	return v
}

// empty values hide nothing and are shown, so that it can be seen that they are.
func empty(v any) bool { return v == nil || v == "" }

// named tells whether a field is one to hide: by its name, or by its path. Positions in lists are no part of a path.
func (w *showing) named(path []string) bool {
	name := path[len(path)-1]
	if isSecret(name) {
		return true
	}
	return slices.Contains(w.redact, name) || slices.Contains(w.redact, strings.Join(path, "."))
}

func (w *showing) text(s string) string {
	out := w.hide(s)
	if n := utf8.RuneCountInString(out); n > shownText {
		out = string([]rune(out)[:shownText]) + fmt.Sprintf("… (cut, %d characters in all)", n)
	}
	w.changed = w.changed || out != s
	return out
}
