package model

import (
	"strings"

	"github.com/google/uuid"

	"tieline/db"
)

// Kind is a type of object that can be fetched by its id. It is the id's prefix, which clients have stored.
type Kind string

// The kinds.
const (
	OrganizationID  Kind = "org"
	TokenID         Kind = "tok"
	AuditID         Kind = "aud"
	AppID           Kind = "app" // followed by the app's key
	ConnectionID    Kind = "con"
	VendorAccountID Kind = "acc"
	FlowID          Kind = "flow"
	FlowVersionID   Kind = "ver"
	FlowLinkID      Kind = "link"
	EventID         Kind = "evt"
	RunID           Kind = "run"
	ReplayID        Kind = "rpl"
	AttemptID       Kind = "att"
	EffectID        Kind = "eff"
	MappingID       Kind = "map"
)

// Of writes an id of this kind.
func (k Kind) Of(id db.ID) string { return db.FormatID(string(k), id) }

// Parse reads an id of this kind. One that is malformed names nothing, as one that does not exist: ErrNotFound.
func (k Kind) Parse(id string) (db.ID, error) {
	out, err := db.ParseID(string(k), id)
	if err != nil {
		return out, db.ErrNotFound
	}
	return out, nil
}

// KindOf is the kind that an id claims to be of.
func KindOf(id string) Kind {
	prefix, _, _ := strings.Cut(id, "_")
	return Kind(prefix)
}

// Find reads an id to look for. One that is malformed names nothing: it is as zero as no row's is.
func (k Kind) Find(id string) db.ID {
	out, _ := k.Parse(id)
	return out
}

// Narrow reads an id that narrows a list. Without one nothing is narrowed, and one that is malformed leaves nothing.
func (k Kind) Narrow(id *string) db.ID {
	if id == nil {
		return db.ID{}
	}
	out, err := k.Parse(*id)
	if err != nil || out == (db.ID{}) {
		return uuid.Max
	}
	return out
}
