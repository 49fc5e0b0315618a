package zuora

import (
	"strings"
	"testing"

	"tieline/connectors"
	"tieline/connectors/zuora/zuorasim"
)

var endpointOfOurs = connectors.Endpoint{ConnectionID: "con_1", Root: "https://t.test", URL: "https://t.test/webhooks/zuora/x", Generation: 1}

func names(s *zuorasim.Sim) string {
	var out []string
	for _, n := range s.Notifications() {
		out = append(out, n.Name)
	}
	return strings.Join(out, ", ")
}

// TestRegister keeps what is good, makes what is missing anew in another generation, and leaves what is not ours alone.
func TestRegister(t *testing.T) {
	t.Parallel()
	s, c, _ := world(t)
	e := endpointOfOurs
	first, err := register(t.Context(), c, e)
	if err != nil || first.ID == "" || !strings.HasPrefix(first.Secret, "callout:basic:tieline:") || names(s) != "Tieline con_1 1 account_created, Tieline con_1 1 subscription_created" {
		t.Fatalf("%+v, %v: %s", first, err, names(s))
	}
	e.KnownID = first.ID
	if kept, err := register(t.Context(), c, e); err != nil || kept.ID != first.ID || kept.Secret != "" || kept.Gone {
		t.Errorf("kept: %+v, %v", kept, err)
	}
	// Another process, which does not know the secret yet, is given the same.
	other, _ := connect(t, s)
	other.Credentials = c.Credentials
	e.KnownID = ""
	if again, err := register(t.Context(), other, e); err != nil || again != first {
		t.Errorf("again: %+v, %v", again, err)
	}
	// A copy of our database elsewhere has the same ids.
	copied := endpointOfOurs
	copied.Root, copied.URL = "https://copy.test", "https://copy.test/webhooks/zuora/x"
	if _, err := register(t.Context(), other, copied); err != nil || len(s.Notifications()) != 4 {
		t.Errorf("a copy: %v: %s", err, names(s))
	}
	// With another generation beside, both are there; then the new one alone.
	e.Generation, e.Beside = 2, first.ID
	second, err := register(t.Context(), c, e)
	if err != nil || second.Secret == first.Secret || len(s.Notifications()) != 6 {
		t.Fatalf("%+v, %v: %s", second, err, names(s))
	}
	e.Beside, e.KnownID = "", second.ID
	if _, err := register(t.Context(), c, e); err != nil || names(s) != "Tieline con_1 1 account_created, Tieline con_1 1 subscription_created, Tieline con_1 2 account_created, Tieline con_1 2 subscription_created" { // the copy's, and this
		t.Errorf("%v: %s", err, names(s))
	}
	// Somebody removes one: this generation is gone, and the next is made.
	for _, n := range s.Notifications() {
		if n.Name == "Tieline con_1 2 account_created" {
			if err := deleteDefinition(t.Context(), other, n.ID); err != nil {
				t.Fatal(err)
			}
		}
	}
	if gone, err := register(t.Context(), c, e); err != nil || gone.ID != "" || !gone.Gone {
		t.Errorf("gone: %+v, %v", gone, err)
	}
	e.Generation = 3
	if third, err := register(t.Context(), c, e); err != nil || third.ID == "" || third.Secret == "" {
		t.Errorf("%+v, %v: %s", third, err, names(s))
	}
	// Somebody removes the events, as if the tenant were another: they are made anew, too.
	e.KnownID = "con_1/3"
	s.RemoveEvents()
	if gone, err := register(t.Context(), c, e); err != nil || !gone.Gone {
		t.Errorf("without events: %+v, %v", gone, err)
	}
	e.KnownID, e.Generation = "", 4
	if fourth, err := register(t.Context(), c, e); err != nil || fourth.ID == "" {
		t.Errorf("%+v, %v", fourth, err)
	}
	if err := remove(t.Context(), c, e); err != nil || names(s) != "Tieline con_1 1 account_created, Tieline con_1 1 subscription_created" {
		t.Errorf("removed: %v: %s", err, names(s))
	}
}

// TestRegisterWhereItMayNot says so.
func TestRegisterWhereItMayNot(t *testing.T) {
	t.Parallel()
	c := scripted(t, 403, nil, `{"reasons":[{"code":"Forbidden","message":"no right"}]}`)
	if _, err := register(t.Context(), c, endpointOfOurs); connectors.KindOf(err) != connectors.Forbidden {
		t.Error(err)
	}
}
