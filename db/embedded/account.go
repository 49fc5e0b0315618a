//go:build linux || darwin

package embedded

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"strconv"
	"strings"
	"syscall"
)

// account is who the server runs as: ourselves, or another one when we are root, which Postgres refuses.
type account struct {
	name string
	self string              // who connects
	cred *syscall.Credential // nil when it is ourselves
}

func serverAccount() (account, error) {
	me, err := user.Current()
	if err != nil || me.Username == "" {
		return account{}, fmt.Errorf("account %d has no name on this system, which initdb needs: set DATABASE_URL", os.Geteuid())
	}
	if os.Geteuid() != 0 {
		return account{name: me.Username, self: me.Username}, nil
	}
	for _, name := range []string{"postgres", "_postgres", "nobody"} {
		u, err := user.Lookup(name)
		if err != nil {
			continue
		}
		uid, err1 := strconv.ParseUint(u.Uid, 10, 32)
		gid, err2 := strconv.ParseUint(u.Gid, 10, 32)
		if err1 == nil && err2 == nil && uid != 0 {
			return account{name: name, self: me.Username, cred: &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}}, nil
		}
	}
	return account{}, errors.New("Postgres does not run as root, and there is no account postgres, _postgres or nobody to run it as: " +
		"run as an ordinary user or set DATABASE_URL")
}

// own hands files to the account.
func (a account) own(paths ...string) error {
	if a.cred == nil {
		return nil
	}
	for _, p := range paths {
		if err := os.Chown(p, int(a.cred.Uid), int(a.cred.Gid)); err != nil {
			return err
		}
	}
	return nil
}

// reach makes sure that the account gets into a directory: root's own ones are closed to it.
func (a account) reach(ctx context.Context, dir, setting string) error {
	if a.cred == nil {
		return nil
	}
	cmd := exec.CommandContext(ctx, "/bin/sh", "-c", `cd -- "$1"`, "sh", dir)
	cmd.Dir, cmd.SysProcAttr = "/", &syscall.SysProcAttr{Credential: a.cred}
	if cmd.Run() != nil {
		return fmt.Errorf("Postgres runs as %q, because we are root, and that account cannot reach %s: "+
			"choose another directory (%s), run as an ordinary user, or set DATABASE_URL", a.name, dir, setting)
	}
	return nil
}

// run runs a program of Postgres to its end. Its environment is bare: no stray PG variables, a known locale.
func (a account) run(ctx context.Context, dir, program string, args ...string) error {
	cmd := exec.CommandContext(ctx, program, args...)
	cmd.Dir, cmd.Env, cmd.SysProcAttr = dir, environment, &syscall.SysProcAttr{Credential: a.cred}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w: %s", program, cmp.Or(ctx.Err(), err), strings.TrimSpace(string(out)))
	}
	return nil
}

// LC_ALL also keeps macOS from "postmaster became multithreaded during startup".
var environment = []string{"LC_ALL=C", "TZ=UTC", "PATH=/usr/local/bin:/usr/bin:/bin"}
