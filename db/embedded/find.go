//go:build linux || darwin

package embedded

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// binaries is a directory with initdb and postgres of one major version.
type binaries struct {
	dir   string
	major int
}

func (b binaries) initdb() string   { return filepath.Join(b.dir, "initdb") }
func (b binaries) postgres() string { return filepath.Join(b.dir, "postgres") }

// places is where installed programs may be: directories searched for a name, and patterns of Postgres installations.
type places struct {
	path  []string
	globs []string
}

func installed() places {
	return places{
		path: filepath.SplitList(os.Getenv("PATH")),
		globs: []string{
			"/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin", "/usr/libexec/postgresql*",
			"/opt/homebrew/opt/postgresql@*/bin", "/usr/local/opt/postgresql@*/bin",
			"/Applications/Postgres.app/Contents/Versions/*/bin", "/opt/local/lib/postgresql*/bin", "/Library/PostgreSQL/*/bin",
		},
	}
}

// program is the first executable of that name, with links resolved: "" when there is none.
func (p places) program(name string) string {
	for _, dir := range p.path {
		file := filepath.Join(dir, name)
		if _, err := exec.LookPath(file); err == nil && filepath.IsAbs(file) {
			if real, err := filepath.EvalSymlinks(file); err == nil {
				return real
			}
		}
	}
	return ""
}

// binaries lists what is installed and new enough: the one on PATH first, then by version, newest first.
func (p places) binaries(ctx context.Context) []binaries {
	var dirs []string
	if file := p.program("postgres"); file != "" {
		dirs = append(dirs, filepath.Dir(file))
	}
	if file := p.program("pg_config"); file != "" { // client packages have it too, so its word needs checking
		if out, err := exec.CommandContext(ctx, file, "--bindir").Output(); err == nil {
			dirs = append(dirs, strings.TrimSpace(string(out)))
		}
	}
	preferred := len(dirs)
	for _, glob := range p.globs {
		more, _ := filepath.Glob(glob)
		dirs = append(dirs, more...)
	}
	var found, others []binaries
	seen := map[string]bool{}
	for i, dir := range dirs {
		b, err := inspect(ctx, dir)
		if err != nil || b.major < minMajor || seen[dir] {
			continue
		}
		seen[dir] = true
		if i < preferred {
			found = append(found, b)
		} else {
			others = append(others, b)
		}
	}
	slices.SortStableFunc(others, func(a, b binaries) int { return b.major - a.major })
	return append(found, others...)
}

var versionLine = regexp.MustCompile(`^postgres \(PostgreSQL\) (\d+)`)

// inspect reads the version of the binaries in dir, which must be there and must run on this system.
func inspect(ctx context.Context, dir string) (binaries, error) {
	b := binaries{dir: dir}
	if _, err := exec.LookPath(b.initdb()); err != nil {
		return b, err
	}
	out, err := exec.CommandContext(ctx, b.postgres(), "--version").Output()
	if err != nil {
		return b, err
	}
	m := versionLine.FindSubmatch(out)
	if m == nil {
		return b, fmt.Errorf("%s --version says %q", b.postgres(), out)
	}
	b.major, err = strconv.Atoi(string(m[1]))
	return b, err
}

// choose finds binaries for a cluster of major version want, or for a new cluster when want is 0.
func choose(ctx context.Context, cfg Config, from places, want int) (binaries, error) {
	fits := func(b binaries) bool { return want == 0 && b.major >= minMajor || b.major == want }
	mismatch := func(have string) error {
		return fmt.Errorf("the data in %s was made by PostgreSQL %d, and there is only %s; nothing was changed; ways out:\n"+
			"  - install PostgreSQL %[2]d\n"+
			"  - dump the data with PostgreSQL %[2]d, and restore it into the database of a new TIELINE_DATA_DIR\n"+
			"  - set DATABASE_URL to a Postgres that runs elsewhere\n"+
			"  - set TIELINE_POSTGRES_BIN to a directory that holds initdb and postgres of PostgreSQL %[2]d", cfg.Dir, want, have)
	}
	if cfg.Bin != "" {
		b, err := inspect(ctx, cfg.Bin)
		switch {
		case err != nil:
			return b, fmt.Errorf("TIELINE_POSTGRES_BIN: no working initdb and postgres in %s: %w", cfg.Bin, err)
		case want != 0 && !fits(b):
			return b, mismatch(fmt.Sprintf("PostgreSQL %d in %s (TIELINE_POSTGRES_BIN)", b.major, b.dir))
		case !fits(b):
			return b, fmt.Errorf("TIELINE_POSTGRES_BIN: PostgreSQL %d in %s is older than %d", b.major, b.dir, minMajor)
		}
		return b, nil
	}
	have := from.binaries(ctx)
	if i := slices.IndexFunc(have, fits); i >= 0 {
		return have[i], nil
	}
	if want != 0 && want != packageMajor {
		versions := "PostgreSQL " + strconv.Itoa(packageMajor) + " to download"
		for _, b := range have {
			versions += fmt.Sprintf(", PostgreSQL %d in %s", b.major, b.dir)
		}
		return binaries{}, mismatch(versions)
	}
	dir, err := download(ctx, cfg, from)
	if err != nil {
		return binaries{}, fmt.Errorf("no PostgreSQL %d or later is installed and none could be downloaded: %w\n%s", max(want, minMajor), err, waysOut)
	}
	b, err := inspect(ctx, dir)
	if err != nil {
		if exit, ok := errors.AsType[*exec.ExitError](err); ok {
			err = fmt.Errorf("%w: %s", err, exit.Stderr)
		}
		return b, fmt.Errorf("the downloaded PostgreSQL does not run on this system (it wants glibc 2.27 or macOS 13): %w\n%s", err, waysOut)
	}
	return b, nil
}
