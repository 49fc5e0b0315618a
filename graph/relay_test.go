package graph

import (
	"errors"
	"strconv"
	"testing"
)

func TestWindow(t *testing.T) {
	t.Parallel()
	n := func(i int32) *int32 { return &i }
	c := func(s string) *string { return &s }
	good := cursor("runs", "7")
	for name, args := range map[string]pageArgs{
		"zero": {First: n(0)}, "negative": {Last: n(-1)}, "too many": {First: n(101)}, "both": {First: n(1), Last: n(1)},
		"no cursor": {After: c("nonsense")}, "another list's": {Before: c(cursor("apps", "7"))}, "empty": {After: c("")},
	} {
		_, err := args.window("runs")
		if e, ok := errors.AsType[*Error](err); !ok || e.Code != BadUserInput {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, c := range []struct {
		args pageArgs
		want window
	}{
		{pageArgs{}, window{Limit: 21}},
		{pageArgs{First: n(100), After: &good}, window{After: "7", Limit: 101}},
		{pageArgs{Last: n(2), Before: &good}, window{Before: "7", Limit: 3, Backward: true}},
	} {
		if got, err := c.args.window("runs"); err != nil || got != c.want {
			t.Errorf("%+v, %v, want %+v", got, err, c.want)
		}
	}
}

func TestPage(t *testing.T) {
	t.Parallel()
	rows := func(list ...int) (out []*int) {
		for _, v := range list {
			out = append(out, &v)
		}
		return out
	}
	key := func(n *int) string { return strconv.Itoa(*n) }
	p := page(rows(1, 2, 3), window{Limit: 3}, "ints", key)
	if len(p.Nodes) != 2 || !p.PageInfo.HasNextPage || p.PageInfo.HasPreviousPage || *p.PageInfo.EndCursor != cursor("ints", "2") || p.Edges[1].Node != p.Nodes[1] {
		t.Errorf("forward: %+v", p)
	}
	p = page(rows(9, 8, 7), window{Limit: 3, Backward: true}, "ints", key)
	if len(p.Nodes) != 2 || *p.Nodes[0] != 8 || *p.Nodes[1] != 9 || p.PageInfo.HasNextPage || !p.PageInfo.HasPreviousPage {
		t.Errorf("backward: %+v", p)
	}
	p = page(nil, window{Limit: 3}, "ints", key)
	if p.Edges == nil || p.PageInfo.StartCursor != nil || p.PageInfo.HasNextPage {
		t.Errorf("empty: %+v", p)
	}
}
