package flow

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"

	"tieline/db"
)

//go:embed shipped/*.json
var shipped embed.FS

// Ship gives an organization the flows that come with this build, each a stored document like any other. A document
// that changed becomes the flow's newest version; runs under way keep theirs.
func (e *Engine) Ship(ctx context.Context, org db.ID) error {
	names, err := fs.Glob(shipped, "shipped/*.json")
	if err != nil {
		return err
	}
	slices.Sort(names)
	return e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		for _, name := range names {
			raw, err := shipped.ReadFile(name)
			if err != nil {
				return err
			}
			p, issues := prepare(raw, e.Apps)
			if err := issues.err(); err != nil {
				return fmt.Errorf("shipped flow %s: %w", name, err)
			}
			hash := sha256.Sum256(raw)
			f := db.Flow{OrgID: org, Key: p.Key, Kind: "SHIPPED", Direction: p.direction(), Name: p.Name, Description: p.Description}
			if err := db.ShipFlow(ctx, tx, f, json.RawMessage(raw), hash[:]); err != nil {
				return fmt.Errorf("shipping %s: %w", name, err)
			}
		}
		return nil
	})
}
