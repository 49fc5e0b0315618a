package db

import (
	"errors"
	"strings"

	"github.com/google/uuid"
)

// ID is a UUIDv7: sorts by the time it was made, to the millisecond and within one process beyond.
type ID = uuid.UUID

// ErrBadID is a text that is no id of the wanted kind.
var ErrBadID = errors.New("malformed id")

// NewID makes an ID later than every one this process made before.
func NewID() ID { return uuid.Must(uuid.NewV7()) }

// Crockford's alphabet in lower case: no i, l, o, u, and ASCII order is value order, so text sorts as the ids do.
const (
	alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
	idChars  = 26 // of 5 bits: 128 and two leading zeros
)

// FormatID writes id as people and clients see it: "run" gives run_01h455vb4pex5vsknk084sn02q.
func FormatID(prefix string, id uuid.UUID) string {
	var out [idChars]byte
	bits, n, at := uint(0), 0, idChars
	for i := len(id) - 1; i >= 0; i-- {
		bits |= uint(id[i]) << n
		for n += 8; n >= 5; n -= 5 {
			at--
			out[at] = alphabet[bits&31]
			bits >>= 5
		}
	}
	out[0] = alphabet[bits]
	return prefix + "_" + string(out[:])
}

// ParseID reads what FormatID wrote, and nothing else: one text per id. Any fault is ErrBadID.
func ParseID(prefix, s string) (uuid.UUID, error) {
	var id uuid.UUID
	text, ok := strings.CutPrefix(s, prefix+"_")
	if !ok || len(text) != idChars || text[0] > '7' { // above 7 is more than 128 bits
		return uuid.Nil, ErrBadID
	}
	bits, n, at := uint(0), 0, len(id)
	for i := idChars - 1; i >= 0; i-- {
		v := strings.IndexByte(alphabet, text[i])
		if v < 0 {
			return uuid.Nil, ErrBadID
		}
		bits |= uint(v) << n
		for n += 5; n >= 8 && at > 0; n -= 8 {
			at--
			id[at] = byte(bits)
			bits >>= 8
		}
	}
	return id, nil
}
