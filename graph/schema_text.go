package graph

import (
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"strings"
	"sync"
	"time"
)

// ServeSchema answers with the schema as a text. Whoever has it already hears that it is the same.
func ServeSchema(w http.ResponseWriter, r *http.Request) {
	text := schemaText()
	h := w.Header()
	h.Set("Content-Type", "text/plain; charset=utf-8")
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("Cache-Control", "no-cache") // it is kept, and asked about
	h.Set("ETag", text.tag)
	http.ServeContent(w, r, "", time.Time{}, strings.NewReader(text.sdl))
}

var schemaText = sync.OnceValue(func() (out struct{ sdl, tag string }) {
	out.sdl = SDL()
	sum := sha256.Sum256([]byte(out.sdl))
	out.tag = `"` + hex.EncodeToString(sum[:16]) + `"`
	return out
})
