package flow

import (
	"context"

	"tieline/connectors"
	"tieline/db"
)

// Door takes in what was found by reading, as it takes in what vendors send: stored once, then dispatched. It answers
// how many of the items were new. What comes from the baseline is stored as known and not dispatched.
type Door interface {
	Take(ctx context.Context, conn db.Connection, source string, items []connectors.Item) (fresh int, err error)
}
