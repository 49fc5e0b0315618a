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

// tokens keeps a connection's access token in its row, for all processes, and with it what the next one is asked for with.
type tokens struct {
	e       *Engine
	org, id db.ID
}

// Token implements connectors.Tokens. Who has the lease asks, the others look for what it was given. A token is saved before
// it is used, so that a process which dies after that leaves it to the others.
func (t *tokens) Token(ctx context.Context, of, stale string, fetch func(context.Context, connectors.Token) (connectors.Token, error)) (connectors.Token, error) {
	for pause := tokenLook; ; pause = min(2*pause, tokenLooks) {
		kept, err := db.GetAccessToken(ctx, t.e.DB, t.org, t.id)
		if token, oerr := t.unseal(kept.Token); err == nil && oerr == nil && token.Usable(of, stale) {
			token.Life = kept.Life
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
		had, oerr := t.unseal(kept.Token)
		if kept.Life > 0 && had.Usable(of, stale) { // it was saved between the two looks
			had.Life = kept.Life
			_, err := t.release(ctx, kept)
			return had, err
		}
		got, saved, err := t.renew(ctx, kept, had, fetch)
		if err != nil && oerr != nil { // which says nothing of the credentials
			return got, fmt.Errorf("unsealing the access token of connection %s: %w", t.id, oerr)
		}
		if saved || err != nil {
			return got, err
		}
	}
}

// renew asks the vendor in the place of what is kept, and keeps what it gave. It answers neither a token nor an error when
// another has come first, with a token of its own: then what the vendor says of the old one counts no more.
func (t *tokens) renew(ctx context.Context, lease db.AccessToken, had connectors.Token, fetch func(context.Context, connectors.Token) (connectors.Token, error)) (connectors.Token, bool, error) {
	got, err := fetch(ctx, had)
	if err != nil {
		same, rerr := t.release(ctx, lease)
		if rerr == nil && !same && connectors.KindOf(err) == connectors.Unauthorized {
			return got, false, nil
		}
		return got, false, errors.Join(err, rerr)
	}
	ctx = context.WithoutCancel(ctx) // a caller who has left still leaves the token to the others
	box, err := t.seal(got)
	if err != nil {
		return got, false, err
	}
	saved, err := db.SaveAccessToken(ctx, t.e.DB, t.org, t.id, db.AccessToken{Token: box, Life: got.Life, Fence: lease.Fence}, lease.Token)
	if err != nil {
		err = fmt.Errorf("keeping the access token of connection %s: %w", t.id, err)
	}
	return got, saved, err
}

// give keeps a token that a person's consent brought, and answers the one that was there.
func (t *tokens) give(ctx context.Context, tx db.Tx, given connectors.Token) (had connectors.Token, err error) {
	box, err := t.seal(given)
	if err != nil {
		return had, err
	}
	old, err := db.GiveAccessToken(ctx, tx, t.org, t.id, db.AccessToken{Token: box, Life: given.Life})
	had, _ = t.unseal(old)
	return had, err
}

func (t *tokens) release(ctx context.Context, lease db.AccessToken) (same bool, err error) {
	return db.ReleaseAccessToken(context.WithoutCancel(ctx), t.e.DB, t.org, t.id, lease.Fence, lease.Token)
}

func (t *tokens) seal(token connectors.Token) ([]byte, error) {
	return t.e.sealJSON(token, placeAD("access_tokens", "token", t.org, t.id))
}

// unseal reads what is kept; the zero value where that is nothing.
func (t *tokens) unseal(box []byte) (token connectors.Token, err error) {
	if len(box) == 0 {
		return token, nil
	}
	plain, err := t.e.Keys.Open(box, placeAD("access_tokens", "token", t.org, t.id))
	if err == nil {
		err = json.Unmarshal(plain, &token)
	}
	return token, err
}
