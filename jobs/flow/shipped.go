package flow

import (
	"context"
	"crypto/sha256"
	"embed"
	"encoding/json"
	"fmt"
	"io/fs"
	"slices"
	"sync"

	"tieline/db"
)

//go:embed shipped/*.json
var shipped embed.FS

// shippedFlow is a flow that comes with this build. That it fits the apps is a test's to say, not that of every start.
type shippedFlow struct {
	Definition
	raw  json.RawMessage
	hash [sha256.Size]byte
}

var shippedFlows = sync.OnceValues(func() (flows []shippedFlow, err error) {
	names, err := fs.Glob(shipped, "shipped/*.json")
	if err != nil {
		return nil, err
	}
	slices.Sort(names)
	for _, name := range names {
		raw, err := shipped.ReadFile(name)
		if err != nil {
			return nil, err
		}
		f := shippedFlow{raw: raw, hash: sha256.Sum256(raw)}
		if err := json.Unmarshal(raw, &f.Definition); err != nil {
			return nil, fmt.Errorf("shipped flow %s: %w", name, err)
		}
		flows = append(flows, f)
	}
	return flows, nil
})

// Ship gives an organization the flows that come with this build, each a stored document like any other. A document
// that changed becomes the flow's newest version; runs under way keep theirs.
func (e *Engine) Ship(ctx context.Context, org db.ID) error {
	flows, err := shippedFlows()
	if err != nil {
		return err
	}
	return e.DB.InTx(ctx, func(ctx context.Context, tx db.Tx) error {
		for _, f := range flows {
			row := db.Flow{OrgID: org, Key: f.Key, Kind: "SHIPPED", Direction: f.direction(), Name: f.Name, Description: f.Description}
			if err := db.ShipFlow(ctx, tx, row, f.raw, f.hash[:]); err != nil {
				return fmt.Errorf("shipping %s: %w", f.Key, err)
			}
		}
		return nil
	})
}
