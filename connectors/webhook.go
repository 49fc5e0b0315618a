package connectors

import (
	"context"
	"net/http"
	"net/url"
	"time"
)

// Webhook says how a vendor's calls are believed and how our endpoint gets there.
type Webhook struct {
	// Open checks the signature over the raw bytes and reads the envelope. Any of the secrets may match, as two are valid
	// while one is rotated. It answers ErrBadSignature, NoProof, ErrTooOld, ErrTooNew or
	// ErrMalformed.
	Open func(d Delivery, secrets []string) (Envelope, error)
	// Grant answers a call that brings nothing, but asks for an access token to prove later deliveries with; nil: the vendor
	// makes none. asked is false for any other call. The reply goes out as it is, with an error, too, which refuses the client.
	Grant func(d Delivery, secrets []string) (reply string, asked bool, err error)
	// Register makes sure exactly one endpoint of ours is there, and answers with its id and secret. Its writes are
	// effects of the connection. nil: the vendor has no API for it, and the user is told URL and events.
	Register func(ctx context.Context, c Conn, e Endpoint) (Registration, error)
	// Remove takes all endpoints of the connection away; that none is there is no error.
	Remove func(ctx context.Context, c Conn, e Endpoint) error
	// Unsigned vendors sign nothing: the token in the URL is all there is, and no secret is asked for.
	Unsigned bool
	// SecretPrefix is what the vendor's signing secrets begin with, so that something else is not taken for one.
	SecretPrefix string
	// Help tells a user how to set the endpoint up by hand.
	Help string
}

// Delivery is one call to a webhook, as it came.
type Delivery struct {
	Header     http.Header
	Query      url.Values // of its URL
	Body       []byte
	ReceivedAt time.Time
}

// Envelope is what intake must know of a delivery before anything is decoded.
type Envelope struct {
	Trigger   string // key of the trigger it is for; empty when nothing uses its type
	DedupeKey string // the vendor's event id, else what the connector derives from trigger, record and version
	Type      string // the vendor's own name for it
	Mode      Mode   // empty when the vendor does not say
	At        time.Time
	Ignored   string // why nothing can be done about it, in a sentence, where it is not that nothing uses its type
	Body      string // what is kept in place of the delivery's body, where some of what it says is elsewhere; empty: the body
}

// Endpoint is the webhook we want to have at the vendor.
type Endpoint struct {
	ConnectionID string // put where the vendor keeps notes, so that leftovers are recognised
	// Root is our public address, with which the URLs of our endpoints begin. One that has the connection's id and is
	// elsewhere belongs to a copy of our database, and is left alone.
	Root   string
	URL    string
	Events []string
	// Generation names one attempt to have an endpoint, so that a replayed answer never describes a dead one: it is raised
	// with each new wish (another URL, other events, an endpoint that went missing) and kept when the same is tried again.
	Generation int
	KnownID    string // the endpoint we believe to have, with its secret in our hands
	Beside     string // another that stays for now: its secret is being rotated
}

// Registration is what registering answered. Secret is empty when the endpoint of KnownID was kept. One without ID means
// that this generation's endpoint is gone or its secret is lost: raise Generation and register again.
type Registration struct {
	ID, Secret string
	Gone       bool // the endpoint of KnownID is not there any more, also when registering failed after that
}
