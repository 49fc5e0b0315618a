// Package graphiql is the page to try the API at. go generate builds it from pinned packages of the npm registry; a binary
// that was built after that holds it and needs no other server for it. Without, the page's scripts come from a CDN.
package graphiql

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"embed"
	"encoding/hex"
	"io"
	"io/fs"
	"net/http"
	"path"
	"strings"

	"github.com/99designs/gqlgen/graphql/playground"
)

//go:generate npm ci --ignore-scripts --no-audit --no-fund --loglevel=error
//go:generate node build.mjs

//go:embed all:dist
var dist embed.FS

const (
	// Path is where the page is; its files are below.
	Path     = "/graphiql"
	endpoint = "/graphql"
)

// policy lets the page load what this server has, and talk to it, and nothing else. The editor makes style elements.
const policy = "default-src 'none'; script-src 'self'; worker-src 'self'; style-src 'self' 'unsafe-inline'; font-src 'self' data:; " +
	"img-src 'self' data:; connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"

// Handler serves the page and its files.
func Handler() http.Handler {
	built, err := fs.Sub(dist, "dist")
	if err == nil {
		_, err = fs.Stat(built, "index.html.gz")
	}
	if err != nil {
		return guarded("frame-ancestors 'none'", playground.Handler("Tieline", endpoint))
	}
	return guarded(policy, pages{built})
}

// guarded has a page keep to itself.
func guarded(policy string, next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", policy)
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("Referrer-Policy", "no-referrer")
		next.ServeHTTP(w, r)
	})
}

// types are those of the files; what a machine thinks of names is no matter.
var types = map[string]string{
	".html": "text/html; charset=utf-8", ".js": "text/javascript; charset=utf-8", ".css": "text/css; charset=utf-8", ".ttf": "font/ttf",
}

// pages are files that are stored compressed.
type pages struct{ fs.FS }

// ServeHTTP serves one. Names other than the page's hold a hash of what is in them, so those are good for ever.
func (p pages) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	name := strings.TrimPrefix(strings.TrimPrefix(r.URL.Path, Path), "/")
	keep := "public, max-age=31536000, immutable"
	if name == "" {
		name, keep = "index.html", "no-cache"
	}
	raw, err := fs.ReadFile(p, name+".gz")
	if err != nil {
		http.NotFound(w, r)
		return
	}
	sum := sha256.Sum256(raw)
	h := w.Header()
	h.Set("Content-Type", types[path.Ext(name)])
	h.Set("Cache-Control", keep)
	h.Set("ETag", `"`+hex.EncodeToString(sum[:16])+`"`)
	h.Set("Vary", "Accept-Encoding")
	if r.Header.Get("If-None-Match") == h.Get("ETag") {
		w.WriteHeader(http.StatusNotModified)
		return
	}
	if strings.Contains(r.Header.Get("Accept-Encoding"), "gzip") {
		h.Set("Content-Encoding", "gzip")
		_, _ = w.Write(raw)
		return
	}
	if text, err := gzip.NewReader(bytes.NewReader(raw)); err == nil {
		_, _ = io.Copy(w, text) // the caller hung up: there is nobody left to tell
	}
}
