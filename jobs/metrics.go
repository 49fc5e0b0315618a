package jobs

import (
	"cmp"
	"context"
	"strconv"
	"strings"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"

	"tieline/connectors"
	"tieline/db"
)

const readWithin = 2 * time.Second // the database, while somebody waits for metrics

// Metrics are what a process counts, and how the database stands. Labels are from short lists: apps, answers, states,
// queues; never an id or an organization.
type Metrics struct {
	Registry *prometheus.Registry
	answers  *prometheus.CounterVec
	runs     *prometheus.CounterVec
	calls    *prometheus.HistogramVec
}

// NewMetrics counts from nothing, and reads the database when asked.
func NewMetrics(d *db.DB) *Metrics {
	m := &Metrics{
		Registry: prometheus.NewRegistry(),
		answers:  prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tieline_webhooks_total", Help: "Webhooks answered."}, []string{"app", "answer"}),
		runs:     prometheus.NewCounterVec(prometheus.CounterOpts{Name: "tieline_runs_ended_total", Help: "Runs that ended here."}, []string{"state"}),
		calls: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tieline_vendor_call_seconds", Help: "Calls to vendors; status 0 got no answer.", Buckets: []float64{.025, .05, .1, .25, .5, 1, 2.5, 5, 10, 20, 60, 125},
		}, []string{"app", "status"}),
	}
	m.Registry.MustRegister(m.answers, m.runs, m.calls, standing{d}, collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

// Answered counts an answer to a webhook; app is empty when there is none of that name.
func (m *Metrics) Answered(app, code string) {
	m.answers.WithLabelValues(cmp.Or(app, "unknown"), strings.ToLower(code)).Inc()
}

// Ended counts a run.
func (m *Metrics) Ended(state string) { m.runs.WithLabelValues(strings.ToLower(state)).Inc() }

// Called counts a call to a vendor.
func (m *Metrics) Called(c connectors.Call) {
	m.calls.WithLabelValues(c.App, strconv.Itoa(c.Status)).Observe(c.Took.Seconds())
}

// Follow adds a process's feed.
func (m *Metrics) Follow(feed func() (subscribers int, pos int64)) {
	m.Registry.MustRegister(
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tieline_feed_subscribers", Help: "Subscriptions that follow runs here."}, func() float64 {
			n, _ := feed()
			return float64(n)
		}),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{Name: "tieline_feed_read_position", Help: "How far this process has read the feed; behind tieline_feed_position by its lag."}, func() float64 {
			_, pos := feed()
			return float64(pos)
		}))
}

// standing asks the database when somebody wants to know.
type standing struct{ db *db.DB }

var gauges = map[string]*prometheus.Desc{
	"runs_live":            prometheus.NewDesc("tieline_runs", "Runs that have not ended.", []string{"state", "reason"}, nil),
	"run_overdue_seconds":  prometheus.NewDesc("tieline_run_overdue_seconds", "How long the run is overdue that waits longest.", nil, nil),
	"events_waiting":       prometheus.NewDesc("tieline_events_waiting", "Events that were not dispatched.", nil, nil),
	"event_oldest_seconds": prometheus.NewDesc("tieline_event_oldest_seconds", "Age of the oldest of them.", nil, nil),
	"jobs":                 prometheus.NewDesc("tieline_jobs", "Jobs that are not done.", []string{"queue", "state"}, nil),
	"job_oldest_seconds":   prometheus.NewDesc("tieline_job_oldest_seconds", "How long the oldest job waits that could begin.", []string{"queue"}, nil),
	"budget_wait_seconds":  prometheus.NewDesc("tieline_budget_wait_seconds", "How long a run would wait that begins now, at the vendor account with the longest line.", []string{"app", "bucket"}, nil),
	"connections":          prometheus.NewDesc("tieline_connections", "Connections.", []string{"app", "state"}, nil),
	"feed_unnumbered":      prometheus.NewDesc("tieline_feed_unnumbered", "Changes that have no place in the feed yet.", nil, nil),
	"feed_position":        prometheus.NewDesc("tieline_feed_position", "The newest place in the feed.", nil, nil),
}

var (
	databaseUp  = prometheus.NewDesc("tieline_database_up", "Whether the database answers; without it, numbers about it are missing.", nil, nil)
	poolConns   = prometheus.NewDesc("tieline_database_pool", "Connections of this process to the database.", []string{"state"}, nil)
	poolWaiting = prometheus.NewDesc("tieline_database_pool_wait_seconds_total", "Time spent waiting for one.", nil, nil)
)

// Describe implements prometheus.Collector. It tells nothing: which labels there are shows when they are asked for.
func (s standing) Describe(chan<- *prometheus.Desc) {}

// Collect implements prometheus.Collector.
func (s standing) Collect(out chan<- prometheus.Metric) {
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		out <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	ctx, cancel := context.WithTimeout(context.Background(), readWithin)
	defer cancel()
	rows, err := db.Readings(ctx, s.db)
	if err != nil {
		gauge(databaseUp, 0)
	} else {
		gauge(databaseUp, 1)
	}
	for _, r := range rows {
		labels := []string{}
		for _, l := range []*string{r.A, r.B} {
			if l != nil {
				labels = append(labels, strings.ToLower(*l))
			}
		}
		gauge(gauges[r.Name], r.Value, labels...)
	}
	pool, keyed := s.db.Pool.Stat(), s.db.Keyed.Stat()
	gauge(poolConns, float64(pool.AcquiredConns()+keyed.AcquiredConns()), "acquired")
	gauge(poolConns, float64(pool.IdleConns()+keyed.IdleConns()), "idle")
	gauge(poolConns, float64(pool.MaxConns()+keyed.MaxConns()), "max")
	out <- prometheus.MustNewConstMetric(poolWaiting, prometheus.CounterValue, (pool.EmptyAcquireWaitTime() + keyed.EmptyAcquireWaitTime()).Seconds())
}
