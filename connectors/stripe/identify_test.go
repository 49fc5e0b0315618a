package stripe

import "testing"

// Whoever makes a restricted key is told of every right that some trigger or action of ours needs, and of no other.
func TestPermissionsNameAll(t *testing.T) {
	t.Parallel()
	known := map[string]bool{"webhook": true}
	for _, tr := range Connector().Triggers {
		known[tr.Key] = true
	}
	reads := map[string]bool{}
	for _, a := range Connector().Actions {
		known[a.Key], reads[a.Key] = true, a.Reads
	}
	named, writes := map[string]bool{"webhook": true}, map[string]bool{}
	for _, s := range scopes {
		for _, k := range s.readFor {
			named[k] = true
		}
		for _, k := range s.writeFor {
			named[k], writes[k] = true, true
		}
	}
	for k := range known {
		if !named[k] {
			t.Errorf("%s needs no permission", k)
		}
	}
	for k := range named {
		if !known[k] {
			t.Errorf("a permission is for %s, which is nothing of ours", k)
		}
	}
	for k, r := range reads {
		if writes[k] == r {
			t.Errorf("%s reads only: %v, yet may write: %v", k, r, writes[k])
		}
	}
}
