package graph

import (
	"context"
	"errors"
	"time"

	"github.com/vikstrous/dataloadgen"

	"tieline/db"
	"tieline/graph/auth"
	"tieline/graph/generated"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

// Resolvers answer the schema's fields, each in a call or two: rows come from loaders and pages of db, what happens is
// the engine's.
type Resolvers struct {
	*Door
	engine *flow.Engine
	intake flow.Door
	feed   *Feed
	apps   *model.Apps
	wait   time.Duration // how long a loader waits for more keys
}

// gather is how long a loader waits for more keys. Resolvers of one level start together, so little is enough.
const gather = 2 * time.Millisecond

// NewResolvers makes the resolvers over an engine; what enabling a link reads goes in by door.
func NewResolvers(d *db.DB, e *flow.Engine, door flow.Door, feed *Feed) *Resolvers {
	back := e.PublicURL
	if back != "" {
		back += flow.BackPath
	}
	return &Resolvers{Door: NewDoor(d), engine: e, intake: door, feed: feed, apps: model.NewApps(e.Apps, back), wait: gather}
}

// The resolvers by type, as the generated code asks for them.
type (
	appResolver         struct{ *Resolvers }
	attemptResolver     struct{ *Resolvers }
	attentionResolver   struct{ *Resolvers }
	auditResolver       struct{ *Resolvers }
	connectionResolver  struct{ *Resolvers }
	effectResolver      struct{ *Resolvers }
	eventResolver       struct{ *Resolvers }
	outcomeResolver     struct{ *Resolvers }
	explanationResolver struct{ *Resolvers }
	flowResolver        struct{ *Resolvers }
	draftResolver       struct{ *Resolvers }
	versionResolver     struct{ *Resolvers }
	linkResolver        struct{ *Resolvers }
	linkStepResolver    struct{ *Resolvers }
	mappingResolver     struct{ *Resolvers }
	slotResolver        struct{ *Resolvers }
	provenanceResolver  struct{ *Resolvers }
	runResolver         struct{ *Resolvers }
	runItemResolver     struct{ *Resolvers }
	stepResolver        struct{ *Resolvers }
	stepErrorResolver   struct{ *Resolvers }
	updateResolver      struct{ *Resolvers }
	viewerResolver      struct{ *Resolvers }
	queryResolver       struct{ *Resolvers }
	mutationResolver    struct{ *Resolvers }
)

var _ generated.ResolverRoot = (*Resolvers)(nil)

func (r *Resolvers) App() generated.AppResolver                       { return appResolver{r} }
func (r *Resolvers) AppInstance() generated.AppInstanceResolver       { return connectionResolver{r} }
func (r *Resolvers) Attempt() generated.AttemptResolver               { return attemptResolver{r} }
func (r *Resolvers) AttentionItem() generated.AttentionItemResolver   { return attentionResolver{r} }
func (r *Resolvers) Explanation() generated.ExplanationResolver       { return explanationResolver{r} }
func (r *Resolvers) Effect() generated.EffectResolver                 { return effectResolver{r} }
func (r *Resolvers) Event() generated.EventResolver                   { return eventResolver{r} }
func (r *Resolvers) AuditEntry() generated.AuditEntryResolver         { return auditResolver{r} }
func (r *Resolvers) EventOutcome() generated.EventOutcomeResolver     { return outcomeResolver{r} }
func (r *Resolvers) Flow() generated.FlowResolver                     { return flowResolver{r} }
func (r *Resolvers) FlowDraft() generated.FlowDraftResolver           { return draftResolver{r} }
func (r *Resolvers) FlowVersion() generated.FlowVersionResolver       { return versionResolver{r} }
func (r *Resolvers) FlowLink() generated.FlowLinkResolver             { return linkResolver{r} }
func (r *Resolvers) FlowLinkStep() generated.FlowLinkStepResolver     { return linkStepResolver{r} }
func (r *Resolvers) Mapping() generated.MappingResolver               { return mappingResolver{r} }
func (r *Resolvers) MappingSlot() generated.MappingSlotResolver       { return slotResolver{r} }
func (r *Resolvers) SlotProvenance() generated.SlotProvenanceResolver { return provenanceResolver{r} }
func (r *Resolvers) Run() generated.RunResolver                       { return runResolver{r} }
func (r *Resolvers) RunItem() generated.RunItemResolver               { return runItemResolver{r} }
func (r *Resolvers) RunStep() generated.RunStepResolver               { return stepResolver{r} }
func (r *Resolvers) StepError() generated.StepErrorResolver           { return stepErrorResolver{r} }
func (r *Resolvers) RunUpdate() generated.RunUpdateResolver           { return updateResolver{r} }
func (r *Resolvers) Viewer() generated.ViewerResolver                 { return viewerResolver{r} }
func (r *Resolvers) Query() generated.QueryResolver                   { return queryResolver{r} }
func (r *Resolvers) Mutation() generated.MutationResolver             { return mutationResolver{r} }

// organization is whose rows the caller sees. Without a viewer it is nobody's.
func organization(ctx context.Context) db.ID {
	v, _ := auth.FromContext(ctx)
	return v.Org
}

// one loads a row and shows it; nil when there is none, or when there is no id to load it by.
func one[K comparable, R, M any](ctx context.Context, from *dataloadgen.Loader[K, R], key K, show func(R) (*M, error)) (*M, error) {
	if key == *new(K) {
		return nil, nil
	}
	row, err := from.Load(ctx, key)
	if errors.Is(err, dataloadgen.ErrNotFound) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	return show(row)
}

// many loads the rows that belong to something and shows them.
func many[R, M any](ctx context.Context, from *dataloadgen.Loader[db.ID, []R], key db.ID, show func(R) (*M, error)) ([]*M, error) {
	rows, err := from.Load(ctx, key)
	if err != nil && !errors.Is(err, dataloadgen.ErrNotFound) {
		return nil, err
	}
	return all(rows, show)
}

func all[R, M any](rows []R, show func(R) (*M, error)) ([]*M, error) {
	out := make([]*M, len(rows))
	for i, row := range rows {
		var err error
		if out[i], err = show(row); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sure makes a function that shows rows out of one that cannot fail.
func sure[R, M any](show func(R) *M) func(R) (*M, error) {
	return func(row R) (*M, error) { return show(row), nil }
}
