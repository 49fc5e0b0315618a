package model

import (
	"encoding/json"

	"tieline/db"
	"tieline/jobs/flow"
)

// NewMapping shows a mapping.
func NewMapping(m db.Mapping) *Mapping {
	return &Mapping{ID: MappingID.Of(m.ID), Entity: m.Entity, Name: text(m.Name), CreatedAt: m.CreatedAt, UpdatedAt: m.UpdatedAt, Row: m}
}

// NewSlot shows a slot of a mapping.
func NewSlot(s db.Slot) (*MappingSlot, error) {
	of := []string{s.MappingID.String(), s.VendorAccountID.String(), s.Entity, s.Role}
	attributes := s.Attributes
	if attributes == nil {
		attributes = map[string]string{}
	}
	shown, err := json.Marshal(attributes)
	return &MappingSlot{
		ID: part("slt", of...), Entity: s.Entity, Role: s.Role, ExternalID: text(s.ExternalID), Attributes: shown,
		Provenance: &SlotProvenance{ID: part("prv", of...), EnteredBy: text(s.EnteredBy), Row: s}, FilledAt: moment(s.FilledAt), Row: s,
	}, err
}

// NewMappingChange shows what a change of mappings by hand touches.
func NewMappingChange(x flow.Relinked) *MappingChange {
	return &MappingChange{
		Slots: whole(x.Slots), Runs: whole(x.Runs), OpenRuns: whole(x.OpenRuns), Effects: whole(x.Effects), Children: whole(x.Children), Notes: append([]string{}, x.Notes...),
	}
}
