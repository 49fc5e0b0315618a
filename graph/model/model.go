// Package model holds what the schema's types are in Go: what is generated from the schema, and by hand what wraps a
// row or a descriptor.
package model

// InputError is a value of the right type that is still no use; the text is for the caller.
type InputError struct{ Message string }

func (e *InputError) Error() string { return e.Message }
