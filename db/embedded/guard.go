//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"time"
)

// The guard is Postgres' parent. It watches a pipe (file 3) that only our process holds open, so a clean stop, a panic,
// os.Exit and kill -9 all end alike: the pipe closes and Postgres shuts down.
const guardScript = `"$@" 3<&- & pg=$!
{ read -r _ <&3; kill -INT $pg; } 2>/dev/null &
w=$!; exec 3<&-; wait $pg; rc=$?; kill $w 2>/dev/null
cd /
if [ -n "$REMOVE" ]; then rm -rf -- "$REMOVE"; fi
if [ -n "$REMOVE_SOCKET" ]; then rm -rf -- "$REMOVE_SOCKET"; fi
exit $rc`

const (
	stopWithin = 15 * time.Second // for a fast shutdown; then Postgres is told to quit without one
	quitWithin = 5 * time.Second
)

type guard struct {
	alive *os.File      // closing it stops the server
	done  chan struct{} // closed when the guard has ended
	err   error         // how it ended; read after done
	pid   int           // of the postmaster
	clean []string      // directories to remove, where the guard's account may not
}

// launch starts Postgres under its guard and waits until it takes connections.
func (c cluster) launch(ctx context.Context, bin binaries) (*Server, error) {
	socket, borrowed, err := c.socketDir()
	if err != nil {
		return nil, err
	}
	hba, ident, err := c.access()
	if err != nil {
		return nil, err
	}
	log, err := c.openLog()
	if err != nil {
		return nil, err
	}
	defer log.Close()
	watched, alive, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	defer watched.Close()

	cmd := exec.Command("/bin/sh", "-c", guardScript, "guard", bin.postgres(), "-D", c.data)
	for _, setting := range append(c.settings(), "hba_file="+hba, "ident_file="+ident, "unix_socket_directories="+quoted(socket)) {
		cmd.Args = append(cmd.Args, "-c", setting)
	}
	cmd.Dir, cmd.Env = c.cfg.Dir, environment
	cmd.Stdout, cmd.Stderr = log, log // never ours: go test would wait for them
	cmd.ExtraFiles = []*os.File{watched}
	// A session of its own, so that Ctrl-C reaches us alone and we stop the server last.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Credential: c.acct.cred}
	g := &guard{alive: alive, done: make(chan struct{})}
	if c.cfg.Temporary {
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "REMOVE="+c.cfg.Dir)
		g.clean = append(g.clean, c.cfg.Dir)
	}
	if borrowed {
		cmd.Env = append(cmd.Env[:len(cmd.Env):len(cmd.Env)], "REMOVE_SOCKET="+socket)
		g.clean = append(g.clean, socket)
	}
	before, _ := readPidFile(c.data) // of a crashed one; its "ready" says nothing
	if err := cmd.Start(); err != nil {
		alive.Close()
		return nil, fmt.Errorf("starting Postgres: %w", err)
	}
	go func() {
		g.err = cmd.Wait()
		close(g.done)
	}()
	if err := g.ready(ctx, c.data, before); err != nil {
		tail := c.logTail()
		return nil, errors.Join(fmt.Errorf("starting Postgres: %w: %s", err, tail), g.stop())
	}
	return &Server{socket: socket, own: g}, nil
}

// ready polls postmaster.pid as pg_ctl does.
func (g *guard) ready(ctx context.Context, data string, before pidFile) error {
	for {
		if p, ok := readPidFile(data); ok && p.status == "ready" && (p.pid != before.pid || p.started != before.started) {
			g.pid = p.pid
			return nil
		}
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-g.done:
			return fmt.Errorf("it ended at once (%v)", g.err)
		case <-time.After(pollEvery):
		}
	}
}

func (g *guard) stop() error {
	g.alive.Close()
	err := g.wait(stopWithin, 0)
	if err != nil {
		err = errors.Join(err, g.wait(quitWithin, syscall.SIGQUIT))
	}
	for _, dir := range g.clean {
		err = errors.Join(err, os.RemoveAll(dir))
	}
	return err
}

// wait waits for the end, after sending the postmaster a signal if there is one to send.
func (g *guard) wait(d time.Duration, sig syscall.Signal) error {
	if sig != 0 && g.pid != 0 {
		syscall.Kill(g.pid, sig)
	}
	select {
	case <-g.done:
		return nil
	case <-time.After(d):
		return fmt.Errorf("Postgres (pid %d) did not stop within %s", g.pid, d)
	}
}

