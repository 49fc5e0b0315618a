package oauth

import (
	"context"
	"io"
	"net/http"
	"net/url"
	"strings"
)

// Revoke gives a refresh token back, and with it what came of it (RFC 7009). One that is dead already is no error.
func (c Client) Revoke(ctx context.Context, refresh string) error {
	if c.RevokeURL == "" || refresh == "" {
		return nil
	}
	form := url.Values{"token": {refresh}, "token_type_hint": {"refresh_token"}}
	if !c.Header {
		form.Set("client_id", c.ID)
		form.Set("client_secret", c.Secret)
	}
	r, err := http.NewRequestWithContext(ctx, http.MethodPost, c.RevokeURL, strings.NewReader(form.Encode()))
	if err != nil {
		return &Error{Reason: Away}
	}
	r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
	if c.Header {
		r.SetBasicAuth(url.QueryEscape(c.ID), url.QueryEscape(c.Secret))
	}
	res, err := c.client().Do(r)
	if err != nil {
		return &Error{Reason: Lost} // without the cause, which names the address alone, but may say more one day
	}
	defer res.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(res.Body, 1<<16))
	if res.StatusCode >= 500 || res.StatusCode == http.StatusTooManyRequests {
		return &Error{Reason: Away, Status: res.StatusCode}
	}
	return nil
}
