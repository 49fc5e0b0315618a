package flow

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"tieline/connectors"
	"tieline/db"
)

const (
	tokenLease = 15 * time.Second       // longer than asking a vendor for a token takes
	tokenLook  = 20 * time.Millisecond  // between looks for what another process was given; doubled each time,
	tokenLooks = 320 * time.Millisecond // up to this
)

// tokens keeps a connection's access token in its row, for all processes.
type tokens struct {
	e       *Engine
	org, id db.ID
}

// Token implements connectors.Tokens. Who has the lease asks, the others look for what it was given. A token is saved before
// it is used, so that a process which dies after that leaves it to the others.
func (t *tokens) Token(ctx context.Context, of, stale string, fetch func(context.Context) (connectors.Token, error)) (connectors.Token, error) {
	for pause := tokenLook; ; pause = min(2*pause, tokenLooks) {
		kept, err := db.GetAccessToken(ctx, t.e.DB, t.org, t.id)
		if token, ok := t.unseal(kept, err); ok && token.Usable(of, stale) {
			return token, nil
		}
		if err != nil && !errors.Is(err, db.ErrNotFound) {
			return connectors.Token{}, fmt.Errorf("reading the access token of connection %s: %w", t.id, err)
		}
		kept, err = db.LeaseAccessToken(ctx, t.e.DB, t.org, t.id, tokenLease)
		if errors.Is(err, db.ErrNotFound) { // another process asks
			if err := sleep(ctx, pause); err != nil {
				return connectors.Token{}, err
			}
			continue
		}
		if err != nil {
			return connectors.Token{}, fmt.Errorf("leasing the access token of connection %s: %w", t.id, err)
		}
		token, ok := t.unseal(kept, nil)
		if ok && token.Usable(of, stale) { // it was saved between the two looks
			return token, t.release(ctx, kept)
		}
		got, saved, err := t.renew(ctx, kept, fetch)
		if err != nil || saved {
			return got, err
		}
	}
}

// renew asks the vendor, and keeps what it gave unless the lease has passed to another meanwhile.
func (t *tokens) renew(ctx context.Context, lease db.AccessToken, fetch func(context.Context) (connectors.Token, error)) (connectors.Token, bool, error) {
	got, err := fetch(ctx)
	if err != nil {
		return got, false, errors.Join(err, t.release(ctx, lease))
	}
	ctx = context.WithoutCancel(ctx) // a caller who has left still leaves the token to the others
	box, err := t.e.sealJSON(got, placeAD("access_tokens", "token", t.org, t.id))
	if err != nil {
		return got, false, err
	}
	saved, err := db.SaveAccessToken(ctx, t.e.DB, t.org, t.id, db.AccessToken{Token: box, Life: got.Life, Fence: lease.Fence})
	if err != nil {
		err = fmt.Errorf("keeping the access token of connection %s: %w", t.id, err)
	}
	return got, saved, err
}

func (t *tokens) release(ctx context.Context, lease db.AccessToken) error {
	return db.ReleaseAccessToken(context.WithoutCancel(ctx), t.e.DB, t.org, t.id, lease.Fence)
}

// unseal reads a token that may still be used. One that no key opens is none: another is asked for.
func (t *tokens) unseal(kept db.AccessToken, err error) (token connectors.Token, ok bool) {
	if err != nil || len(kept.Token) == 0 || kept.Life <= 0 {
		return token, false
	}
	plain, err := t.e.Keys.Open(kept.Token, placeAD("access_tokens", "token", t.org, t.id))
	if err != nil || json.Unmarshal(plain, &token) != nil {
		return token, false
	}
	token.Life = kept.Life
	return token, true
}
