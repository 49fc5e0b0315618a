package graph

import (
	"context"
	"slices"
	"sync"

	"github.com/99designs/gqlgen/graphql"
	"github.com/uptrace/bun"
	"github.com/vektah/gqlparser/v2/ast"
	"github.com/vikstrous/dataloadgen"

	"tieline/db"
	"tieline/graph/model"
)

type (
	loader[V any]        = dataloadgen.Loader[db.ID, V]
	batch[V any]         = func(ctx context.Context, idb bun.IDB, org db.ID, keys []db.ID) (map[db.ID]V, error)
	paging[K comparable] struct {
		parent K
		window db.Window
	}
)

// loaders gather what the fields of one response ask for and read it together. They keep what they read, so they live
// no longer than a response: a message of a subscription, or one mutation of several, sees rows as they are then.
type loaders struct {
	organizations *loader[db.Organization]
	tokens        *loader[db.Token]
	audits        *loader[db.Audit]
	connections   *loader[db.Connection]
	accounts      *loader[db.VendorAccount]
	flows         *loader[db.Flow]
	newest        *loader[*model.Version] // by flow
	versions      *loader[*model.Version]
	numbers       *loader[int] // by version
	links         *loader[db.FlowLink]
	linkSteps     *loader[[]db.FlowLinkStep]
	events        *loader[db.Event]
	outcomes      *loader[[]db.EventOutcome]
	bodies        *dataloadgen.Loader[db.BodyKey, db.Body]
	runs          *loader[db.Run]
	steps         *loader[[]db.Step]
	replays       *loader[db.Replay]
	runAttempts   *loader[[]db.Attempt]
	attempts      *loader[[]db.Attempt] // by effect
	effects       *loader[db.Effect]
	runEffects    *loader[[]db.Effect]
	mappings      *loader[db.Mapping]
	slots         *loader[[]db.Slot]
	effectSlots   *loader[[]db.Slot]

	connectionsOfApp *dataloadgen.Loader[paging[string], []db.Connection]
	versionsOfFlow   *dataloadgen.Loader[paging[db.ID], []db.FlowVersion]
	linksOfFlow      *dataloadgen.Loader[paging[db.ID], []db.FlowLink]
	linksUsing       *dataloadgen.Loader[paging[db.ID], []db.FlowLink] // a connection
	eventsThrough    *dataloadgen.Loader[paging[db.ID], []db.Event]    // a connection
	runsOfLink       *dataloadgen.Loader[paging[db.ID], []db.Run]
	itemsOfRun       map[string]*dataloadgen.Loader[paging[db.ID], []db.RunItem] // by state
}

func (r *Resolvers) newLoaders() *loaders {
	items := map[string]*dataloadgen.Loader[paging[db.ID], []db.RunItem]{"": pagesOf(r, db.ItemsByRun(""))}
	for _, state := range model.AllRunItemState {
		items[string(state)] = pagesOf(r, db.ItemsByRun(string(state)))
	}
	return &loaders{
		organizations: byID(r, db.OrganizationsOf),
		tokens:        byID(r, db.TokensOf),
		audits:        byID(r, db.AuditsOf),
		connections:   byID(r, db.ConnectionsOf),
		accounts:      byID(r, db.VendorAccountsOf),
		flows:         byID(r, db.FlowsOf),
		newest:        byID(r, read(db.NewestVersionsOf)),
		versions:      byID(r, read(db.FlowVersionsOf)),
		numbers:       byID(r, db.VersionNumbersOf),
		links:         byID(r, db.FlowLinksOf),
		linkSteps:     byID(r, db.StepsByLink),
		events:        byID(r, db.EventsOf),
		outcomes:      byID(r, db.OutcomesByEvent),
		bodies:        load(r, withRoom(bodyRoom, db.BodiesOf)),
		runs:          byID(r, db.RunsOf),
		steps:         byID(r, db.StepsByRun),
		replays:       byID(r, db.ReplaysOf),
		runAttempts:   byID(r, db.AttemptsByRun),
		attempts:      byID(r, db.AttemptsByEffect),
		effects:       byID(r, db.EffectsOf),
		runEffects:    byID(r, db.EffectsByRun),
		mappings:      byID(r, db.MappingsOf),
		slots:         byID(r, db.SlotsByMapping),
		effectSlots:   byID(r, db.SlotsByEffect),

		connectionsOfApp: pagesOf(r, db.ConnectionsByApp),
		versionsOfFlow:   pagesOf(r, db.VersionsByFlow),
		linksOfFlow:      pagesOf(r, db.FlowLinksByFlow),
		linksUsing:       pagesOf(r, db.FlowLinksByConnection),
		eventsThrough:    pagesOf(r, db.EventsByConnection),
		runsOfLink:       pagesOf(r, db.RunsByLink),
		itemsOfRun:       items,
	}
}

