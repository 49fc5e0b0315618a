package model

import (
	"strings"
	"time"

	"github.com/google/uuid"

	"tieline/db"
)

// parts is the namespace of ids that are derived and not stored.
var parts = uuid.MustParse("0d7b4e51-6a0e-5a6f-9a39-6d2c7f0a51c3")

// part is the id of something that is a part of something else and has no id of its own: always the same for the same.
func part(kind string, of ...string) string {
	return db.FormatID(kind, uuid.NewSHA1(parts, []byte(kind+"\x00"+strings.Join(of, "\x00"))))
}

// text is null for an empty text.
func text(s string) *string { return value(s) }

// value is null for a zero value.
func value[T comparable](v T) *T {
	if v == *new(T) {
		return nil
	}
	return &v
}

// moment is null for a zero time.
func moment(t time.Time) *time.Time {
	if t.IsZero() {
		return nil
	}
	return &t
}

// named turns a stored text into the schema's enum.
func named[T ~string](s string) *T {
	if s == "" {
		return nil
	}
	v := T(s)
	return &v
}
