//go:build linux || darwin

package embedded

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
)

const (
	asProcess = "TIELINE_TEST_EMBEDDED_DIR" // set: the test binary is a process that runs a server of that directory
	asCache   = "TIELINE_TEST_EMBEDDED_CACHE"
	patience  = 30 * time.Second
)

func TestMain(m *testing.M) {
	if dir := os.Getenv(asProcess); dir != "" {
		runProcess(Config{Dir: dir, CacheDir: os.Getenv(asCache), Temporary: dir == "temporary"})
		return
	}
	os.Exit(m.Run())
}

// runProcess starts a server, tells whether it owns it and its URL, and stops when its input ends.
func runProcess(cfg Config) {
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	s, err := Start(ctx, cfg)
	if err == nil {
		err = query(ctx, s.URL("postgres"))
	}
	if err != nil {
		fmt.Println("error", strconv.Quote(err.Error()))
		os.Exit(1)
	}
	fmt.Println(map[bool]string{false: "owner", true: "adopter"}[s.Adopted], s.URL("postgres"))
	io.Copy(io.Discard, os.Stdin)
	if err := s.Stop(); err != nil {
		os.Exit(1)
	}
}

func query(ctx context.Context, url string) error {
	conn, err := pgx.Connect(ctx, url)
	if err != nil {
		return err
	}
	defer conn.Close(ctx)
	// The lock, because two processes may be here at once and IF NOT EXISTS does not wait.
	_, err = conn.Exec(ctx, "SELECT pg_advisory_xact_lock(1); CREATE TABLE IF NOT EXISTS kept (at timestamptz DEFAULT now()); INSERT INTO kept DEFAULT VALUES")
	return err
}

type process struct {
	*exec.Cmd
	stdin       io.Closer
	stdout      io.Reader
	says, about string // owner or adopter and the URL, or error
}

// spawn runs the test binary as a process with a server, and waits for what it says.
func spawn(t *testing.T, dir string, cred *syscall.Credential) *process {
	t.Helper()
	p := launch(t, dir, cred)
	p.hear(t)
	return p
}

func launch(t *testing.T, dir string, cred *syscall.Credential) *process {
	t.Helper()
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), asProcess+"="+dir, asCache+"="+filepath.Join(filepath.Dir(dir), "cache"))
	cmd.Stderr, cmd.Dir = os.Stderr, "/"
	if cred != nil {
		copied := filepath.Join(filepath.Dir(dir), "tests") // go test's own directory is root's
		// By a process of its own: a child that another test forks meanwhile would inherit a file we write, and it could not be run.
		if said, err := exec.Command("cp", exe, copied).CombinedOutput(); err != nil {
			t.Fatalf("copying the test binary: %v: %s", err, said)
		}
		cmd.Path, cmd.SysProcAttr = copied, &syscall.SysProcAttr{Credential: cred}
	}
	stdin, err := cmd.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	p := &process{Cmd: cmd, stdin: stdin, stdout: stdout}
	t.Cleanup(func() { p.Process.Kill(); p.Wait() })
	return p
}

func (p *process) hear(t *testing.T) {
	t.Helper()
	line, err := bufio.NewReader(p.stdout).ReadString('\n')
	if err != nil {
		t.Fatalf("the process said nothing: %v", err)
	}
	p.says, p.about, _ = strings.Cut(strings.TrimSpace(line), " ")
}

// ordinary is an account that is not root, when we are.
func ordinary(t *testing.T) *syscall.Credential {
	t.Helper()
	if os.Geteuid() != 0 {
		return nil
	}
	u, err := user.Lookup("nobody")
	if err != nil {
		t.Fatal(err)
	}
	uid, _ := strconv.Atoi(u.Uid)
	gid, _ := strconv.Atoi(u.Gid)
	return &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
}

