//go:build chaos

package jobs_test

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"
)

// restartAfter is how long who runs our processes takes to start one that ended.
const restartAfter = 300 * time.Millisecond

// build makes the program under test: the test binary of the top level, which is tieline when its environment says so,
// and whose calls to vendors can be told to take less long than they may.
func build(t *testing.T) string {
	t.Helper()
	program := filepath.Join(t.TempDir(), "tieline")
	cmd := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", program, "tieline")
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go test -c: %v\n%s", err, out)
	}
	return program
}

// process is a serve process that is started anew whenever it ends.
type process struct {
	name, addr string
	program    string
	args, env  []string
	wires      []*wire // to whom it calls

	mu     sync.Mutex
	cmd    *exec.Cmd
	log    bytes.Buffer
	starts int
	kills  int
	exits  []int // codes of those that nobody killed
	ending bool
	over   chan struct{}
}

func (p *process) supervise(t *testing.T) {
	t.Helper()
	p.over = make(chan struct{})
	if err := p.start(); err != nil {
		t.Fatal(err)
	}
	go func() {
		defer close(p.over)
		for {
			p.reap()
			time.Sleep(restartAfter)
			if err := p.start(); err != nil {
				return
			}
		}
	}()
	t.Cleanup(func() {
		p.mu.Lock()
		p.ending = true
		_ = p.cmd.Process.Kill()
		p.mu.Unlock()
		<-p.over
		if t.Failed() {
			p.mu.Lock()
			defer p.mu.Unlock()
			t.Logf("%s (%d starts, %d kills, other exits %v) said:\n%s", p.name, p.starts, p.kills, p.exits, tail(p.log.String(), 60))
		}
	})
}

func (p *process) start() error {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.ending {
		return os.ErrProcessDone
	}
	p.cmd = exec.Command(p.program, p.args...)
	p.cmd.Env = p.env
	p.cmd.Stdout, p.cmd.Stderr = locked{p}, locked{p}
	p.starts++
	return p.cmd.Start()
}

func (p *process) reap() {
	p.mu.Lock()
	cmd := p.cmd
	p.mu.Unlock()
	_ = cmd.Wait()
	p.mu.Lock()
	defer p.mu.Unlock()
	if code := cmd.ProcessState.ExitCode(); code != -1 {
		p.exits = append(p.exits, code)
	}
}

// signal reaches whoever runs now.
func (p *process) signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.cmd.Process.Signal(s) == nil && s == syscall.SIGKILL {
		p.kills++
	}
}

func (p *process) said() string {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.log.String()
}

// locked is the log of a process.
type locked struct{ p *process }

func (l locked) Write(b []byte) (int, error) {
	l.p.mu.Lock()
	defer l.p.mu.Unlock()
	return l.p.log.Write(b)
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// environment is what finds programs, and what a process under test needs to be one.
func environment(more ...string) []string {
	env := append([]string{"TEST_TIELINE_PROCESS=1", "TEST_TIELINE_TIMEOUT=3s", fmt.Sprintf("TEST_TIELINE_RATE=%g", *chaosRate), "TIELINE_OPS_ADDR=127.0.0.1:0"}, more...)
	for _, name := range []string{"PATH", "HOME", "XDG_DATA_HOME", "XDG_CACHE_HOME", "TIELINE_POSTGRES_BIN", "GORACE"} {
		if v := os.Getenv(name); v != "" {
			env = append(env, name+"="+v)
		}
	}
	return env
}

// do runs a command of tieline to its end.
func do(t *testing.T, program string, env []string, args ...string) string {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), program, args...)
	var out, errs bytes.Buffer
	cmd.Env, cmd.Stdout, cmd.Stderr = env, &out, &errs
	if err := cmd.Run(); err != nil {
		t.Fatalf("tieline %s: %v\n%s%s", strings.Join(args, " "), err, out.String(), errs.String())
	}
	return strings.TrimSpace(out.String())
}

func (p *process) String() string { return fmt.Sprintf("%s at %s", p.name, p.addr) }
