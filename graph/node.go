package graph

import (
	"context"
	"strings"
	"sync"

	"tieline/graph/auth"
	"tieline/graph/model"
)

func (r queryResolver) Node(ctx context.Context, id string) (model.Node, error) {
	kind := model.KindOf(id)
	of := kind.Find(id)
	switch kind {
	case model.AppID:
		return node(r.apps.Find(strings.TrimPrefix(id, string(kind)+"_")), nil)
	case model.TokenID, model.AuditID:
		v, _ := auth.FromContext(ctx)
		switch {
		case !v.May(auth.Admin): // READ sees everything else
		case kind == model.TokenID:
			return node(r.token(ctx, of))
		default:
			return node(one(ctx, r.load(ctx).audits, of, sure(model.NewAudit)))
		}
	case model.ConnectionID:
		return node(r.liveConnection(ctx, of))
	case model.VendorAccountID:
		return node(r.vendorAccount(ctx, of))
	case model.FlowID:
		return node(r.flow(ctx, of))
	case model.FlowLinkID:
		return node(r.liveFlowLink(ctx, of))
	case model.EventID:
		return node(r.event(ctx, of))
	case model.RunID:
		return node(r.run(ctx, of))
	case model.ReplayID:
		return node(r.replay(ctx, of))
	case model.EffectID:
		return node(r.effect(ctx, of))
	case model.MappingID:
		return node(r.mapping(ctx, of))
	}
	return nil, nil
}

// Nodes asks for all at once, so that those of a kind are read together.
func (r queryResolver) Nodes(ctx context.Context, ids []string) ([]model.Node, error) {
	if len(ids) > maxPage {
		return nil, failf(BadUserInput, "at most %d ids at a time, not %d", maxPage, len(ids))
	}
	out, errs := make([]model.Node, len(ids)), make([]error, len(ids))
	var all sync.WaitGroup
	for i, id := range ids {
		all.Go(func() {
			defer func() {
				if p := recover(); p != nil { // gqlgen guards its own goroutines, not these
					errs[i] = recovered(ctx, p)
				}
			}()
			out[i], errs[i] = r.Node(ctx, id)
		})
	}
	all.Wait()
	for _, err := range errs {
		if err != nil {
			return nil, err
		}
	}
	return out, nil
}

// node is an object as a Node: one that is not there is null, and no nil pointer in an interface.
func node[M any](m *M, err error) (model.Node, error) {
	if m == nil || err != nil {
		return nil, err
	}
	return m, nil
}
