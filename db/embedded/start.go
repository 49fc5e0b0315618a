//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

const (
	port          = "5432" // of a Unix socket: only part of its file name
	maxSocketDir  = 85     // bytes; a socket's path may have 103 on macOS
	pollEvery     = 5 * time.Millisecond
	leaveWithin   = 20 * time.Second // what an owner's shutdown may take before we start over it
	tmpfs         = "/dev/shm"
	tmpfsRoom     = 1 << 30 // bytes free; containers often have 64 MB
	maxLog        = 8 << 20 // bytes kept of a server's log from start to start
	defaultMaxCon = 100
)

// Start brings up the Postgres of cfg.Dir, making its cluster first if need be, and returns when it takes connections.
// When another process runs it already, that server is adopted. ctx bounds the start only. Every error says what to do.
func Start(ctx context.Context, cfg Config) (*Server, error) {
	return start(ctx, cfg, installed())
}

func start(ctx context.Context, cfg Config, from places) (s *Server, err error) {
	acct, err := serverAccount()
	if err != nil {
		return nil, err
	}
	if err := cfg.complete(); err != nil {
		return nil, err
	}
	if cfg.Temporary {
		if cfg.Dir, err = os.MkdirTemp(temporaryBase(), "tieline-pg-"); err != nil {
			return nil, err
		}
		defer func() {
			if err != nil {
				os.RemoveAll(cfg.Dir)
			}
		}()
	}
	if err := prepare(ctx, cfg.Dir, acct); err != nil {
		return nil, err
	}
	unlock, err := lock(ctx, cfg.Dir, "lock")
	if err != nil {
		return nil, err
	}
	defer unlock()

	c := cluster{cfg: cfg, acct: acct, data: filepath.Join(cfg.Dir, "data")}
	socket, err := c.running(ctx)
	if err != nil {
		return nil, err
	}
	if socket != "" {
		return &Server{Adopted: true, socket: socket}, nil
	}
	want, err := c.major()
	if err != nil {
		return nil, err
	}
	bin, err := choose(ctx, cfg, from, want)
	if err != nil {
		return nil, err
	}
	if err := acct.reach(ctx, bin.dir, "TIELINE_POSTGRES_BIN"); err != nil {
		return nil, err
	}
	if want == 0 {
		if err := c.init(ctx, bin); err != nil {
			return nil, err
		}
	}
	return c.launch(ctx, bin)
}

func (cfg *Config) complete() (err error) {
	if cfg.Log == nil {
		cfg.Log = io.Discard
	}
	if cfg.MaxConnections == 0 {
		cfg.MaxConnections = defaultMaxCon
	}
	if cfg.CacheDir == "" {
		if _, cfg.CacheDir, err = Dirs(role); err != nil {
			return err
		}
	}
	for _, dir := range []*string{&cfg.Dir, &cfg.CacheDir, &cfg.Bin} {
		if *dir != "" {
			if *dir, err = filepath.Abs(*dir); err != nil {
				return err
			}
		}
	}
	if cfg.Dir == "" && !cfg.Temporary {
		return errors.New("embedded Postgres: no directory given")
	}
	return nil
}

// temporaryBase is memory when there is room in it: faster than any setting makes a disk.
func temporaryBase() string {
	var s syscall.Statfs_t
	if syscall.Statfs(tmpfs, &s) == nil && uint64(s.Bavail)*uint64(s.Bsize) > tmpfsRoom {
		if syscall.Access(tmpfs, 2|1) == nil { // write, walk
			return tmpfs
		}
	}
	return os.TempDir()
}

