package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"tieline/connectors"
	"tieline/db"
)

// prove asks the vendor who the credentials are for, and notes on row what may be shown of the answer. What it settles goes into
// the credentials. The tokens may be nil.
func (e *Engine) prove(ctx context.Context, app connectors.Connector, creds connectors.Credentials, row *db.Connection, t connectors.Tokens) (db.VendorAccount, error) {
	none := db.VendorAccount{}
	mode, err := app.Mode(creds)
	if err != nil {
		return none, refusal(app, err, faultyField(app, err)...)
	}
	look, err := e.look(ctx, app, creds, row)
	if err != nil {
		return none, err
	}
	c, err := e.openWith(app, creds, look, t)
	if err != nil {
		return none, refusal(app, err, faultyField(app, err)...)
	}
	who, err := app.Identify(ctx, c)
	if err != nil {
		return none, refusal(app, err, faultyField(app, err)...)
	}
	if who.AccountID == "" && app.Account != "" {
		who.AccountID = strings.TrimSpace(creds[app.Account])
	}
	if who.AccountID == "" {
		return none, problem(CodeRequired, app.Name+" does not tell these credentials which account they are for; fill this field in.", "credentials", app.Account)
	}
	if given := strings.TrimSpace(creds[app.Account]); app.Account != "" && given != "" && given != who.AccountID {
		return none, problem(CodeOtherAccount, fmt.Sprintf("These credentials open %s, not %s.", who.AccountID, given), "credentials", app.Account)
	}
	maps.Copy(creds, who.Keep)
	row.State, row.StateReason, row.Hints = ConnActive, "", hints(app, creds)
	if row.Permissions, err = json.Marshal(slices.Concat([]connectors.Permission{}, who.Permissions)); err != nil {
		return none, err
	}
	return db.VendorAccount{App: app.Key, ExternalID: who.AccountID, Mode: string(mode), Name: who.Name}, nil
}

// faultyField is where a form is at fault whose credentials do not work: where the error says, else its secret.
func faultyField(app connectors.Connector, err error) []string {
	said := ""
	if e, ok := errors.AsType[*connectors.Error](err); ok {
		said = e.Field
	}
	at := []string{"credentials"}
	for _, f := range app.Auth {
		if f.Key == said && !f.Told {
			return []string{"credentials", f.Key}
		}
		if f.Secret && len(at) == 1 {
			at = append(at, f.Key)
		}
	}
	return at
}

// refusal puts a vendor's refusal of credentials into words, for the input's field at fault.
func refusal(app connectors.Connector, err error, field ...string) error {
	said := strings.TrimPrefix(err.Error(), app.Name+": ")
	switch connectors.KindOf(err) {
	case connectors.Unauthorized:
		return problem(CodeUnauthorized, fmt.Sprintf("%s refuses these credentials: %s", app.Name, said), field...)
	case connectors.Forbidden:
		return problem(CodeForbidden, fmt.Sprintf("%s lets these credentials in, but not do what is needed: %s", app.Name, said), field...)
	case connectors.Invalid, connectors.NotFound:
		return problem(CodeInvalid, err.Error(), field...)
	case connectors.Unavailable, connectors.RateLimited, connectors.Busy, connectors.OutcomeUnknown:
		return problem(CodeUnavailable, fmt.Sprintf("%s cannot be reached now, so nothing was changed: %s. Try again.", app.Name, said))
	}
	return err
}

// fill puts a form's values over the old ones and says all that is wrong with them.
func fill(app connectors.Connector, old connectors.Credentials, given map[string]string) (connectors.Credentials, Problems) {
	creds, bad := connectors.Credentials{}, Problems{}
	known := map[string]connectors.Field{}
	for _, f := range app.Auth {
		if f.Told {
			if old[f.Key] != "" {
				creds[f.Key] = old[f.Key]
			}
			continue
		}
		known[f.Key] = f
		v, is := given[f.Key]
		if !is {
			v = old[f.Key]
		}
		v = strings.TrimSpace(v)
		switch {
		case v == "" && !f.Optional:
			bad = append(bad, Problem{Field: []string{"credentials", f.Key}, Code: CodeRequired, Message: f.Label + " is needed. " + f.Help})
		case v != "" && len(f.Choices) > 0 && !slices.ContainsFunc(f.Choices, func(c connectors.Choice) bool { return c.Value == v }):
			bad = append(bad, Problem{Field: []string{"credentials", f.Key}, Code: CodeInvalid, Message: f.Label + " must be one of the form's choices."})
		case strings.ContainsFunc(v, unicode.IsControl):
			bad = append(bad, Problem{Field: []string{"credentials", f.Key}, Code: CodeInvalid, Message: f.Label + " holds a line break or another character that cannot be part of it. Copy it again."})
		case v != "":
			creds[f.Key] = v
		}
	}
	for _, k := range slices.Sorted(maps.Keys(given)) {
		if _, ok := known[k]; !ok {
			bad = append(bad, Problem{Field: []string{"credentials", k}, Code: CodeUnknownField,
				Message: fmt.Sprintf("%s has no field %q. It has %s.", app.Name, k, strings.Join(slices.Sorted(maps.Keys(known)), ", "))})
		}
	}
	return creds, bad
}

func named(row *db.Connection, name *string, needed bool) Problems {
	if name == nil && !needed {
		return nil
	}
	if name != nil {
		row.Name = strings.TrimSpace(*name)
	}
	if name == nil {
		return checkName("")
	}
	return checkName(row.Name)
}

func checkName(name string) Problems {
	if n := utf8.RuneCountInString(name); n == 0 || n > 100 {
		return problem(CodeInvalid, "A name of 1 to 100 characters is needed.", "name")
	}
	return nil
}

// hints are what may be shown of a form: secrets as their first and last characters.
func hints(app connectors.Connector, creds connectors.Credentials) map[string]string {
	out := map[string]string{}
	for _, f := range app.Auth {
		v := creds[f.Key]
		if f.Secret && v != "" {
			v = hint(v)
		}
		if v != "" {
			out[f.Key] = v
		}
	}
	return out
}

// hint shows enough of a secret to recognise it: a prefix like sk_test_ and the last four characters of a long one.
func hint(v string) string {
	if len(v) < 16 {
		return "…"
	}
	prefix := ""
	if i := strings.LastIndex(v[:12], "_"); i > 0 {
		prefix = v[:i+1]
	}
	return prefix + "…" + v[len(v)-4:]
}

// readOnly is the journal of a look at the vendor: it lets no write pass.
type readOnly struct{}

func (readOnly) Effect(context.Context, connectors.Intent, connectors.Probe, connectors.Send) (connectors.Ref, error) {
	return connectors.Ref{}, connectors.ErrWriteOutsideEffect
}
func (readOnly) Adopt(context.Context, connectors.Intent, connectors.Ref) (connectors.Ref, error) {
	return connectors.Ref{}, connectors.ErrWriteOutsideEffect
}
func (readOnly) Called(context.Context, connectors.Call) {}