// Stop shuts the server down and waits for it; open connections are cut. An adopted server is left alone. Calling it
// twice does no harm. Not calling it neither: the server ends with the process.
func (s *Server) Stop() error {
	if s.own == nil {
		return nil
	}
	return s.own.stop()
}

// socketDir is the cluster's directory, or a short one when a socket's path there would be too long, or would be taken
// for a list of hosts.
func (c cluster) socketDir() (dir string, borrowed bool, err error) {
	if len(c.cfg.Dir) <= maxSocketDir && !strings.Contains(c.cfg.Dir, ",") {
		return c.cfg.Dir, false, nil
	}
	base := os.TempDir()
	if len(base) > maxSocketDir/2 {
		base = "/tmp"
	}
	if dir, err = os.MkdirTemp(base, "tieline-pg-"); err != nil {
		return "", false, err
	}
	return dir, true, c.acct.own(dir)
}

// access writes who may connect: our own account and the server's, through the socket, as the role that owns everything.
func (c cluster) access() (hba, ident string, err error) {
	users := fmt.Sprintf("own %s %s\nown %s %[2]s\n", quoted(c.acct.self), role, quoted(c.acct.name))
	err = errors.Join(c.write("hba.conf", "local all all peer map=own\n"), c.write("ident.conf", users))
	return filepath.Join(c.cfg.Dir, "hba.conf"), filepath.Join(c.cfg.Dir, "ident.conf"), err
}

// write writes a file of the directory that the account may read.
func (c cluster) write(name, text string) error {
	f, err := open(c.cfg.Dir, name, os.O_WRONLY)
	if err != nil {
		return err
	}
	err = f.Truncate(0)
	if err == nil {
		_, err = f.WriteString(text)
	}
	if err == nil && c.acct.cred != nil {
		err = f.Chown(int(c.acct.cred.Uid), int(c.acct.cred.Gid))
	}
	return errors.Join(err, f.Close())
}

func (c cluster) settings() []string {
	s := []string{"listen_addresses=", "port=" + port, "max_connections=" + strconv.Itoa(c.cfg.MaxConnections)}
	if c.cfg.Temporary {
		s = append(s, "fsync=off", "synchronous_commit=off", "full_page_writes=off", "wal_level=minimal", "max_wal_senders=0", "shared_buffers=32MB")
	}
	return s
}

func (c cluster) openLog() (*os.File, error) {
	f, err := open(c.cfg.Dir, "log", os.O_WRONLY|os.O_APPEND)
	if err != nil {
		return nil, err
	}
	if info, err := f.Stat(); err == nil && info.Size() > maxLog {
		err = f.Truncate(0)
		if err != nil {
			f.Close()
			return nil, err
		}
	}
	return f, nil
}

// logTail is what the server said last.
func (c cluster) logTail() string {
	f, err := open(c.cfg.Dir, "log", os.O_RDONLY)
	if err != nil {
		return err.Error()
	}
	defer f.Close()
	text, _ := io.ReadAll(f)
	return strings.TrimSpace(string(text[max(0, len(text)-1000):]))
}

// open opens a file of a directory, or makes it. The directory may be another account's, which could have put anything
// there for root to write over: what is not a plain file of one name is refused.
func open(dir, name string, flags int) (*os.File, error) {
	root, err := os.OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	defer root.Close()
	refused := fmt.Errorf("%s is not a plain file and was left as it is: remove it", filepath.Join(dir, name))
	f, err := root.OpenFile(name, flags|os.O_CREATE|syscall.O_NOFOLLOW|syscall.O_NONBLOCK, 0o600)
	if info, e := root.Lstat(name); e == nil && !info.Mode().IsRegular() {
		if err == nil {
			f.Close()
		}
		return nil, refused
	}
	if err != nil {
		return nil, err
	}
	info, err := f.Stat()
	if err == nil {
		if s, ok := info.Sys().(*syscall.Stat_t); !info.Mode().IsRegular() || ok && s.Nlink != 1 {
			err = refused
		}
	}
	if err != nil {
		f.Close()
		return nil, err
	}
	return f, nil
}

// quoted is a name as Postgres' configuration files and lists take it.
func quoted(s string) string { return `"` + strings.ReplaceAll(s, `"`, `""`) + `"` }
