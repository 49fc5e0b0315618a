package zuora

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"mime"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"tieline/connectors"
)

// Zuora's callouts can prove themselves by OAuth2: it fetches an access token by client credentials from a provider that the
// customer names, and sends it along. We are that provider: the token URL is the webhook's own, and nothing is kept of a token,
// as it says itself until when it is good, under the client's secret.

const (
	tokenLife = time.Hour
	askToken  = connectors.NoProof(`Bearer realm="Tieline", error="invalid_token"`)
)

// grant answers a request for an access token, whose client is named in its form or by basic authentication.
// https://www.rfc-editor.org/rfc/rfc6749#section-4.4
func grant(d connectors.Delivery, secrets []string) (reply string, asked bool, err error) {
	kind, _, _ := mime.ParseMediaType(d.Header.Get("Content-Type"))
	form, perr := url.ParseQuery(string(d.Body))
	if kind != "application/x-www-form-urlencoded" || perr != nil || form.Get("grant_type") == "" {
		return "", false, nil
	}
	if form.Get("grant_type") != "client_credentials" {
		return `{"error":"unsupported_grant_type"}`, true, connectors.ErrMalformed
	}
	id, secret := form.Get("client_id"), form.Get("client_secret")
	if user, password, basic := (&http.Request{Header: d.Header}).BasicAuth(); basic {
		id, secret = user, password
	}
	for _, w := range ways(secrets) {
		// By the standard, what is sent by basic authentication is percent-encoded before, which not everybody does.
		if w.kind == "oauth2" && (equal(w.rest, id+":"+secret) || equal(w.rest, decoded(id)+":"+decoded(secret))) {
			raw, err := json.Marshal(map[string]any{"access_token": w.token(d.ReceivedAt.Add(tokenLife)), "token_type": "Bearer", "expires_in": int(tokenLife.Seconds())})
			return string(raw), true, err
		}
	}
	return `{"error":"invalid_client"}`, true, connectors.ErrBadSignature
}

func decoded(text string) string {
	if out, err := url.QueryUnescape(text); err == nil {
		return out
	}
	return text
}

// token is an access token that is good until then.
func (w way) token(until time.Time) string {
	at := strconv.FormatInt(until.Unix(), 10)
	h := hmac.New(sha256.New, []byte(w.key))
	h.Write([]byte("access token of " + w.name + " until " + at))
	return at + "." + base64.RawURLEncoding.EncodeToString(h.Sum(nil))
}

// granted tells whether an Authorization is a token of ours that is good now, or was good once.
func (w way) granted(authorization string, now time.Time) (good, ended bool) {
	given, bearer := strings.CutPrefix(authorization, "Bearer ")
	at, _, _ := strings.Cut(given, ".")
	seconds, err := strconv.ParseInt(at, 10, 64)
	if until := time.Unix(seconds, 0); bearer && err == nil && equal(given, w.token(until)) {
		return now.Before(until), !now.Before(until)
	}
	return false, false
}