// prepare makes the directory, private to the account.
func prepare(ctx context.Context, dir string, acct account) error {
	if err := os.MkdirAll(filepath.Dir(dir), 0o755); err != nil {
		return err
	}
	if err := os.Mkdir(dir, 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := errors.Join(acct.own(dir), os.Chmod(dir, 0o700)); err != nil {
		return err
	}
	return acct.reach(ctx, dir, "TIELINE_DATA_DIR")
}

// mkdir makes a directory that every account can read.
func mkdir(dir string) error {
	return errors.Join(os.Mkdir(dir, 0o755), os.Chmod(dir, 0o755))
}

// lock waits for the file to be ours alone. A process that dies gives it back.
func lock(ctx context.Context, dir, name string) (unlock func(), err error) {
	file := filepath.Join(dir, name)
	f, err := open(dir, name, os.O_RDWR)
	if err != nil {
		return nil, err
	}
	for {
		if err = syscall.Flock(int(f.Fd()), syscall.LOCK_EX|syscall.LOCK_NB); err == nil {
			return func() { f.Close() }, nil
		}
		if !errors.Is(err, syscall.EWOULDBLOCK) && !errors.Is(err, syscall.EINTR) {
			f.Close()
			return nil, fmt.Errorf("locking %s: %w", file, err)
		}
		select {
		case <-ctx.Done():
			f.Close()
			return nil, fmt.Errorf("waiting for another process that starts Postgres (%s): %w", file, ctx.Err())
		case <-time.After(4 * pollEvery):
		}
	}
}

// cluster is a data directory and how it is run.
type cluster struct {
	cfg  Config
	acct account
	data string
}

// major reads the version an existing cluster was made by, 0 when there is none.
func (c cluster) major() (int, error) {
	text, err := os.ReadFile(filepath.Join(c.data, "PG_VERSION"))
	if errors.Is(err, fs.ErrNotExist) {
		if _, err := os.Lstat(c.data); err == nil {
			return 0, fmt.Errorf("%s has no PG_VERSION: not a Postgres cluster; it was left as it is, move it away", c.data)
		}
		return 0, nil
	}
	if err != nil {
		return 0, err
	}
	n, err := strconv.Atoi(strings.TrimSpace(string(text)))
	if err != nil {
		return 0, fmt.Errorf("%s/PG_VERSION says %q", c.data, text)
	}
	return n, nil
}

// init makes the cluster beside its place and moves it there when complete, so that half of one is never used.
func (c cluster) init(ctx context.Context, bin binaries) error {
	if !c.cfg.Temporary {
		fmt.Fprintf(c.cfg.Log, "making a PostgreSQL %d cluster in %s\n", bin.major, c.data)
	}
	fresh := c.data + ".new"
	args := []string{"-D", fresh, "-U", role, "--encoding=UTF8", "--auth-local=peer", "--auth-host=reject"}
	if c.cfg.Temporary {
		args = append(args, "--no-sync", "--wal-segsize=1")
	}
	var failed error
	for _, locale := range locales(bin.major) {
		if err := os.RemoveAll(fresh); err != nil {
			return err
		}
		err := c.acct.run(ctx, c.cfg.Dir, bin.initdb(), append(args, locale...)...)
		if err == nil {
			return os.Rename(fresh, c.data)
		}
		if failed == nil {
			failed = err
		}
	}
	return errors.Join(fmt.Errorf("making a Postgres cluster: %w", failed), os.RemoveAll(fresh))
}

// locales lists initdb's options, best first. Plain C would not know that É is an upper case é, so lower() and ILIKE
// need one that does; the built-in one also never changes under an index. The last is for builds without ICU.
func locales(major int) [][]string {
	if major >= 17 {
		return [][]string{{"--locale=C", "--locale-provider=builtin", "--builtin-locale=C.UTF-8"}}
	}
	return [][]string{{"--locale=C", "--locale-provider=icu", "--icu-locale=und"}, {"--locale=C.UTF-8"}}
}

// running finds a server of this cluster that takes connections, and returns its socket's directory, or "". One that
// is coming up or going down is waited for: we hold the lock, so its owner is not starting it any more.
func (c cluster) running(ctx context.Context) (socket string, err error) {
	for give := time.Now().Add(leaveWithin); ; {
		p, ok := readPidFile(c.data)
		if !ok || !p.alive() {
			return "", nil
		}
		if p.status == "ready" {
			conn, err := net.DialTimeout("unix", filepath.Join(p.socket, ".s.PGSQL."+port), time.Second)
			if err != nil {
				return "", nil // left over from a crash, and the process of that number is somebody else's
			}
			return p.socket, conn.Close()
		}
		if time.Now().After(give) {
			return "", nil // Postgres itself will say if that one still lives
		}
		select {
		case <-ctx.Done():
			return "", fmt.Errorf("waiting for the Postgres of %s, which is %s: %w", c.data, p.status, ctx.Err())
		case <-time.After(pollEvery):
		}
	}
}

// pidFile is a running server's postmaster.pid.
type pidFile struct {
	pid                     int
	started, socket, status string
}

func readPidFile(data string) (pidFile, bool) {
	text, err := os.ReadFile(filepath.Join(data, "postmaster.pid"))
	if err != nil {
		return pidFile{}, false
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 8 {
		return pidFile{}, false
	}
	pid, err := strconv.Atoi(lines[0])
	return pidFile{pid: pid, started: lines[2], socket: lines[4], status: strings.TrimSpace(lines[7])}, err == nil
}

func (p pidFile) alive() bool {
	err := syscall.Kill(p.pid, 0)
	return err == nil || errors.Is(err, syscall.EPERM)
}
