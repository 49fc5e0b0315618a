package db

import (
	"bytes"
	"encoding/json"

	"github.com/uptrace/bun/schema"
)

// Texts is a JSON object of texts. It writes itself into SQL: bun's way of escaping JSON breaks a text that holds a
// backslash before u0000.
type Texts map[string]string

var _ schema.QueryAppender = Texts{}

// AppendQuery implements schema.QueryAppender.
func (t Texts) AppendQuery(gen schema.QueryGen, b []byte) ([]byte, error) {
	return gen.Dialect().AppendString(b, string(t.json())), nil
}

func (t Texts) json() []byte {
	if t == nil {
		t = Texts{}
	}
	raw, _ := json.Marshal(map[string]string(t)) // of texts alone, which always can be
	return WithoutNUL(raw)
}

// WithoutNUL replaces the one character of JSON that Postgres cannot keep, U+0000, by U+FFFD.
func WithoutNUL(raw []byte) []byte {
	const nul, instead = `\u0000`, `\ufffd`
	if !bytes.Contains(raw, []byte(nul)) {
		return raw
	}
	out := make([]byte, 0, len(raw))
	for i := 0; i < len(raw); i++ {
		switch {
		case raw[i] != '\\' || i+1 == len(raw):
			out = append(out, raw[i])
		case len(raw)-i >= len(nul) && string(raw[i:i+len(nul)]) == nul:
			out, i = append(out, instead...), i+len(nul)-1
		default: // an escape of two characters, the second of which may be a backslash
			out, i = append(out, raw[i], raw[i+1]), i+1
		}
	}
	return out
}
