package graph

import (
	"net/http"
	"net/url"
	"slices"
	"strings"

	"github.com/rs/cors"
)

// origins are the web pages, beside our own, whose scripts may call: scheme://host[:port] each.
type origins []string

// allow reports whether a request comes from no page, from our own, or from one that is allowed.
func (o origins) allow(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && (strings.EqualFold(u.Host, r.Host) || slices.Contains(o, strings.ToLower(origin)))
}

// wrap answers preflights and tells browsers which pages may read the answers.
func (o origins) wrap(next http.Handler) http.Handler {
	return cors.New(cors.Options{
		AllowOriginVaryRequestFunc: func(r *http.Request, _ string) (bool, []string) { return o.allow(r), nil },
		AllowedMethods:             []string{http.MethodGet, http.MethodPost},
		AllowedHeaders:             []string{"Authorization", "Content-Type", "Accept", "X-Request-Id"},
		ExposedHeaders:             []string{"X-Request-Id"},
		MaxAge:                     600, // seconds
	}).Handler(next)
}
