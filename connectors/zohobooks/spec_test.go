//go:build contract

package zohobooks

import (
	"flag"
	"os"
	"testing"

	"tieline/connectors/conntest"
)

var rewrite = flag.Bool("rewrite", false, "write the table of facts anew from the specification")

// The table says what Zoho Books' specification says, every request is one that it knows, and the simulator answers as it
// wants. ZOHO_SPEC names the specification; .ci/run does where it is at hand.
func TestContractSpecification(t *testing.T) {
	file := os.Getenv("ZOHO_SPEC")
	if file == "" {
		t.Fatal("ZOHO_SPEC must name Zoho Books' specification")
	}
	spec := conntest.ReadSpec(t, file)
	spec.CheckTable(t, factsFile, *rewrite)
	spec.CheckAnswers(t, conntest.Facts(t, factsFile), recorded(t))
}
