package model

import "tieline/db"

// NewAudit shows an entry of the audit log.
func NewAudit(a db.Audit) *AuditEntry {
	return &AuditEntry{
		ID: AuditID.Of(a.ID), At: a.At, Actor: a.Actor, Field: a.Field, ObjectID: text(a.ObjectID), Input: a.Input,
		Outcome: AuditOutcome(a.Outcome), RequestID: a.RequestID, Row: a,
	}
}