// roomy is a directory that every account can walk, unlike t.TempDir's.
func roomy(t *testing.T, pattern string) string {
	t.Helper()
	dir, err := os.MkdirTemp(temporaryBase(), pattern)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if err := os.Chmod(dir, 0o777); err != nil { // the umask may have taken some of it
		t.Fatal(err)
	}
	return dir
}

func begin(t *testing.T, cfg Config) *Server {
	t.Helper()
	s, err := Start(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	})
	return s
}

// gone waits until nothing runs in the directory any more.
func gone(t *testing.T, dir string) {
	t.Helper()
	for end := time.Now().Add(patience); ; time.Sleep(pollEvery) {
		if p, ok := readPidFile(filepath.Join(dir, "data")); !ok || !p.alive() {
			return
		}
		if time.Now().After(end) {
			t.Fatal("the server goes on")
		}
	}
}

func TestStartStopAndAgain(t *testing.T) {
	t.Parallel()
	var progress bytes.Buffer
	cfg := Config{Dir: filepath.Join(roomy(t, "with a space, and comma "), "pg dir"), Log: &progress}
	for i := range 2 {
		began := time.Now()
		s, err := Start(t.Context(), cfg)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("start %d: %s", i, time.Since(began))
		if err := query(t.Context(), s.URL("postgres")); err != nil || s.Adopted {
			t.Errorf("adopted %v, %v", s.Adopted, err)
		}
		conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
		if err != nil {
			t.Fatal(err)
		}
		var rows int
		var fsync, listen string
		err = conn.QueryRow(t.Context(), "SELECT count(*), current_setting('fsync'), current_setting('listen_addresses') FROM kept").Scan(&rows, &fsync, &listen)
		if err != nil || rows != i+1 || fsync != "on" || listen != "" {
			t.Errorf("%d rows, fsync %s, listening on %q (%v)", rows, fsync, listen, err)
		}
		began = time.Now()
		if err := s.Stop(); err != nil { // cuts conn
			t.Error(err)
		}
		t.Logf("stop %d: %s", i, time.Since(began))
		if err := s.Stop(); err != nil {
			t.Errorf("second Stop: %v", err)
		}
		gone(t, cfg.Dir)
	}
	if n := strings.Count(progress.String(), "making a PostgreSQL"); n != 1 {
		t.Errorf("told %d times of making a cluster:\n%s", n, &progress)
	}
}

func TestTemporaryIsGoneAfterwards(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Temporary: true, MaxConnections: 17})
	conn, err := pgx.Connect(t.Context(), s.URL("postgres"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close(context.WithoutCancel(t.Context()))
	var fsync, max string
	if err := conn.QueryRow(t.Context(), "SELECT current_setting('fsync'), current_setting('max_connections')").Scan(&fsync, &max); err != nil || fsync != "off" || max != "17" {
		t.Errorf("fsync %s, %s connections (%v)", fsync, max, err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.socket); !os.IsNotExist(err) {
		t.Errorf("%s is still there (%v)", s.socket, err)
	}
}

func TestOrdinaryUser(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomy(t, "tieline-user-"), "pg")
	p := spawn(t, dir, ordinary(t))
	if p.says != "owner" {
		t.Fatal(p.says, p.about)
	}
	p.stdin.Close()
	if err := p.Wait(); err != nil {
		t.Error(err)
	}
	gone(t, dir)
}

func TestLongPath(t *testing.T) {
	t.Parallel()
	s := begin(t, Config{Dir: filepath.Join(roomy(t, "tieline-long-"), strings.Repeat("long", 25))})
	if err := query(t.Context(), s.URL("postgres")); err != nil {
		t.Error(err)
	}
	if err := s.Stop(); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(s.socket); !os.IsNotExist(err) {
		t.Errorf("the socket's directory %s is still there (%v)", s.socket, err)
	}
}

func TestOneOwnerManyAdopters(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomy(t, "tieline-two-"), "pg")
	all := []*process{launch(t, dir, nil), launch(t, dir, nil), launch(t, dir, nil)}
	var owner *process
	for _, p := range all {
		p.hear(t)
		switch {
		case p.says == "owner" && owner == nil:
			owner = p
		case p.says == "adopter": // whose end leaves the server alone
			p.stdin.Close()
			if err := p.Wait(); err != nil {
				t.Error(err)
			}
		default:
			t.Errorf("%s %s", p.says, p.about)
		}
	}
	if owner == nil {
		t.Fatal("nobody owns the server")
	}
	if err := query(t.Context(), owner.about); err != nil {
		t.Errorf("after the adopters left: %v", err)
	}
	owner.stdin.Close()
	if err := owner.Wait(); err != nil {
		t.Error(err)
	}
	gone(t, dir)
}

