//go:build contract

package stripe

import (
	"bufio"
	"bytes"
	"flag"
	"io"
	"net/http"
	"os"
	"os/exec"
	"strings"
	"testing"

	"tieline/connectors/conntest"
)

var rewrite = flag.Bool("rewrite", false, "write the table of facts anew from the specification")

// need is a setting without which these tests have nothing to go by: .ci/run makes both of stripe-mock v0.183.0, whose
// specification is of the API version that we speak.
func need(t *testing.T, setting, what string) string {
	t.Helper()
	v := os.Getenv(setting)
	if v == "" {
		t.Fatalf("%s must name %s", setting, what)
	}
	return v
}

// The table says what Stripe's specification says, and the simulator answers as it wants.
func TestContractSpecification(t *testing.T) {
	spec := conntest.ReadSpec(t, need(t, "STRIPE_SPEC", "embedded/openapi/spec3.json of stripe-mock"))
	spec.CheckTable(t, factsFile, *rewrite)
	spec.CheckAnswers(t, conntest.Facts(t, factsFile), recorded(t))
}

// Every request of every action is one that stripe-mock takes.
func TestContractMock(t *testing.T) {
	mock := exec.CommandContext(t.Context(), need(t, "STRIPE_MOCK", "the program stripe-mock"), "-http-addr", "127.0.0.1:0", "-https-addr", "127.0.0.1:0")
	out, err := mock.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := mock.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = mock.Process.Kill()
		_ = mock.Wait()
	})
	url := ""
	for lines := bufio.NewScanner(out); url == "" && lines.Scan(); {
		if _, addr, ok := strings.Cut(lines.Text(), "Listening for HTTP at address: "); ok {
			url = "http://" + addr
		}
	}
	go func() { _, _ = io.Copy(io.Discard, out) }()
	if url == "" {
		t.Fatal("stripe-mock does not listen")
	}
	sent := 0
	for _, x := range recorded(t) {
		r, err := http.NewRequestWithContext(t.Context(), x.Method, url+x.Path+"?"+x.Query, bytes.NewReader(x.Body))
		if err != nil {
			t.Fatal(err)
		}
		r.Header = x.Header
		r.Header.Set("Authorization", "Bearer sk_test_123")
		res, err := http.DefaultClient.Do(r)
		if err != nil {
			t.Fatal(err)
		}
		said, _ := io.ReadAll(res.Body)
		res.Body.Close()
		if sent++; res.StatusCode != http.StatusOK {
			t.Errorf("%s %s?%s %s: %d %s", x.Method, x.Path, x.Query, x.Body, res.StatusCode, said)
		}
	}
	if sent == 0 {
		t.Error("nothing was sent")
	}
}
