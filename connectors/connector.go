// Package connectors says what a connector is: a descriptor value, its triggers and actions, the errors it
// answers with, and the one transport through which it may speak to its vendor.
//
// A connector is plain functions. It holds no state, touches no database and never retries: the engine does,
// through the Journal it implements.
package connectors

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"tieline/connectors/schema"
)

// Connector describes one app: what it needs to connect, what starts a flow in it and what a flow can do in it.
// Keys are stored in users' rows: renaming one is a migration.
type Connector struct {
	Key         string // lower case, stored: "stripe"
	Name        string // as users see it: "Stripe"
	Description string // one sentence
	Category    string // "billing", "payments", "accounting", "built-in"
	DocsURL     string

	Auth []Field // the form a connection is made with, in order

	// BaseURL is the root of the vendor's API for these credentials. A setting (TIELINE_STRIPE_URL) replaces it. nil: there
	// is no vendor and nothing to call, so that Authorize, Timeout and Rate are not needed either.
	BaseURL func(Credentials) string
	// Mode is read from the credentials alone, before any call is made.
	Mode func(Credentials) (Mode, error)
	// Authorize puts the credentials on a request. It is the only place that sees a secret on its way out.
	Authorize func(ctx context.Context, r Requester, c Credentials) error
	// Login gets the access token that Authorize needs, where the vendor takes one instead of the credentials themselves.
	Login *Login
	// Identify proves the credentials and says what they open. It makes reads only. An empty AccountID means the
	// vendor would not say, and the form's account field is asked for.
	Identify func(ctx context.Context, c Conn) (Identity, error)
	// Account is the key of the field in which a user names the vendor account where Identify cannot read it.
	Account string

	Webhook  *Webhook // nil when the vendor calls nobody
	Triggers []Trigger
	Actions  []Action
	Records  []Record // the kinds of record this app keeps that we map

	// Timeout bounds one call, its reply read to the end. An effect's send_until is derived from it.
	Timeout time.Duration
	// Settle is how long after a write its vendor may still not show it to a read.
	Settle time.Duration
	// ReplaysKeys is how long the vendor answers a repeated idempotency key with the first answer. Zero: it does not,
	// and only a probe can settle what became of a write.
	ReplaysKeys time.Duration
	// Rate is what one vendor account allows, over all its keys.
	Rate func(Mode) Rate
	// Ease reads off an answer how long the account's next call had better wait, as what it allows is nearly used up, also by
	// others than us; nil: the vendor does not tell.
	Ease func(http.Header) time.Duration
	// LogURL is where a person sees a call in the vendor's own log, by the vendor's id of it; nil: there is no such page.
	LogURL func(mode Mode, requestID string) string
	// IsRead names calls that read although their method does not say so. GET and HEAD always do.
	IsRead func(method, path string) bool
}

// Record is one kind of record an app keeps and we map.
type Record struct {
	Entity string // "customer"
	Name   string // "Customer"
	// URL is where a user sees the record in the app; empty when there is no such page.
	URL func(mode Mode, id string) string
	// Look reads one as it is now, for a person who must tell whether it is the one that was meant, and says what a write
	// that had made it would have left. A missing one is an error of kind NotFound. nil: it cannot be read by its id.
	Look func(ctx context.Context, c Conn, id string) (Ref, any, error)
}

// Rate is the budget of calls of one vendor account.
type Rate struct {
	PerSecond float64
	Burst     int // calls that may be made at once after a pause
	Parallel  int // calls that may be in the air at once; 0: the vendor names no such limit

	Bulk         float64 // the share of PerSecond that bulk work may use; 0: DefaultBulk
	BulkParallel int     // bulk calls that may be in the air at once; 0: no limit but Parallel

	// Part names the limit that a call falls under beside the account's, or apart from it; nil: there are none.
	Part func(method, path string) (Part, bool)
}

// DefaultBulk is the share of a budget that bulk work may use: the rest is room for what people wait for.
const DefaultBulk = 0.6

// Part is a limit for some of an account's calls, such as those of one endpoint.
type Part struct {
	Name      string // unique within the app
	PerSecond float64
	Burst     int
	Apart     bool // its calls do not count among the account's
}

// Mode tells a vendor's real data from its play data. The two never meet in one flow link.
type Mode string

// The modes.
const (
	Live Mode = "live"
	Test Mode = "test"
)

// Field is one input of the form a connection is made with.
type Field struct {
	Key         string
	Label       string
	Help        string // what it is and where to find it
	Placeholder string
	Secret      bool
	Optional    bool
	Told        bool     // nobody fills it in: the vendor tells it when somebody lets us in, see Consent
	Choices     []Choice // a drop-down when not empty
	Options     Offer    // what a connection that is there offers for it; nil: nothing
}

