package scheduler

import (
	"encoding/json"
	"testing"
	"time"

	"tieline/connectors"
	"tieline/connectors/conntest"
)

func TestConforms(t *testing.T) {
	t.Parallel()
	conntest.Suite[struct{}]{App: Connector()}.Run(t)
}

func TestEachModeIsAnAccountOfItsOwn(t *testing.T) {
	t.Parallel()
	for _, m := range []connectors.Mode{connectors.Test, connectors.Live} {
		c, _ := conntest.OpenJournal(t, Connector(), "", connectors.Credentials{mode: string(m)})
		who, err := identify(t.Context(), c)
		if err != nil || who.Mode != m || who.AccountID == "" {
			t.Errorf("%s: %+v, %v", m, who, err)
		}
	}
	if _, err := modeOf(connectors.Credentials{mode: "both"}); connectors.KindOf(err) != connectors.Invalid {
		t.Errorf("both: %v", err)
	}
}

// What a clock starts is read back as it was made, and what a person starts needs no more than {}.
func TestPayloads(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 6, 0, 0, 0, time.FixedZone("CET", 3600))
	fired, _ := Connector().Trigger("schedule.fired")
	body, err := json.Marshal(fired.Tick(at, "0 6 * * *", "Europe/Berlin"))
	if err != nil {
		t.Fatal(err)
	}
	o, err := fired.Decode(body)
	if err != nil || !o.At.Equal(at) || len(fired.Output.Validate(json.RawMessage(body))) > 0 {
		t.Errorf("%s: %+v, %v", body, o, err)
	}
	requested, _ := Connector().Trigger("run.requested")
	for body, good := range map[string]bool{`{}`: true, `{"since": "2026-01-01", "deep": {"a": [1]}}`: true, `null`: false, `[]`: false, `"x"`: false} {
		if bad := requested.Output.Validate(json.RawMessage(body)); (len(bad) == 0) != good {
			t.Errorf("%s: %v", body, bad)
		}
	}
	for _, t2 := range []connectors.Trigger{fired, requested} {
		if _, err := t2.Manual([]byte(`{}`)); err != nil || len(t2.Output.Validate(json.RawMessage(`{}`))) > 0 {
			t.Errorf("%s by hand: %v", t2.Key, err)
		}
	}
}
