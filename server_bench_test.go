package main

import (
	"bufio"
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"tieline/db/dbtest"
	"tieline/db/seal"
)

// BenchmarkServe measures a process with the API and a worker over a migrated database: how long it takes from its start
// to its first answer, and what memory it has resident five seconds later, and at most while 16 clients read the apps and
// flows of the organization 5,000 times.
//
//	go test . -run '^$' -bench Serve -benchtime 1x -count 5
func BenchmarkServe(b *testing.B) {
	const document = `{ apps { nodes { key name triggers { key schema } actions { key inputSchema outputSchema } } } flows { nodes { name steps { key } paramsSchema } } }`
	url, keys := dbtest.Durable(b), seal.Generate()
	var token bytes.Buffer
	if code := run(b.Context(), []string{"token", "create", "--organization", "Acme", "--new", "--scopes", "admin"}, []string{"DATABASE_URL=" + url}, &token, b.Output()); code != 0 {
		b.Fatalf("token create ended with %d", code)
	}
	self, err := os.Executable()
	if err != nil {
		b.Fatal(err)
	}
	for b.Loop() {
		begun := time.Now()
		c := exec.Command(self, "serve")
		c.Env = []string{asProcess + "=1", "TIELINE_ADDR=127.0.0.1:0", "TIELINE_OPS_ADDR=127.0.0.1:0", "DATABASE_URL=" + url, keysSetting + "=" + keys, "HOME=" + os.Getenv("HOME")}
		said, err := c.StderrPipe()
		if err != nil {
			b.Fatal(err)
		}
		if err := c.Start(); err != nil {
			b.Fatal(err)
		}
		api := ""
		lines := bufio.NewScanner(said)
		for api == "" && lines.Scan() {
			if m := regexp.MustCompile(`"msg":"serving","addr":"([^"]+)"`).FindStringSubmatch(lines.Text()); m != nil {
				api = "http://" + m[1] + "/graphql"
			}
		}
		go func() { _, _ = io.Copy(io.Discard, said) }()
		body, err := json.Marshal(map[string]string{"query": document})
		if err != nil {
			b.Fatal(err)
		}
		read := func() {
			req, err := http.NewRequestWithContext(b.Context(), http.MethodPost, api, bytes.NewReader(body))
			if err != nil {
				b.Error(err)
				return
			}
			req.Header.Set("Content-Type", "application/json")
			req.Header.Set("Authorization", "Bearer "+strings.TrimSpace(token.String()))
			res, err := http.DefaultClient.Do(req)
			if err != nil {
				b.Error(err)
				return
			}
			defer res.Body.Close()
			if text, err := io.ReadAll(res.Body); err != nil || res.StatusCode != http.StatusOK || bytes.Contains(text, []byte(`"errors"`)) {
				b.Errorf("%s %.300s (%v)", res.Status, text, err)
			}
		}
		read()
		b.ReportMetric(time.Since(begun).Seconds()*1e3, "start-ms")
		time.Sleep(5 * time.Second) // what is measured is a process at rest
		b.ReportMetric(resident(b, c.Process.Pid, "VmRSS"), "idle-MB")
		if err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", c.Process.Pid), []byte("5"), 0); err != nil { // VmHWM starts anew
			b.Fatal(err)
		}
		var all sync.WaitGroup
		for range 16 {
			all.Go(func() {
				for range 5000 / 16 {
					read()
				}
			})
		}
		all.Wait()
		b.ReportMetric(resident(b, c.Process.Pid, "VmHWM"), "load-MB")
		_ = c.Process.Signal(syscall.SIGTERM)
		if err := c.Wait(); err != nil {
			b.Error(err)
		}
	}
}

// resident reads a measure of a process's memory, in megabytes.
func resident(b *testing.B, pid int, measure string) float64 {
	b.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	if err != nil {
		b.Fatal(err)
	}
	m := regexp.MustCompile(measure + `:\s+(\d+) kB`).FindSubmatch(text)
	if m == nil {
		b.Fatalf("no %s in %s", measure, text)
	}
	kb, err := strconv.Atoi(string(m[1]))
	if err != nil {
		b.Fatal(err)
	}
	return float64(kb) / 1024
}