// Choice is one value of a drop-down.
type Choice struct{ Value, Label string }

// Identity is what a set of credentials opens.
type Identity struct {
	AccountID   string // the account's id at the vendor; two keys of one account give the same
	Name        string // as the vendor shows it
	Mode        Mode
	Permissions []Permission
	Keep        map[string]string // fields of the form that it settled, such as the only organization there is; kept as if filled in
}

// Permission is one right a trigger, an action or the webhook needs at the vendor.
type Permission struct {
	Key     string   // the vendor's own name: "customers:write"
	Label   string   // "Customers, write"
	State   Grant    // as far as reads can tell
	NeedFor []string // keys of triggers and actions, or "webhook"
	Help    string   // how to grant it
}

// Grant says what we know of a permission.
type Grant string

// What is known of a permission. Rights to write cannot be tried without writing and stay UNKNOWN until used.
const (
	Granted Grant = "GRANTED"
	Missing Grant = "MISSING"
	Unknown Grant = "UNKNOWN"
)

// Trigger is what an app can start a flow with. It hears of it by webhook (Decode) and finds what was missed by
// reading (List); both go through the same door and the same Decode.
type Trigger struct {
	Key         string // "customer.created", stored
	Name        string
	Description string
	Entity      string   // the kind of record it is about
	Events      []string // the vendor's event types the webhook must subscribe to
	Output      *schema.Schema
	Sample      json.RawMessage

	// Decode turns a stored body, exactly as received or listed, into what happened. It is pure.
	Decode func(body []byte) (Occurrence, error)
	// Manual makes an occurrence of a payload that a person gave ("Trigger now"). It is pure.
	Manual func(payload []byte) (Occurrence, error)
	// List reads what happened since cursor, newest or oldest first as the vendor gives it. An empty cursor asks for
	// the baseline: what is there already and so is not news, and where to go on from.
	List func(ctx context.Context, c Conn, cursor string) (Page, error)
	// Read fetches the record again, for when the body is thin, old, or rendered by another API version; nil when the
	// body always says enough. It is called before a run's first step.
	Read func(ctx context.Context, c Conn, o Occurrence) (Occurrence, error)
	// Explain says why the event needs no action after all ("made by checkout session cs_1"), empty when it does. A flow
	// that sets a hold asks after the hold has passed.
	Explain func(ctx context.Context, c Conn, o Occurrence) (string, error)
	// Occasion says that it is about no record but about a moment: the engine names it, runs of a flow link come one after
	// another, and it is mapped only where a flow makes something for it.
	Occasion bool
	// Tick makes the payload for a time of a flow link's schedule, which Decode reads; nil for triggers that have none.
	Tick func(at time.Time, cron, zone string) any
	// Reach is how far back List shows what happened. Zero: it shows whatever is there, however old, so that events of this
	// trigger are kept for ever to tell old records from new ones.
	Reach time.Duration
	// Every is how often List is asked while no webhook was ever seen or there is no endpoint, Calm how often afterwards.
	Every, Calm time.Duration
}

// Page is a stretch of what List found.
type Page struct {
	Items  []Item
	Cursor string // where the next call goes on
	More   bool   // ask again at once
	// Stop tells the poller that a page without anything new ends the walk: the vendor lists what changed last first.
	// The next walk then begins with the cursor that this one began with.
	Stop bool
}

// Item is one occurrence found by reading: what a webhook would have brought.
type Item struct {
	Envelope
	Body []byte
}

// Occurrence is what happened, decoded.
type Occurrence struct {
	Payload any // the trigger's output; becomes JSON
	Record  Subject
	Parent  *Subject // the record it hangs below: a Togai account's customer
	// Together says that the parent is made with its first child, as a Togai customer is with an account: the two share a
	// mapping.
	Together bool
	// BusinessKey names the change itself, so that one change told twice under two event ids runs once: the record for
	// what happens once, record and version for updates.
	BusinessKey string
	At          time.Time // the vendor's time
	Mode        Mode      // of the data, where a payload given by hand tells
	Cause       Cause
	Thin        bool // the body does not say enough: Read must be called
	// Vague says that the body leaves open which record it is about, or whose doing it was: Read must be called before anything
	// is made of it, and tells.
	Vague bool
}

// Subject names one record at the vendor.
type Subject struct{ Entity, ID, Name string }

