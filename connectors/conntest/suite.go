package conntest

import (
	"cmp"
	"encoding/json"
	"strings"
	"testing"

	"tieline/connectors"
)

// Suite is what a connector hands over to be tried by: how its vendor behaves is its simulator's affair, and all that the
// suite itself knows of a simulator is its control API. W is what the connector's own functions need of it.
type Suite[W any] struct {
	App connectors.Connector
	// World starts a simulator of its own for one test. Nil for an app that calls nobody.
	World func(t *testing.T, o Options) (W, Site)
	// Actions and Triggers say by key how each is tried. One that is missing fails the suite.
	Actions  map[string]Action[W]
	Triggers map[string]Trigger[W]
	// Kinds are the refusals that the vendor documents besides the usual ones, by status, and those that mean something else.
	Kinds map[int]connectors.Kind
	// Untimed says that deliveries tell no time, so that an old one looks like any other.
	Untimed bool
	// Hook has the simulator deliver to url, where the vendor has no API to register a webhook with, and answers its secrets.
	Hook func(t *testing.T, w W, url string) []string
}

// Options are how a world is to be.
type Options struct {
	EmptyLastPage bool // lists that are full end with a page more, which is empty
}

// Site is where a world is, and what opens it.
type Site struct {
	URL         string
	Login       string // where its authorization server is, for an app that a person lets us into
	Credentials connectors.Credentials
	Tokens      connectors.Tokens // of an app with a Login: what all connections of the site share, with a good token in it
}

// Action says how an action is tried. The zero value: its sample is run as it is, and it lists nothing.
type Action[W any] struct {
	// Before makes what the sample names, and answers what stands for the ids in it: {"cus_sample": "cus_real"}. c is
	// another process's connection.
	Before func(t *testing.T, w W, c connectors.Conn) map[string]string
	// Page is how many records a page of a list action has, and Many makes n records and answers the input that lists them
	// all, and nothing else.
	Page int
	Many func(t *testing.T, w W, c connectors.Conn, n int) any
	// Options says how the options of the input's fields are tried, by path.
	Options map[string]Choice[W]
}

// Choice says how the options of a field are tried: Many makes n records, which it offers in pages of Page. The text in
// Search finds some of them and not all.
type Choice[W any] struct {
	Page   int
	Many   func(t *testing.T, w W, c connectors.Conn, n int)
	Search string
}

// Trigger says how a trigger is tried.
type Trigger[W any] struct {
	// Happen makes it happen once more, and answers the record's id. c is another process's connection.
	Happen func(t *testing.T, w W, c connectors.Conn) (record string)
	// Page is how many occurrences a page of its list has; 0 where the vendor gives all at once.
	Page int
	// Quiet says that the simulator delivers no webhook for it.
	Quiet bool
}

// Run tries everything.
func (s Suite[W]) Run(t *testing.T) {
	t.Helper()
	s.descriptor(t)
	if s.World == nil {
		return
	}
	s.connection(t)
	for _, a := range s.App.Actions {
		how, ok := s.Actions[a.Key]
		if !ok {
			t.Errorf("nothing says how %s is tried", a.Key)
			continue
		}
		t.Run(a.Key, func(t *testing.T) {
			t.Parallel()
			s.action(t, a, how)
		})
	}
	for _, tr := range s.App.Triggers {
		how, ok := s.Triggers[tr.Key]
		if !ok {
			t.Errorf("nothing says how %s is tried", tr.Key)
			continue
		}
		t.Run(tr.Key, func(t *testing.T) {
			t.Parallel()
			s.trigger(t, tr, how)
		})
	}
}

// stage is a world with one action ready to be run in it.
type stage struct {
	site  Site
	sim   control
	input json.RawMessage
}

func (s Suite[W]) stage(t *testing.T, a connectors.Action, how Action[W]) stage {
	t.Helper()
	w, site := s.World(t, Options{})
	input := string(a.Sample)
	if how.Before != nil {
		for sample, id := range how.Before(t, w, s.other(t, site)) {
			if !strings.Contains(input, sample) {
				t.Fatalf("the sample of %s does not name %s", a.Key, sample)
			}
			input = strings.ReplaceAll(input, sample, id)
		}
	}
	return stage{site, control{t, site.URL}, json.RawMessage(input)}
}

// other is a connection of another process, whose journal knows nothing.
func (s Suite[W]) other(t *testing.T, site Site) connectors.Conn {
	t.Helper()
	c, _ := OpenSite(t, s.App, site)
	return c
}

// reads says whether a call reads.
func (s Suite[W]) reads(r request) bool {
	return r.Method == "GET" || r.Method == "HEAD" || s.App.IsRead != nil && s.App.IsRead(r.Method, r.Path)
}

// kind is what a refusal with a status means.
func (s Suite[W]) kind(status int, write bool) connectors.Kind {
	return cmp.Or(s.Kinds[status], connectors.KindOfStatus(status, write))
}