func TestKilledProcessLeavesNothing(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomy(t, "tieline-kill-"), "pg")
	for _, d := range []string{dir, "temporary"} {
		p := spawn(t, d, nil)
		if p.says != "owner" {
			t.Fatal(p.says, p.about)
		}
		cfg, err := pgx.ParseConfig(p.about)
		if err != nil {
			t.Fatal(err)
		}
		p.Process.Kill()
		began := time.Now()
		gone(t, cfg.Host)
		t.Logf("gone %s after the kill", time.Since(began))
		if d == dir {
			continue
		}
		for end := time.Now().Add(patience); ; time.Sleep(pollEvery) {
			if _, err := os.Stat(cfg.Host); os.IsNotExist(err) {
				break
			} else if time.Now().After(end) {
				t.Fatalf("%s is still there", cfg.Host)
			}
		}
	}
	begin(t, Config{Dir: dir}) // and what was kept still starts
}

func TestCrashedServerStartsAgain(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomy(t, "tieline-crash-"), "pg")
	s := begin(t, Config{Dir: dir})
	syscall.Kill(s.own.pid, syscall.SIGKILL) // postmaster.pid stays, saying ready
	<-s.own.done
	again := begin(t, Config{Dir: dir})
	if err := query(t.Context(), again.URL("postgres")); err != nil || again.Adopted {
		t.Errorf("adopted %v, %v", again.Adopted, err)
	}
}

func TestOtherMajorIsRefused(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomy(t, "tieline-major-"), "pg")
	if err := os.MkdirAll(filepath.Join(dir, "data"), 0o755); err != nil {
		t.Fatal(err)
	}
	files := map[string]string{"data/PG_VERSION": "11\n", "data/precious": "data"}
	for name, text := range files {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	refused := func(cfg Config, have int) {
		_, err := Start(t.Context(), cfg)
		for _, want := range []string{"made by PostgreSQL 11", fmt.Sprintf("only PostgreSQL %d", have), "DATABASE_URL"} {
			if err == nil || !strings.Contains(err.Error(), want) {
				t.Errorf("%v, want %q", err, want)
			}
		}
	}
	refused(Config{Dir: dir}, packageMajor)
	for _, bin := range installed().binaries(t.Context()) {
		refused(Config{Dir: dir, Bin: bin.dir}, bin.major)
	}
	for name, text := range files {
		if got, err := os.ReadFile(filepath.Join(dir, name)); err != nil || string(got) != text {
			t.Errorf("%s changed (%v)", name, err)
		}
	}
}

func TestStrangeDataIsLeftAlone(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(roomy(t, "tieline-strange-"), "pg")
	if err := os.MkdirAll(filepath.Join(dir, "data", "photos"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: dir}); err == nil || !strings.Contains(err.Error(), "not a Postgres cluster") {
		t.Error(err)
	}
}

func TestRootsDirectoryIsExplained(t *testing.T) {
	t.Parallel()
	if os.Geteuid() != 0 {
		return // an ordinary user reaches its own directories
	}
	base := roomy(t, "tieline-closed-")
	if err := os.Chmod(base, 0o700); err != nil {
		t.Fatal(err)
	}
	if _, err := Start(t.Context(), Config{Dir: filepath.Join(base, "pg")}); err == nil || !strings.Contains(err.Error(), "cannot reach") {
		t.Error(err)
	}
}
