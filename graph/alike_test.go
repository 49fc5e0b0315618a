package graph

import (
	"fmt"
	"strings"
	"sync"
	"testing"

	"tieline/db"
)

// TestAlike: each subscriber gets what it asked for, whoever else asked for the same or for something else.
func TestAlike(t *testing.T) {
	t.Parallel()
	s := newFeedSite(t)
	run := s.addRun(s.org)
	f := s.feed(nil)
	url := s.serve(f)
	const each, changes = 6, 40
	asked := []struct{ query, variables, want string }{
		{"subscription{m:runUpdates{change{version}}}", "{}", `{"data":{"m":{"change":{"version":%[1]d}}}}`},
		{"subscription{m:runUpdates{change{version state}}}", "{}", `{"data":{"m":{"change":{"version":%[1]d,"state":"RUNNING"}}}}`},
		{"subscription{m:runUpdates{change{version}run{record}}}", "{}", `{"data":{"m":{"change":{"version":%[1]d},"run":{"record":"` + run.RecordID + `"}}}}`},
		{"subscription($s:Boolean!){m:runUpdates{change{version state@include(if:$s)}}}", `{"s":true}`, `{"data":{"m":{"change":{"version":%[1]d,"state":"RUNNING"}}}}`},
		{"subscription($s:Boolean!){m:runUpdates{change{version state@include(if:$s)}}}", `{"s":false}`, `{"data":{"m":{"change":{"version":%[1]d}}}}`},
		{"subscription($s:Boolean!){m:runUpdates{...U}}fragment U on RunUpdate{change{version ...on RunChange@skip(if:$s){state}}}", `{"s":true}`, `{"data":{"m":{"change":{"version":%[1]d}}}}`},
		{"subscription A{m:runUpdates{change{version}}}subscription B{m:runUpdates{change{state}}}", "B", `{"data":{"m":{"change":{"state":"RUNNING"}}}}`},
		{"subscription A{m:runUpdates{change{version}}}subscription B{m:runUpdates{change{state}}}", "A", `{"data":{"m":{"change":{"version":%[1]d}}}}`},
	}
	var reading sync.WaitGroup
	for i := range len(asked) * each {
		a := asked[i%len(asked)]
		w := ready(t, url)
		more := `"variables":` + a.variables
		if !strings.HasPrefix(a.variables, "{") {
			more = `"operationName":"` + a.variables + `"`
		}
		w.send(fmt.Sprintf(`{"id":"a","type":"subscribe","payload":{"query":%q,%s}}`, a.query, more))
		reading.Go(func() {
			for n := range changes {
				want := a.want
				if strings.Contains(want, "%") {
					want = fmt.Sprintf(want, n+1)
				}
				if got := string(w.want("next").Payload); got != want {
					t.Errorf("%s: %s, want %s", a.query, got, want)
					return
				}
			}
		})
	}
	eventually(t, "all follow", func() bool { return f.following() == len(asked)*each })
	for n := range changes {
		s.add(db.Change{RunID: run.ID, Version: int64(n + 1)})
	}
	reading.Wait()
}
