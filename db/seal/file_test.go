package seal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"
)

// TestKept: what a key has sealed nothing else opens.
func TestKept(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "keys")
	first, err := Kept(path)
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(path); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v (%v)", info, err)
	}
	if again, err := Kept(path); err != nil || again.First() != first.First() {
		t.Errorf("the second time %v (%v), not %v", again, err, first)
	}
	if err := create(path, []byte("second")); !errors.Is(err, fs.ErrExist) {
		t.Error(err)
	}
	if err := os.WriteFile(path, []byte("no key"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := Kept(path); err == nil {
		t.Error("what is no key was taken for one")
	}
}
