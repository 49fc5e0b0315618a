package connectors

import "context"

// Intent says what a write is meant to bring about, before it is made. The engine turns it into an effect's identity,
// which hangs on the vendor account and never on the connection.
type Intent struct {
	Kind       EffectKind
	Slots      []Slot // Create: what it fills in the mapping, the record itself first. Set: the record it changes
	Occurrence string // Append: the id of what is recorded
	Name       string // Set: tells two changes of one record in one step apart
}

// EffectKind sorts writes by what a second one would do.
type EffectKind string

// The kinds of effect.
const (
	CreateEffect EffectKind = "CREATE" // a second one would make a duplicate
	SetEffect    EffectKind = "SET"    // a second one changes nothing
	AppendEffect EffectKind = "APPEND" // a second one would count twice; the occurrence's own id tells it apart
)

// Slot is a place in a mapping. ID is ours when we choose it, empty when the vendor does.
type Slot struct{ Entity, Role, ID string }

// Create intends a new record, linked to the mapping of the run's record.
func Create(entity string, role ...string) Intent {
	s := Slot{Entity: entity}
	if len(role) > 0 {
		s.Role = role[0]
	}
	return Intent{Kind: CreateEffect, Slots: []Slot{s}}
}

// As names the id we choose for the new record.
func (i Intent) As(id string) Intent {
	i.Slots[0].ID = id
	return i
}

// And adds a record that the same write makes. id may be empty.
func (i Intent) And(entity, id string) Intent {
	i.Slots = append(i.Slots, Slot{Entity: entity, ID: id})
	return i
}

// Set intends a change that may be made twice. name tells several changes of one record in one step apart.
func Set(entity, id string, name ...string) Intent {
	in := Intent{Kind: SetEffect, Slots: []Slot{{Entity: entity, ID: id}}}
	if len(name) > 0 {
		in.Name = name[0]
	}
	return in
}

// Append intends one more entry (a payment, a credit, a mail) for an occurrence that has an id of its own.
func Append(entity, occurrence string) Intent {
	return Intent{Kind: AppendEffect, Slots: []Slot{{Entity: entity}}, Occurrence: occurrence}
}

// Ref is a record at the vendor, as an effect left it. It is all that is kept of the answer, so an action's output is
// made from it: after a restart the call is not made again.
type Ref struct {
	ID         string            `json:"id"`
	Name       string            `json:"name,omitempty"`
	Attributes map[string]string `json:"attributes,omitempty"` // worth showing: "url", "number"
	With       []Slot            `json:"with,omitempty"`       // what else the same write made
	Adopted    bool              `json:"adopted,omitempty"`    // it was there already, and was not written
}

// Of is the id of another record that the same write made; empty when it made none of that entity and role.
func (r Ref) Of(entity, role string) string {
	for _, w := range r.With {
		if w.Entity == entity && w.Role == role {
			return w.ID
		}
	}
	return ""
}

// Probe looks for what a write with an unknown outcome may have left. key is the idempotency key it was sent with.
// It makes reads only. (Ref, true, nil) proves it happened; (_, false, nil) that nothing is there now. An error of kind
// Conflict says something is there that may or may not be ours, and a person must tell; any other error settles nothing.
type Probe func(ctx context.Context, key string) (Ref, bool, error)

// Send makes exactly one write, under key where the vendor takes one.
type Send func(ctx context.Context, key string) (Ref, error)

// Journal keeps effects. The engine implements it; conntest has one in memory.
type Journal interface {
	// Effect answers what the effect left: at once when it is known already, else after sending.
	Effect(ctx context.Context, in Intent, probe Probe, send Send) (Ref, error)
	// Adopt links a record that was there already instead of making one.
	Adopt(ctx context.Context, in Intent, ref Ref) (Ref, error)
	// Called is told of every call that was made, once its reply is read or lost.
	Called(ctx context.Context, call Call)
	// Pace waits for, or refuses, one call of the vendor account's budget. It is told of the call what is known before it is
	// made. done is called when the call is over, or will not be made.
	Pace(ctx context.Context, call Call) (done func(), err error)
}

// Writer lets one write pass the transport. The journal puts it into the context it hands to Send.
type Writer interface {
	// Sending is handed the rendered request, without its Authorization, and commits it before a byte leaves. What it
	// answers is sent: on a repeat the stored request. An error stops the write, as it does in a preview.
	Sending(ctx context.Context, r Request) (Request, error)
}

type writerKey struct{}

// WithWriter is for journals: it gives Send's context the right to make one write.
func WithWriter(ctx context.Context, w Writer) context.Context {
	return context.WithValue(ctx, writerKey{}, w)
}