// Cause is what the vendor tells about who made the change. The engine resolves it to an effect; alone it proves nothing.
type Cause struct {
	IdempotencyKey string // of the call that caused it
	Mark           string // the idempotency key that a write of ours left in the record
	Unmarked       bool   // there is no mark, and whatever we make in this app has one
	Creation       bool   // it reports the record's creation
}

// Action is what a flow can do in an app.
type Action struct {
	Key         string // "customer.create", stored
	Name        string
	Description string
	Help        string
	Entity      string   // the kind of record it writes or reads
	Makes       []string // other kinds of record that it makes with it: an account with a customer
	Reads       bool     // it never writes
	Input       *schema.Schema
	Output      *schema.Schema
	Sample      json.RawMessage // a valid input
	// Options offers values for fields of the input that name a record, by their paths: "line_items.price_id".
	Options map[string]Offer

	// Added lists the fields that the vendor's users have added to the record, which the property AddedFields of the input
	// takes by name; nil where they add none. It makes reads only.
	Added func(ctx context.Context, c Conn) ([]AddedField, error)

	// Run does it. in is JSON that was validated against Input; the answer is marshalled to JSON.
	Run func(ctx context.Context, c Conn, in []byte) (any, error)
	// Walk goes through all that it lists; nil for an action that lists nothing.
	Walk *Walk
}

// Offer lists the values that a field may have, a page at a call, for a person to choose from. search is what they typed,
// empty for all; after is empty or the After of the page before. It makes reads only. A page may be empty and not the last.
type Offer func(ctx context.Context, c Conn, search, after string) (OptionPage, error)

// OptionPage is a stretch of what is offered.
type OptionPage struct {
	Options []Option
	After   string // where the next call goes on; empty at the end
}

// Option is one value of a field that names a record.
type Option struct {
	Value  string // what goes into the field
	Label  string // what the record is called
	Detail string // what tells it from others of its name; may be empty
}

// Matches says whether a text that somebody typed is in what is shown of the option, in upper or lower case.
func (o Option) Matches(search string) bool {
	shown := strings.ToLower(o.Value + "\n" + o.Label + "\n" + o.Detail)
	return strings.Contains(shown, strings.ToLower(strings.TrimSpace(search)))
}

// AddedFields is the property of an input in which the fields go that a vendor's users have added.
const AddedFields = "custom_fields"

// AddedField is a field that a vendor's users have added to a kind of record.
type AddedField struct {
	Name   string   // its name in AddedFields
	Label  string   // what people see
	Needed bool     // the vendor takes no record without it
	Values []string // those that it may have; empty: any text
}

// Do describes an action; its schemas come from the types of fn. sample must be a valid input.
func Do[In, Out any](key, name string, fn func(context.Context, Conn, In) (Out, error), sample In, opts ...func(*Action)) Action {
	a := Action{
		Key: key, Name: name, Input: schema.Of[In](), Output: schema.Of[Out](), Sample: mustJSON(sample),
		Run: func(ctx context.Context, c Conn, raw []byte) (any, error) {
			in, err := input[In](raw)
			if err != nil {
				return nil, err
			}
			return fn(ctx, c, in)
		},
	}
	for _, o := range opts {
		o(&a)
	}
	return a
}

func input[In any](raw []byte) (in In, err error) {
	if err := json.Unmarshal(raw, &in); err != nil {
		return in, &Error{Kind: Invalid, Err: err}
	}
	return in, nil
}

// On describes a trigger whose payload is of type Out. sample must be a valid payload.
func On[Out any](key, name string, decode func([]byte) (Occurrence, error), list func(context.Context, Conn, string) (Page, error), sample Out, opts ...func(*Trigger)) Trigger {
	t := Trigger{Key: key, Name: name, Output: schema.Of[Out](), Sample: mustJSON(sample), Decode: decode, List: list}
	for _, o := range opts {
		o(&t)
	}
	return t
}

// ByHand lets a trigger be started by hand. of says which record a payload is about; the payload itself is filled in.
func ByHand[Out any](of func(Out) Occurrence) func(*Trigger) {
	return func(t *Trigger) {
		t.Manual = func(raw []byte) (Occurrence, error) {
			var payload Out
			if err := json.Unmarshal(raw, &payload); err != nil {
				return Occurrence{}, &Error{Kind: Invalid, Err: err}
			}
			o := of(payload)
			o.Payload = payload
			return o, nil
		}
	}
}

func mustJSON(v any) json.RawMessage {
	b, err := json.Marshal(v)
	if err != nil {
		panic(err) // a sample is a literal in a descriptor
	}
	return b
}
