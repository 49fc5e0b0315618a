package jobs

import (
	"context"
	"log/slog"
	"net/http"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/riverqueue/river"
	"riverqueue.com/riverui"
)

// PagePath is where the page of jobs belongs.
const PagePath = "/jobs"

const pageIdle = 5 * time.Minute

// Page is River's UI. It has no way to tell who is asking: show it to operators only.
func (j *Jobs) Page() http.Handler { return &page{log: j.cfg.Log, client: j.river} }

// page counts all jobs every few seconds, so it lives only while somebody looks.
type page struct {
	log    *slog.Logger
	client *river.Client[pgx.Tx]

	mu   sync.Mutex
	ui   *riverui.Handler
	idle *time.Timer
}

func (p *page) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ui, err := p.open()
	if err != nil {
		p.log.ErrorContext(r.Context(), "the jobs page", "error", err)
		http.Error(w, "the jobs page does not start; the log says why", http.StatusInternalServerError)
		return
	}
	ui.ServeHTTP(w, r)
}

func (p *page) open() (*riverui.Handler, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ui != nil {
		p.idle.Reset(pageIdle)
		return p.ui, nil
	}
	ui, err := riverui.NewHandler(&riverui.HandlerOpts{Endpoints: riverui.NewEndpoints(p.client, nil), Logger: p.log, Prefix: PagePath})
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.Background())
	if err := ui.Start(ctx); err != nil {
		cancel()
		return nil, err
	}
	p.ui, p.idle = ui, time.AfterFunc(pageIdle, func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		cancel()
		p.ui = nil
	})
	return ui, nil
}
