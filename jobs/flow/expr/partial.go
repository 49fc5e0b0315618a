package expr

import (
	"errors"
	"strings"

	"cel.dev/cel-go/cel"
)

// ErrUnknown says that something cannot be told before a run: it reads what only the run will know.
var ErrUnknown = errors.New("only the run knows it")

// UnknownValue stands in a rendered document for what only the run will know.
type UnknownValue struct {
	Expression string // whose value it is
}

// String is how it shows in a text.
func (u UnknownValue) String() string { return "{{ " + u.Expression + " }}" }

// Partial makes the scope's expressions bear what Env.Unknown names: one that reads it is an UnknownValue.
func (s *Scope) Partial() *Scope {
	out := *s
	out.partial = true
	return &out
}

// unknowns are the attributes that Env.Unknown names: steps.account.account_id, or whatever is below steps.account.
func (e Env) unknowns() []*cel.AttributePatternType {
	out := make([]*cel.AttributePatternType, len(e.Unknown))
	for i, path := range e.Unknown {
		name, rest, deeper := strings.Cut(path, ".")
		out[i] = cel.AttributePattern(name)
		for deeper {
			name, rest, deeper = strings.Cut(rest, ".")
			out[i] = out[i].QualString(name)
		}
	}
	return out
}
