package connectors

import (
	"context"

	"tieline/connectors/schema"
)

// Walk goes through what an action lists, stretch by stretch, however much that is: for steps that are done for each of
// its records.
type Walk struct {
	// Item is the schema of the values of its entries; nil: it is not known.
	Item *schema.Schema
	// Page lists a stretch of the list that in asks for; in was validated against the action's Input. An empty cursor asks
	// for the first. What comes to be while the walk goes on may be left out; what was there must not.
	Page func(ctx context.Context, c Conn, in []byte, cursor string) (Stretch, error)
	// Read reads one record again, as Page would list it now. One that has gone is an error of kind NotFound.
	Read func(ctx context.Context, c Conn, id string) (Entry, error)
}

// Stretch is a part of a list.
type Stretch struct {
	Entries []Entry
	Cursor  string // where the next stretch begins
	More    bool   // there is one
}

// Entry is a record of a list.
type Entry struct {
	Record Subject
	Parent string // id of the record it hangs below: a Togai account's customer; empty when there is none
	Email  string // by which people would know it again; empty when it has none
	Value  any    // what expressions see as item; becomes JSON
}

// WalkedAs is Walked for entries whose values are of one type.
func WalkedAs[In, Value any](page func(ctx context.Context, c Conn, in In, cursor string) (Stretch, error), read func(ctx context.Context, c Conn, id string) (Entry, error)) func(*Action) {
	return func(a *Action) {
		Walked(page, read)(a)
		a.Walk.Item = schema.Of[Value]()
	}
}

// Walked lets an action be walked through. in is the action's input.
func Walked[In any](page func(ctx context.Context, c Conn, in In, cursor string) (Stretch, error), read func(ctx context.Context, c Conn, id string) (Entry, error)) func(*Action) {
	return func(a *Action) {
		a.Walk = &Walk{Read: read, Page: func(ctx context.Context, c Conn, raw []byte, cursor string) (Stretch, error) {
			in, err := input[In](raw)
			if err != nil {
				return Stretch{}, err
			}
			return page(ctx, c, in, cursor)
		}}
	}
}
