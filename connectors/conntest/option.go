package conntest

import (
	"strings"
	"testing"

	"tieline/connectors"
)

// options tries what an action offers for the fields of its input.
func (s Suite[W]) options(t *testing.T, a connectors.Action, how Action[W]) {
	t.Helper()
	for field, offer := range a.Options {
		choice, ok := how.Options[field]
		if !ok {
			t.Errorf("nothing says how the options of %s are tried", field)
			continue
		}
		t.Run("options of "+field, func(t *testing.T) {
			t.Parallel()
			s.offers(t, offer, choice)
		})
	}
	for field := range how.Options {
		if a.Options[field] == nil {
			t.Errorf("nothing is offered for %s", field)
		}
	}
}

func (s Suite[W]) offers(t *testing.T, offer connectors.Offer, choice Choice[W]) {
	n := 2*choice.Page + 1
	w, site := s.World(t, Options{EmptyLastPage: true})
	choice.Many(t, w, s.other(t, site), n)
	c := s.watch(t, site)
	all := walkOptions(t, c, offer, "", 3)
	if len(all) != n {
		t.Errorf("%d are offered, want %d", len(all), n)
	}
	some := walkOptions(t, c, offer, strings.ToUpper(choice.Search), 0)
	if len(some) == 0 || len(some) == len(all) {
		t.Errorf("%q finds %d of %d", choice.Search, len(some), len(all))
	}
	for _, o := range some {
		if !strings.Contains(strings.ToLower(o.Value+" "+o.Label+" "+o.Detail), strings.ToLower(choice.Search)) {
			t.Errorf("%q finds %+v", choice.Search, o)
		}
	}
	if none := walkOptions(t, c, offer, `no such "thing' \ (4711)`, 0); len(none) != 0 {
		t.Errorf("what is not there is found: %v", none)
	}
	s.refusals(t, "", func(t *testing.T) (*watched, func() error) {
		_, site := s.World(t, Options{})
		c := s.watch(t, site)
		return c, func() error {
			_, err := offer(t.Context(), c.Conn, "", "")
			return err
		}
	})
	s.cancelled(t, "options", func(c *watched) func(*testing.T) error {
		return func(t *testing.T) error {
			_, err := offer(ended(t), c.Conn, "", "")
			return err
		}
	})
}

// walkOptions reads all that is offered, in so many pages at least.
func walkOptions(t *testing.T, c *watched, offer connectors.Offer, search string, least int) (all []connectors.Option) {
	t.Helper()
	seen := map[string]bool{}
	after := ""
	for pages := 1; ; pages++ {
		p, err := offer(t.Context(), c.Conn, search, after)
		if c.hear(err) != nil {
			t.Fatal(err)
		}
		for _, o := range p.Options {
			if o.Value == "" || o.Label == "" || seen[o.Value] {
				t.Errorf("%q offers %+v, seen before: %v", search, o, seen[o.Value])
			}
			seen[o.Value] = true
		}
		all = append(all, p.Options...)
		if after = p.After; after == "" {
			if pages < least {
				t.Errorf("%d pages, want %d", pages, least)
			}
			return all
		}
		if pages == 10 {
			t.Fatalf("%d pages, and no end", pages)
		}
	}
}