// read reads the documents of versions.
func read(of batch[db.FlowVersion]) batch[*model.Version] {
	return func(ctx context.Context, idb bun.IDB, org db.ID, keys []db.ID) (map[db.ID]*model.Version, error) {
		rows, err := of(ctx, idb, org, keys)
		out := make(map[db.ID]*model.Version, len(rows))
		for id, row := range rows {
			if out[id], err = model.ReadVersion(row); err != nil {
				return nil, err
			}
		}
		return out, err
	}
}

func byID[V any](r *Resolvers, read batch[V]) *loader[V] { return load(r, read) }

func load[K comparable, V any](r *Resolvers, read func(context.Context, bun.IDB, db.ID, []K) (map[K]V, error)) *dataloadgen.Loader[K, V] {
	return dataloadgen.NewMappedLoader(func(ctx context.Context, keys []K) (map[K]V, error) {
		return read(ctx, r.DB, organization(ctx), keys)
	}, dataloadgen.WithWait(r.wait))
}

const bodyRoom = 8 << 20 // bytes of events' bodies in one response; a page could ask for 100 of 2 MiB each

// withRoom lets the batches of one response share the room there is for bodies.
func withRoom(room int, read func(context.Context, bun.IDB, db.ID, []db.BodyKey, int) (map[db.BodyKey]db.Body, error)) func(context.Context, bun.IDB, db.ID, []db.BodyKey) (map[db.BodyKey]db.Body, error) {
	var mu sync.Mutex
	return func(ctx context.Context, idb bun.IDB, org db.ID, keys []db.BodyKey) (map[db.BodyKey]db.Body, error) {
		mu.Lock()
		defer mu.Unlock()
		bodies, err := read(ctx, idb, org, keys, room)
		for _, b := range bodies {
			room -= len(b.Raw)
		}
		return bodies, err
	}
}

// pagesOf loads pages below many parents: those of one size and place in one statement.
func pagesOf[K comparable, V any](r *Resolvers, read func(context.Context, bun.IDB, db.ID, []K, db.Window) (map[K][]V, error)) *dataloadgen.Loader[paging[K], []V] {
	return dataloadgen.NewMappedLoader(func(ctx context.Context, keys []paging[K]) (map[paging[K]][]V, error) {
		parents := map[db.Window][]K{}
		for _, k := range keys {
			parents[k.window] = append(parents[k.window], k.parent)
		}
		out := make(map[paging[K]][]V, len(keys))
		for w, of := range parents {
			rows, err := read(ctx, r.DB, organization(ctx), of, w)
			if err != nil {
				return nil, err
			}
			for _, parent := range of {
				out[paging[K]{parent, w}] = rows[parent]
			}
		}
		return out, nil
	}, dataloadgen.WithWait(r.wait))
}

// asked tells whether the document asks for something below the field that is being resolved.
func asked(ctx context.Context, path ...string) bool {
	return selects(graphql.GetOperationContext(ctx), graphql.GetFieldContext(ctx).Field.Selections, path)
}

func selects(op *graphql.OperationContext, set ast.SelectionSet, path []string) bool {
	return len(path) == 0 || slices.ContainsFunc(graphql.CollectFields(op, set, nil), func(f graphql.CollectedField) bool {
		return f.Name == path[0] && selects(op, f.Selections, path[1:])
	})
}

type loadersKey struct{}

// load is the loaders of the response that is being made.
func (r *Resolvers) load(ctx context.Context) *loaders {
	return ctx.Value(loadersKey{}).(func() *loaders)()
}

// respond gives each response loaders of its own, once it needs them: most messages of a subscription do not.
func (r *Resolvers) respond(ctx context.Context, next graphql.ResponseHandler) *graphql.Response {
	return next(context.WithValue(ctx, loadersKey{}, sync.OnceValue(r.newLoaders)))
}

// resolveRoot gives each mutation loaders of its own, as the one before may have changed what was read.
func (r *Resolvers) resolveRoot(ctx context.Context, next graphql.RootResolver) graphql.Marshaler {
	if graphql.GetOperationContext(ctx).Operation.Operation == ast.Mutation {
		ctx = context.WithValue(ctx, loadersKey{}, sync.OnceValue(r.newLoaders))
	}
	return next(ctx)
}
