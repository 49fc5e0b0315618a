package graph

import (
	"tieline/db"
	"tieline/db/seal"
)

const feedList = "feed"

// place is where an organization's positions are veiled: they count what happens in all organizations, which is nobody's
// business.
func place(org db.ID) []byte { return seal.AD(feedList, string(org[:])) }

// cursor is a position of the feed as an organization's clients see it: every change up to it is known to who holds it.
func (f *Feed) cursor(org db.ID, pos int64) string {
	return veiledCursor(f.keys.Veil(uint64(pos), place(org)))
}

func veiledCursor(v seal.Veiled) string { return cursor(feedList, string(v[:])) }

// readCursor reads what cursor wrote, and nothing else. One of a key that is gone is as one of changes that are.
func (f *Feed) readCursor(org db.ID, c string) (int64, error) {
	key, err := readCursor(feedList, &c)
	if err != nil {
		return 0, err
	}
	var v seal.Veiled
	if len(key) != len(v) {
		return 0, failf(BadUserInput, "%.40q is not a cursor of the feed", c)
	}
	copy(v[:], key)
	pos, ok := f.keys.Unveil(v, place(org))
	if !ok || veiledCursor(v) != c {
		return 0, expired()
	}
	return int64(pos), nil
}
