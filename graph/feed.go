package graph

import (
	"context"
	"log/slog"

	"tieline/db"
	"tieline/db/notify"
)

// Feed tells subscribers of every change of a run, in order: one reader per process, woken by the database, fans out
// in memory.
type Feed struct {
	db  *db.DB
	l   *notify.Listener
	log *slog.Logger
}

// NewFeed makes a feed; Run makes it work.
func NewFeed(d *db.DB, l *notify.Listener, log *slog.Logger) *Feed {
	return &Feed{db: d, l: l, log: log}
}

// Run reads until ctx ends.
func (f *Feed) Run(ctx context.Context) error {
	<-ctx.Done()
	return ctx.Err()
}
