//go:build contract

package zuora

import (
	"flag"
	"os"
	"testing"

	"tieline/connectors/conntest"
)

var rewrite = flag.Bool("rewrite", false, "write the table of facts anew from the specification")

// The table says what Zuora's specification says, every request is one that it knows, and the simulator answers as it wants.
// ZUORA_SPEC names the specification; .ci/run does where it is at hand.
func TestContractSpecification(t *testing.T) {
	file := os.Getenv("ZUORA_SPEC")
	if file == "" {
		t.Fatal("ZUORA_SPEC must name Zuora's specification")
	}
	spec := conntest.ReadSpec(t, file)
	spec.Nulls = []string{"subscriptionEndDate"} // of one that does not end
	spec.CheckTable(t, factsFile, *rewrite)
	spec.CheckAnswers(t, conntest.Facts(t, factsFile), recorded(t))
}
