package model

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"

	"tieline/db"
)

// NewReplay shows a replay.
func NewReplay(r db.Replay) (*Replay, error) {
	skips := map[string]int{}
	if err := json.Unmarshal(r.Skips, &skips); err != nil {
		return nil, fmt.Errorf("replay %s: %w", r.ID, err)
	}
	out := &Replay{
		ID: ReplayID.Of(r.ID), Matched: whole(r.Matched), Made: whole(r.Made), Skipped: []*ReplaySkip{},
		CreatedAt: r.CreatedAt, FinishedAt: moment(r.FinishedAt), Cancelled: r.Cancelled,
	}
	for _, reason := range slices.Sorted(maps.Keys(skips)) {
		out.Skipped = append(out.Skipped, &ReplaySkip{ID: part("skp", r.ID.String(), reason), Reason: reason, Count: whole(skips[reason])})
	}
	return out, nil
}
