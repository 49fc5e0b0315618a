package model

// Page is one page of a list of N, as Relay wants it.
type Page[N any] struct {
	Edges    []*Edge[N]
	Nodes    []*N
	PageInfo *PageInfo
}

// Edge is one N of a list with its position.
type Edge[N any] struct {
	Cursor string
	Node   *N
}

// The schema's names for pages and edges.
type (
	APITokenConnection    = Page[APIToken]
	AppConnection         = Page[App]
	AppInstanceConnection = Page[AppInstance]
	AuditEntryConnection  = Page[AuditEntry]
	EffectConnection      = Page[Effect]
	EventConnection       = Page[Event]
	FieldOptionConnection = Page[FieldOption]
	FlowConnection        = Page[Flow]
	FlowLinkConnection    = Page[FlowLink]
	FlowVersionConnection = Page[FlowVersion]
	MappingConnection     = Page[Mapping]
	RunItemConnection     = Page[RunItem]

	AttentionItemEdge = Edge[AttentionItem]
	APITokenEdge      = Edge[APIToken]
	AppEdge           = Edge[App]
	AppInstanceEdge   = Edge[AppInstance]
	AuditEntryEdge    = Edge[AuditEntry]
	EffectEdge        = Edge[Effect]
	EventEdge         = Edge[Event]
	FieldOptionEdge   = Edge[FieldOption]
	FlowEdge          = Edge[Flow]
	FlowLinkEdge      = Edge[FlowLink]
	FlowVersionEdge   = Edge[FlowVersion]
	MappingEdge       = Edge[Mapping]
	RunEdge           = Edge[Run]
	RunItemEdge       = Edge[RunItem]
)

// RunConnection is a page of runs and the position of the feed at the same moment.
type RunConnection struct {
	Page[Run]
	FeedCursor *string
}
