package flow

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"

	"tieline/db"
	"tieline/db/seal"
)

const (
	sampled     = 5   // boxes of each key that CheckKeys tries, as one may be broken
	rotateBatch = 200 // boxes read at once
	rotatePass  = 20  // how often RotateKeys begins anew when boxes keep coming under another key
)

// placeAD binds a box to its place, so that boxes cannot be swapped between rows.
func placeAD(table, column string, org, id db.ID) []byte {
	return seal.AD(table, org.String(), id.String(), column)
}

func boxAD(b db.Box) []byte {
	p := db.Places[b.Place]
	return placeAD(p.Table, p.Column, b.OrgID, b.ID)
}

// CheckKeys makes sure that Keys open what is stored, by a few boxes of each key that sealed any.
func (e *Engine) CheckKeys(ctx context.Context) error {
	boxes, err := db.SampleBoxes(ctx, e.DB, sampled)
	if err != nil {
		return fmt.Errorf("looking whether the keys open what is stored: %w", err)
	}
	verdicts := map[string]string{}
	for _, b := range boxes {
		id := seal.KeyID(b.Box)
		if said, tried := verdicts[id]; tried && said == "" {
			continue
		}
		_, err := e.Keys.Open(b.Box, boxAD(b))
		switch {
		case err == nil:
			verdicts[id] = ""
		case errors.Is(err, seal.ErrUnknownKey):
			verdicts[id] = fmt.Sprintf("the key %s has sealed credentials that are in use, and is missing", id)
		default:
			verdicts[id] = fmt.Sprintf("the key %s is another one than that which sealed credentials under this id", id)
		}
	}
	var bad []string
	for _, id := range slices.Sorted(maps.Keys(verdicts)) {
		if verdicts[id] != "" {
			bad = append(bad, verdicts[id])
		}
	}
	if len(bad) > 0 {
		return errors.New(strings.Join(bad, "; "))
	}
	return nil
}

// Rotation is how far RotateKeys has come.
type Rotation struct {
	Sealed  int // boxes sealed again
	Changed int // boxes that somebody else changed meanwhile, which are looked at again
	Broken  int // boxes that none of the keys opens
}

// RotateKeys seals everything again under the first key. It may run beside any number of processes that have that key,
// is told where it stopped by the boxes themselves, and calls tell after each batch.
func (e *Engine) RotateKeys(ctx context.Context, tell func(Rotation)) (r Rotation, err error) {
	for range rotatePass {
		before := r
		r.Broken = 0
		for place := range db.Places {
			if err := e.rotate(ctx, place, &r, tell); err != nil {
				return r, err
			}
		}
		if r.Sealed == before.Sealed && r.Changed == before.Changed { // nothing was left to do
			return r, nil
		}
	}
	return r, errors.New("boxes keep coming under another key: give every process the new first key, then run this again")
}

// rotate goes through a place once.
func (e *Engine) rotate(ctx context.Context, place int, r *Rotation, tell func(Rotation)) error {
	var last db.Box
	for {
		boxes, err := db.BoxesAfter(ctx, e.DB, place, e.Keys.First(), last.OrgID, last.ID, rotateBatch)
		if err != nil || len(boxes) == 0 {
			return err
		}
		for _, b := range boxes {
			// Each in a transaction of its own: what others hold several of at once could else wait for us, and we for them.
			plain, err := e.Keys.Open(b.Box, boxAD(b))
			if err != nil {
				r.Broken++
				e.Log.WarnContext(ctx, "a box does not open", "table", db.Places[place].Table, "column", db.Places[place].Column, "id", b.ID, "error", err)
				continue
			}
			box, err := e.Keys.Seal(plain, boxAD(b))
			if err != nil {
				return err
			}
			same, err := db.ReplaceBox(ctx, e.DB, b, box)
			if err != nil {
				return err
			}
			if same {
				r.Sealed++
			} else {
				r.Changed++
			}
		}
		tell(*r)
		last = boxes[len(boxes)-1]
	}
}
