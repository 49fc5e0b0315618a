package catalog_test

import (
	"testing"

	"tieline/connectors/catalog"
)

func TestDescriptorsAreGood(t *testing.T) {
	t.Parallel()
	r, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	for _, key := range []string{"scheduler", "stripe", "togai", "zohobooks", "zuora"} {
		if _, ok := r.App(key); !ok {
			t.Errorf("%s is missing", key)
		}
	}
}
