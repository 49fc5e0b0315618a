package zuorasim

import (
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Provider is an OAuth 2.0 provider that callouts get their access tokens from, by client credentials.
type Provider struct {
	URL, ClientID, ClientSecret string
	InHeader                    bool // the client's credentials go into the header, not into the form
}

// bearer is an access token of a provider, an earlier one while it holds; empty when it gives none.
func (s *Sim) bearer(p Provider) string {
	type held struct {
		token string
		until time.Time
	}
	if h, ok := s.bearers.Load(p); ok && time.Now().Before(h.(held).until) {
		return h.(held).token
	}
	form := url.Values{"grant_type": {"client_credentials"}}
	if !p.InHeader {
		form.Set("client_id", p.ClientID)
		form.Set("client_secret", p.ClientSecret)
	}
	r, err := http.NewRequest(http.MethodPost, p.URL, strings.NewReader(form.Encode()))
	if err != nil {
		return ""
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if p.InHeader {
		r.SetBasicAuth(p.ClientID, p.ClientSecret)
	}
	res, err := http.DefaultClient.Do(r)
	if err != nil {
		return ""
	}
	defer res.Body.Close()
	var out struct {
		AccessToken string  `json:"access_token"`
		TokenType   string  `json:"token_type"`
		ExpiresIn   float64 `json:"expires_in"`
	}
	if json.NewDecoder(res.Body).Decode(&out) != nil || res.StatusCode != http.StatusOK || !strings.EqualFold(out.TokenType, "bearer") {
		return ""
	}
	s.bearers.Store(p, held{out.AccessToken, time.Now().Add(time.Duration(out.ExpiresIn * float64(time.Second)))})
	return out.AccessToken
}
