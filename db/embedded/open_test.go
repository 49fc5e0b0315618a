//go:build linux || darwin

package embedded

import (
	"os"
	"path/filepath"
	"testing"
)

// TestOpenRefusesWhatWasPlanted: as root we write into a directory that is another account's, which may have put a link
// in a file's place.
func TestOpenRefusesWhatWasPlanted(t *testing.T) {
	t.Parallel()
	dir, victim := t.TempDir(), filepath.Join(t.TempDir(), "victim")
	if err := os.WriteFile(victim, []byte("precious"), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Symlink(victim, filepath.Join(dir, "soft")); err != nil {
		t.Fatal(err)
	}
	if err := os.Link(victim, filepath.Join(dir, "hard")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"soft", "hard", "folder"} {
		if f, err := open(dir, name, os.O_WRONLY); err == nil {
			f.Close()
			t.Errorf("%s was opened", name)
		}
	}
	if text, err := os.ReadFile(victim); err != nil || string(text) != "precious" {
		t.Errorf("the file behind the links is %q now (%v)", text, err)
	}
	f, err := open(dir, "plain", os.O_WRONLY)
	if err != nil {
		t.Fatal(err)
	}
	f.Close()
}
