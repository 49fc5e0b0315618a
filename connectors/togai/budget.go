package togai

import "tieline/connectors"

// budget stays a tenth below what a trial organization may call a second: 10, and 50 for usage, which counts apart. Larger
// plans get more on request, and no answer says how much is left. That production has no less, and that both ways to send
// usage share the 50, are our assumptions. https://github.com/zuora/togai-mintlify-docs
func budget(connectors.Mode) connectors.Rate {
	return connectors.Rate{PerSecond: 9, Burst: 5, Part: part}
}

func part(_, path string) (connectors.Part, bool) {
	if path == "/ingest" || path == "/ingestBatch" {
		return connectors.Part{Name: "ingest", PerSecond: 45, Burst: 20, Apart: true}, true
	}
	return connectors.Part{}, false
}
