//go:build contract

package togai

import (
	"flag"
	"os"
	"testing"

	"tieline/connectors/conntest"
)

var rewrite = flag.Bool("rewrite", false, "write the table of facts anew from the specification")

// The table says what Togai's specification says, every request is one that it knows, and the simulator answers as it wants.
// TOGAI_SPEC names the specification as JSON; .ci/run makes it where the specification is at hand.
func TestContractSpecification(t *testing.T) {
	file := os.Getenv("TOGAI_SPEC")
	if file == "" {
		t.Fatal("TOGAI_SPEC must name Togai's specification as JSON")
	}
	spec := conntest.ReadSpec(t, file)
	spec.Nulls = []string{"nextToken"} // at the end of a list
	spec.CheckTable(t, factsFile, *rewrite)
	spec.CheckAnswers(t, conntest.Facts(t, factsFile), recorded(t))
}
