package intake_test

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"

	"tieline/db/dbtest"
	"tieline/db/migrations"
)

const (
	vendors    = 64  // clients at once
	vendorBody = 750 // bytes beside what an event has anyway, about a kilobyte in all
)

// BenchmarkAck measures webhooks taken: verified, told from repeats, event and job committed. Its bounds do the same with
// no more than that, by hand: with a transaction for each request, and with transactions that requests share.
//
//	go test ./jobs/intake -run '^$' -bench Ack -benchtime 20000x -count 5
func BenchmarkAck(b *testing.B) {
	b.Run("tieline", func(b *testing.B) {
		w := openOn(b, dbtest.Durable(b), 16)
		hammer(b, w.front.URL+w.path(b, w.conn))
		var stored, queued int
		if err := w.NewRaw("SELECT (SELECT count(*) FROM events), (SELECT count(*) FROM river.river_job)").Scan(b.Context(), &stored, &queued); err != nil || stored != b.N+vendors || queued != stored {
			b.Errorf("%d events and %d jobs (%v), want %d of each", stored, queued, err, b.N+vendors)
		}
	})
	b.Run("bound=transaction-each", func(b *testing.B) { hammer(b, bound(b, false)) })
	b.Run("bound=shared", func(b *testing.B) { hammer(b, bound(b, true)) })
}

// hammer sends events, each once, after as many that nobody counts as there are clients.
func hammer(b *testing.B, url string) {
	client := &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: vendors}}
	defer client.CloseIdleConnections()
	padding := strings.Repeat("x", vendorBody)
	send := func(id string) error {
		body := strings.Replace(created(id), `"id":"cus_1"`, `"id":"cus_1","description":"`+padding+`"`, 1)
		req, err := http.NewRequestWithContext(b.Context(), "POST", url, strings.NewReader(body))
		if err != nil {
			return err
		}
		req.Header.Set("Stripe-Signature", sign(secret, time.Now(), body))
		resp, err := client.Do(req)
		if err != nil {
			return err
		}
		defer resp.Body.Close()
		said, err := io.ReadAll(resp.Body)
		if err == nil && resp.StatusCode != 200 {
			err = fmt.Errorf("%s %s", resp.Status, said)
		}
		return err
	}
	for i := range vendors {
		if err := send(fmt.Sprintf("warm_%d", i)); err != nil {
			b.Fatal(err)
		}
	}
	dbtest.Load(b, vendors, "acks/s", func(_, i int) error { return send(fmt.Sprintf("evt_%d", i)) })
}

type boundArgs struct {
	Event string `json:"event"`
}

func (boundArgs) Kind() string { return "event" }

// bound serves the least that keeps the promise: a table with a unique key, a job, a commit.
func bound(b *testing.B, shared bool) string {
	cfg, err := pgxpool.ParseConfig(dbtest.Durable(b))
	if err != nil {
		b.Fatal(err)
	}
	cfg.MaxConns = 16
	pool, err := pgxpool.NewWithConfig(b.Context(), cfg)
	if err != nil {
		b.Fatal(err)
	}
	b.Cleanup(pool.Close)
	if _, err := pool.Exec(b.Context(), `CREATE TABLE bound (id bigint GENERATED ALWAYS AS IDENTITY PRIMARY KEY, connection_id bigint NOT NULL,
		external_id text NOT NULL, body bytea NOT NULL, at timestamptz NOT NULL DEFAULT now(), UNIQUE (connection_id, external_id))`); err != nil {
		b.Fatal(err)
	}
	jobs, err := river.NewClient(riverpgxv5.New(pool), &river.Config{Schema: migrations.RiverSchema, Logger: slog.New(slog.DiscardHandler)})
	if err != nil {
		b.Fatal(err)
	}
	store := func(ids []string, bodies [][]byte) error {
		return pgx.BeginFunc(b.Context(), pool, func(tx pgx.Tx) error {
			rows, err := tx.Query(b.Context(), `INSERT INTO bound (connection_id, external_id, body) SELECT 1, i, b FROM unnest($1::text[], $2::bytea[]) AS t (i, b)
				ON CONFLICT DO NOTHING RETURNING external_id`, ids, bodies)
			if err != nil {
				return err
			}
			fresh, err := pgx.CollectRows(rows, pgx.RowTo[string])
			if err != nil || len(fresh) == 0 {
				return err
			}
			if len(fresh) == 1 {
				_, err = jobs.InsertTx(b.Context(), tx, boundArgs{fresh[0]}, nil)
				return err
			}
			params := make([]river.InsertManyParams, len(fresh))
			for i, id := range fresh {
				params[i].Args = boundArgs{id}
			}
			_, err = jobs.InsertManyFastTx(b.Context(), tx, params)
			return err
		})
	}
	type item struct {
		id   string
		body []byte
		done chan error
	}
	line := make(chan item, 8192)
	for range 2 {
		go func() {
			for first := range line {
				batch := []item{first}
				for more := true; more && len(batch) < 512; {
					select {
					case it := <-line:
						batch = append(batch, it)
					default:
						more = false
					}
				}
				ids, bodies := make([]string, len(batch)), make([][]byte, len(batch))
				for i, it := range batch {
					ids[i], bodies[i] = it.id, it.body
				}
				err := store(ids, bodies)
				for _, it := range batch {
					it.done <- err
				}
			}
		}()
	}
	b.Cleanup(func() { close(line) })
	front := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, err := io.ReadAll(r.Body)
		var e struct{ ID string }
		if err != nil || !signed(r, body) || json.Unmarshal(body, &e) != nil {
			http.Error(w, "bad", 400)
			return
		}
		if shared {
			it := item{e.ID, body, make(chan error, 1)}
			line <- it
			err = <-it.done
		} else {
			err = store([]string{e.ID}, [][]byte{body})
		}
		if err != nil {
			http.Error(w, err.Error(), 500)
			return
		}
		io.WriteString(w, `{"received":true}`)
	}))
	b.Cleanup(front.Close)
	return front.URL
}

// signed tells whether Stripe's secret made a request, by hand.
func signed(r *http.Request, body []byte) bool {
	var at, v1 string
	for part := range strings.SplitSeq(r.Header.Get("Stripe-Signature"), ",") {
		if v, ok := strings.CutPrefix(part, "t="); ok {
			at = v
		} else if v, ok := strings.CutPrefix(part, "v1="); ok {
			v1 = v
		}
	}
	mac := hmac.New(sha256.New, []byte(secret))
	fmt.Fprintf(mac, "%s.", at)
	mac.Write(body)
	given, err := hex.DecodeString(v1)
	return err == nil && hmac.Equal(mac.Sum(nil), given)
}
