package flow

import (
	"context"

	"github.com/uptrace/bun"

	"tieline/db"
)

// Attention lists what waits for a person: all of it, or one kind.
func (e *Engine) Attention(ctx context.Context, idb bun.IDB, org db.ID, kind string, w db.Window) ([]db.Attention, error) {
	return db.AttentionPage(ctx, idb, org, kind, e.hooked(), w)
}

// CountAttention counts what waits for a person, by kind.
func (e *Engine) CountAttention(ctx context.Context, idb bun.IDB, org db.ID) (map[string]int, error) {
	return db.CountAttention(ctx, idb, org, e.hooked())
}

// hooked are the keys of the apps that have webhooks.
func (e *Engine) hooked() []string {
	keys := []string{}
	for _, a := range e.Apps.Apps() {
		if a.Webhook != nil {
			keys = append(keys, a.Key)
		}
	}
	return keys
}
