package graph

import (
	"mime"
	"net/http"
	"strconv"
	"strings"
)

const (
	plainJSON    = "application/json"
	responseJSON = "application/graphql-response+json"
	eventStream  = "text/event-stream"
)

// wish is what a client can read by its Accept header.
type wish struct {
	media  string // the JSON that an answer is written as; empty: none
	events bool   // text/event-stream, by that name
}

// negotiate reads the Accept header. Without one it is application/json, which is what clients from before the
// specification expect; of two liked equally it is the one made for GraphQL.
func negotiate(r *http.Request) wish {
	accept := strings.Join(r.Header.Values("Accept"), ",")
	if strings.TrimSpace(accept) == "" {
		return wish{media: plainJSON}
	}
	var out wish
	liked := 0.0
	for part := range strings.SplitSeq(accept, ",") {
		media, q := acceptable(part)
		switch {
		case media == eventStream:
			out.events = q > 0
		case q > liked || (q == liked && q > 0 && media == responseJSON):
			out.media, liked = media, q
		}
	}
	return out
}

// acceptable reads one range of an Accept header: what we would answer it with, and how much it is liked.
func acceptable(part string) (string, float64) {
	media, params, err := mime.ParseMediaType(part)
	if err != nil || !isUTF8(params["charset"]) {
		return "", 0
	}
	q := 1.0
	if text, ok := params["q"]; ok {
		if q, err = strconv.ParseFloat(text, 64); err != nil {
			return "", 0
		}
	}
	switch media {
	case responseJSON, plainJSON, eventStream:
		return media, q
	case "*/*", "application/*":
		return plainJSON, q
	}
	return "", 0
}

func isUTF8(charset string) bool {
	return charset == "" || strings.EqualFold(charset, "utf-8") || strings.EqualFold(charset, "utf8")
}

// isJSON reports whether a request says its body is JSON that we can read.
func isJSON(r *http.Request) bool {
	media, params, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	encoding := r.Header.Get("Content-Encoding")
	return err == nil && media == plainJSON && isUTF8(params["charset"]) && (encoding == "" || encoding == "identity")
}

// statusOf is the one place that decides a refused request's status: what the graphql-http audits want, not the
// draft of August 2026. A document that cannot be run is 400 in the new media type and 200 in the old one, where
// clients take anything else for a failure of the network.
func statusOf(media string, code Code) int {
	switch code {
	case MethodNotAllowed:
		return http.StatusMethodNotAllowed
	case NotAcceptable:
		return http.StatusNotAcceptable
	case UnsupportedMedia:
		return http.StatusUnsupportedMediaType
	case Timeout:
		return http.StatusRequestTimeout
	case PayloadTooLarge:
		return http.StatusRequestEntityTooLarge
	case Unauthenticated:
		return http.StatusUnauthorized
	case Unavailable:
		return http.StatusServiceUnavailable
	case BadRequest:
		return http.StatusBadRequest
	case Internal:
		return http.StatusInternalServerError
	}
	if media == plainJSON {
		return http.StatusOK
	}
	return http.StatusBadRequest
}
