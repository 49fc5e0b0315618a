package graph

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"tieline/db"
	"tieline/graph/model"
	"tieline/jobs/flow"
)

const optionList = "fieldOptions"

func (r queryResolver) FieldOptions(ctx context.Context, connection string, action *string, field string, search *string, first *int32, after *string) (*model.FieldOptionConnection, error) {
	q, err := optionQuery(given(action), field, given(search), pageArgs{First: first, After: after})
	if err != nil {
		return nil, err
	}
	found, err := r.engine.FieldOptions(ctx, organization(ctx), model.ConnectionID.Find(connection), q)
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	return optionPage(connection, q, found), err
}

func (r queryResolver) InputSchema(ctx context.Context, connection, action string) (json.RawMessage, error) {
	schema, err := r.engine.InputSchema(ctx, organization(ctx), model.ConnectionID.Find(connection), action)
	if errors.Is(err, db.ErrNotFound) {
		return nil, nil
	}
	return schema, err
}

func optionQuery(action, field, search string, args pageArgs) (flow.OptionQuery, error) {
	w, err := args.window(optionList)
	if err != nil {
		return flow.OptionQuery{}, err
	}
	q := flow.OptionQuery{Action: action, Field: field, Search: search, First: w.Limit - 1}
	if w.After != "" {
		skip, at, _ := strings.Cut(w.After, ":")
		if q.From.Skip, err = strconv.Atoi(skip); err != nil || q.From.Skip < 0 {
			return flow.OptionQuery{}, badCursor(*args.After)
		}
		q.From.After = at
	}
	return q, nil
}

func optionCursor(p flow.OptionPlace) string {
	return cursor(optionList, fmt.Sprintf("%d:%s", p.Skip, p.After))
}

func optionPage(connection string, q flow.OptionQuery, found flow.OptionList) *model.FieldOptionConnection {
	nodes := make([]*model.FieldOption, len(found.Options))
	out := &model.FieldOptionConnection{Nodes: nodes, Edges: make([]*model.FieldOptionEdge, len(nodes)), PageInfo: &model.PageInfo{HasNextPage: found.More}}
	for i, o := range found.Options {
		nodes[i] = model.NewFieldOption(connection, q.Action, q.Field, o)
		out.Edges[i] = &model.FieldOptionEdge{Cursor: optionCursor(found.Places[i]), Node: nodes[i]}
	}
	if found.More { // where to go on, also from an empty page
		out.PageInfo.EndCursor = new(optionCursor(found.Next))
	}
	if n := len(nodes); n > 0 {
		out.PageInfo.StartCursor = &out.Edges[0].Cursor
		if found.More {
			out.Edges[n-1].Cursor = *out.PageInfo.EndCursor
		}
		out.PageInfo.EndCursor = &out.Edges[n-1].Cursor
	}
	return out
}
