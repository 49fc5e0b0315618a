package graph

import (
	"context"
	"slices"
	"strings"

	"github.com/99designs/gqlgen/graphql"
	"github.com/99designs/gqlgen/graphql/errcode"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vektah/gqlparser/v2/gqlerror"
)

// texts is an extension that refuses what no text of ours can hold, U+0000 and bytes that are not UTF-8, before anything
// is done with it.
type texts struct{}

var _ graphql.OperationParameterMutator = texts{}

func (texts) ExtensionName() string                   { return "Texts" }
func (texts) Validate(graphql.ExecutableSchema) error { return nil }

// MutateOperationParameters implements graphql.OperationParameterMutator; it changes nothing.
func (texts) MutateOperationParameters(_ context.Context, p *graphql.RawParams) *gqlerror.Error {
	if !whole(p.Query) || strings.Contains(p.Query, `\u0000`) || strings.Contains(p.Query, `\u{0}`) {
		return unfit("the document", nil)
	}
	if at, bad := unfitIn(p.Variables, nil); bad {
		slices.Reverse(at)
		return unfit("variable "+strings.Join(at, "."), at)
	}
	return nil
}

func whole(s string) bool { return !strings.Contains(s, "\x00") && strings.ToValidUTF8(s, "") == s }

// unfitIn finds the first text that cannot be kept, and its path, last step first.
func unfitIn(v any, at []string) ([]string, bool) {
	switch v := v.(type) {
	case string:
		return at, !whole(v)
	case []any:
		for _, x := range v {
			if at, bad := unfitIn(x, at); bad {
				return at, true
			}
		}
	case map[string]any:
		for name, x := range v {
			if inner, bad := unfitIn(x, at); bad || !whole(name) {
				return append(inner, strings.ToValidUTF8(strings.ReplaceAll(name, "\x00", ""), "")), true
			}
		}
	}
	return at, false
}

func unfit(what string, at []string) *gqlerror.Error {
	err := gqlerror.Errorf("%s holds a character that no text can: U+0000, or bytes that are not UTF-8; leave it out", what)
	for _, name := range at {
		err.Path = append(err.Path, ast.PathName(name))
	}
	errcode.Set(err, string(BadUserInput))
	return err
}
