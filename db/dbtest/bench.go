package dbtest

import (
	"context"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"tieline/db"
	"tieline/db/embedded"
	"tieline/db/migrations"
)

// Durable makes a migrated and empty database on a server of its own that keeps what it has committed, as benchmarks need
// it: fsync and synchronous_commit are on, and the rest is as a new Postgres comes. It goes away with the benchmark.
func Durable(b *testing.B) string {
	b.Helper()
	dir, err := os.MkdirTemp("", "tieline-bench-")
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { os.RemoveAll(dir) })
	ctx, cancel := context.WithTimeout(b.Context(), startWithin)
	defer cancel()
	pg, err := embedded.Start(ctx, embedded.Config{Dir: dir, Bin: os.Getenv("TIELINE_POSTGRES_BIN"), MaxConnections: maxConnections})
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(func() { pg.Stop() })
	d, err := db.Open(ctx, pg.URL("postgres"), db.MaxConns(poolSize))
	if err != nil {
		b.Fatal(err)
	}
	defer d.Close()
	if err := migrations.Up(ctx, d.Pool, nil); err != nil {
		b.Fatal(err)
	}
	return pg.URL("postgres")
}

// Load has clients call do at once, b.N times in all, each as soon as its last call has returned, and reports calls a
// second as unit, and the median and the 99th percentile of their times in milliseconds.
func Load(b *testing.B, clients int, unit string, do func(client, i int) error) {
	b.Helper()
	took := make([]time.Duration, b.N)
	var next atomic.Int64
	var all sync.WaitGroup
	b.ResetTimer()
	for client := range clients {
		all.Go(func() {
			for {
				i := int(next.Add(1)) - 1
				if i >= b.N {
					return
				}
				start := time.Now()
				if err := do(client, i); err != nil {
					b.Error(err)
					return
				}
				took[i] = time.Since(start)
			}
		})
	}
	all.Wait()
	b.StopTimer()
	slices.Sort(took)
	b.ReportMetric(float64(b.N)/b.Elapsed().Seconds(), unit)
	b.ReportMetric(took[b.N/2].Seconds()*1e3, "p50-ms")
	b.ReportMetric(took[b.N*99/100].Seconds()*1e3, "p99-ms")
}
