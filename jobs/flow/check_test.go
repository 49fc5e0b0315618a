package flow_test

import (
	"io/fs"
	"testing"

	"tieline/connectors"
	"tieline/connectors/catalog"
	"tieline/jobs/flow"
)

func allApps(t testing.TB) *connectors.Registry {
	t.Helper()
	apps, err := catalog.New()
	if err != nil {
		t.Fatal(err)
	}
	return apps
}

// TestShippedFlowsAreWhole: the flows that come with it have nothing wrong with them, and nothing odd.
func TestShippedFlowsAreWhole(t *testing.T) {
	t.Parallel()
	names, err := fs.Glob(flow.Shipped, "shipped/*.json")
	if err != nil || len(names) == 0 {
		t.Fatalf("%d flows, %v", len(names), err)
	}
	apps := allApps(t)
	for _, name := range names {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc, err := flow.Shipped.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			for _, i := range flow.Examine(doc, apps) {
				t.Errorf("%v %s: %s (expected %q, found %q)", i.Path, i.Code, i, i.Expected, i.Found)
			}
		})
	}
}
