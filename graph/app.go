package graph

import (
	"cmp"
	"context"
	"slices"

	"tieline/db"
	"tieline/graph/model"
)

const appList = "apps"

// Apps is the catalogue: a list in memory, by key.
func (r queryResolver) Apps(_ context.Context, first *int32, after *string, last *int32, before *string) (*model.AppConnection, error) {
	w, err := pageArgs{first, last, after, before}.window(appList)
	if err != nil {
		return nil, err
	}
	key := func(a *model.App) string { return a.Key }
	return page(w.cut(r.apps.All()), w, appList, key), nil
}

func (r queryResolver) App(_ context.Context, key string) (*model.App, error) {
	return r.apps.Find(key), nil
}

func (r appResolver) Connections(ctx context.Context, app *model.App, first *int32, after *string, last *int32, before *string) (*model.AppInstanceConnection, error) {
	return r.connections().page(pageArgs{first, last, after, before}, func(w db.Window) ([]db.Connection, error) {
		return r.load(ctx).connectionsOfApp.Load(ctx, paging[string]{app.Key, w})
	})
}

// cut does with a list in memory, sorted by key, what a query does with a table.
func (w window) cut(sorted []*model.App) []*model.App {
	at := func(key string, past int) int {
		i, found := slices.BinarySearchFunc(sorted, key, func(a *model.App, k string) int { return cmp.Compare(a.Key, k) })
		if found {
			i += past
		}
		return i
	}
	from, to := 0, len(sorted)
	if w.After != "" {
		from = at(w.After, 1)
	}
	if w.Before != "" {
		to = max(at(w.Before, 0), from)
	}
	rows := sorted[from:to]
	if w.Backward {
		rows = reversed(rows)
	}
	return rows[:min(len(rows), w.Limit)]
}
