package flow

import (
	"strings"
	"testing"
	"time"
)

func TestClock(t *testing.T) {
	t.Parallel()
	for name, x := range map[string]struct {
		cron, zone, after string
		want              []string
	}{
		"each day":                    {"0 6 * * *", "Europe/Berlin", "2026-11-28T12:00:00Z", []string{"2026-11-29T05:00:00Z", "2026-11-30T05:00:00Z"}},
		"across the spring":           {"0 6 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T04:00:00Z", "2026-03-30T04:00:00Z"}},
		"left out in spring":          {"30 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:30:00Z"}},
		"twice in autumn":             {"30 2 * * *", "Europe/Berlin", "2026-10-24T12:00:00Z", []string{"2026-10-25T00:30:00Z", "2026-10-26T01:30:00Z"}},
		"between the two":             {"30 2 * * *", "Europe/Berlin", "2026-10-25T00:45:00Z", []string{"2026-10-26T01:30:00Z"}},
		"left out where it is behind": {"30 2 * * *", "America/New_York", "2026-03-08T05:00:00Z", []string{"2026-03-08T07:00:00Z", "2026-03-09T06:30:00Z"}},
		"several left out are one":    {"0,20,40 2 * * *", "Europe/Berlin", "2026-03-28T12:00:00Z", []string{"2026-03-29T01:00:00Z", "2026-03-30T00:00:00Z"}},
		"quarters in spring":          {"*/15 * * * *", "Europe/Berlin", "2026-03-29T00:40:00Z", []string{"2026-03-29T00:45:00Z", "2026-03-29T01:00:00Z", "2026-03-29T01:15:00Z"}},
		"hours in autumn":             {"0 * * * *", "Europe/Berlin", "2026-10-24T23:30:00Z", []string{"2026-10-25T00:00:00Z", "2026-10-25T01:00:00Z", "2026-10-25T02:00:00Z"}},
		"half an hour":                {"15 2 * * *", "Australia/Lord_Howe", "2026-10-03T12:00:00Z", []string{"2026-10-03T15:30:00Z", "2026-10-04T15:15:00Z"}},
		"midnight that is left out":   {"0 0 * * *", "America/Asuncion", "2023-09-30T12:00:00Z", []string{"2023-10-01T04:00:00Z", "2023-10-02T03:00:00Z"}},
		"the first of a month":        {"@monthly", "UTC", "2026-11-28T12:00:00Z", []string{"2026-12-01T00:00:00Z"}},
	} {
		spec, err := readCron(x.cron)
		if err != nil {
			t.Fatal(err)
		}
		loc, err := readZone(x.zone)
		if err != nil {
			t.Fatal(err)
		}
		c := &clock{spec: *spec, loc: loc}
		at := instant(t, x.after)
		for i, want := range x.want {
			if at = c.next(at); !at.Equal(instant(t, want)) {
				t.Errorf("%s: the %d. is %s, not %s", name, i+1, at.UTC().Format(time.RFC3339), want)
			}
		}
	}
}

func TestClockCatchesUpOnce(t *testing.T) {
	t.Parallel()
	spec, err := readCron("0 * * * *")
	if err != nil {
		t.Fatal(err)
	}
	c := &clock{spec: *spec, loc: time.UTC}
	due := instant(t, "2026-11-28T10:00:00Z")
	for now, want := range map[string]string{
		"2026-11-28T10:00:00Z": "2026-11-28T10:00:00Z", "2026-11-28T10:59:59Z": "2026-11-28T10:00:00Z", "2026-11-30T03:10:00Z": "2026-11-30T03:00:00Z",
	} {
		if got := c.latest(due, instant(t, now)); !got.Equal(instant(t, want)) {
			t.Errorf("at %s the latest is %s", now, got)
		}
	}
}

func TestWhatIsNoSchedule(t *testing.T) {
	t.Parallel()
	for _, cron := range []string{"", "* * * *", "61 * * * *", "0 0 30 2 *", "@every 1h", "@often", "TZ=UTC 0 0 * * *", "CRON_TZ=UTC", "0 0 0 1 * *", "0 6 * * 7", "nonsense"} {
		if _, err := readCron(cron); err == nil || !strings.Contains(err.Error(), "Five fields") {
			t.Errorf("%q: %v", cron, err)
		}
	}
	for _, zone := range []string{"", "Local", "Berlin", "../etc/passwd", "Europe/Nowhere"} {
		if _, err := readZone(zone); err == nil || !strings.Contains(err.Error(), "Europe/Berlin") {
			t.Errorf("%q: %v", zone, err)
		}
	}
}

func instant(t *testing.T, s string) time.Time {
	t.Helper()
	at, err := time.Parse(time.RFC3339, s)
	if err != nil {
		t.Fatal(err)
	}
	return at
}
