package expr

import (
	"strings"
	"unicode/utf8"
)

// part is a stretch of a template string: text as it stands, or the source of
// an expression and the byte it starts at.
type part struct {
	text   string
	at     int
	isExpr bool
}

// split cuts a template string into parts. `\{{` stands for "{{", `\\{{` for a
// backslash before an expression. bad is the offset of braces never closed, else -1.
func split(s string) (parts []part, bad int) {
	var plain strings.Builder
	flush := func() {
		if plain.Len() > 0 {
			parts = append(parts, part{text: plain.String()})
			plain.Reset()
		}
	}
	for i := 0; i < len(s); {
		switch rest := s[i:]; {
		case strings.HasPrefix(rest, `\\{{`):
			plain.WriteByte('\\')
			i += 2
		case strings.HasPrefix(rest, `\{{`):
			plain.WriteString("{{")
			i += 3
		case strings.HasPrefix(rest, "{{"):
			size := expressionSize(rest[2:])
			if size < 0 {
				return nil, i
			}
			flush()
			parts = append(parts, part{text: rest[2 : 2+size], at: i + 2, isExpr: true})
			i += size + 4
		default:
			plain.WriteByte(s[i])
			i++
		}
	}
	flush()
	if len(parts) == 0 {
		parts = []part{{}}
	}
	return parts, -1
}

// expressionSize is the length of the CEL before its closing "}}", or -1. It
// knows as much of CEL as can hide a brace: maps, strings, comments.
func expressionSize(s string) int {
	depth := 0
	for i := 0; i < len(s); {
		switch c := s[i]; {
		case c == '"' || c == '\'':
			size := stringSize(s[i:], isRaw(s[:i]))
			if size < 0 {
				return -1
			}
			i += size
			continue
		case strings.HasPrefix(s[i:], "//"):
			end := strings.IndexByte(s[i:], '\n')
			if end < 0 {
				return -1
			}
			i += end
		case c == '{':
			depth++
		case c == '}' && depth > 0:
			depth--
		case strings.HasPrefix(s[i:], "}}"):
			return i
		}
		i++
	}
	return -1
}

// isRaw tells from what stands before a quote whether it opens a raw string:
// r, R, or those with b before or after, not the end of a longer name.
func isRaw(before string) bool {
	start := len(before)
	for start > 0 && isNamePart(before[start-1]) {
		start--
	}
	switch strings.ToLower(before[start:]) {
	case "r", "br", "rb":
		return true
	}
	return false
}

func isNamePart(c byte) bool {
	return c == '_' || '0' <= c && c <= '9' || 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
}

// stringSize is the length of the string literal s starts with, or -1.
func stringSize(s string, raw bool) int {
	quote := s[:1]
	if triple := strings.Repeat(quote, 3); strings.HasPrefix(s, triple) {
		quote = triple
	}
	for i := len(quote); i < len(s); i++ {
		switch {
		case s[i] == '\\' && !raw:
			i++
		case strings.HasPrefix(s[i:], quote):
			return i + len(quote)
		}
	}
	return -1
}

// position turns a place in an expression (line from 1, column from 0, in code
// points, as CEL counts) into one in the string s that holds it from byte at on.
func position(s string, at, line, column int) (int, int) {
	head := s[:at]
	if line == 1 {
		column += utf8.RuneCountInString(head[strings.LastIndexByte(head, '\n')+1:])
	}
	return line + strings.Count(head, "\n"), column + 1
}
