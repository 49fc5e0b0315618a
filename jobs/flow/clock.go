package flow

import (
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // an image of the binary alone has no zones

	"github.com/robfig/cron/v3"
)

// clock says when a schedule fires: a cron expression as the clocks of a time zone show it.
type clock struct {
	cron, zone string
	spec       cron.SpecSchedule // in UTC
	loc        *time.Location
}

var cronParser = cron.NewParser(cron.Minute | cron.Hour | cron.Dom | cron.Month | cron.Dow | cron.Descriptor)

const cronHelp = `Five fields are needed: minute, hour, day of the month, month, day of the week (0 is Sunday). "0 6 1 * *" is at 06:00 on the first of each month, "*/15 * * * *" every quarter of an hour.`

// readCron reads an expression. Its error is a sentence for whoever wrote it.
func readCron(text string) (*cron.SpecSchedule, error) {
	if strings.Contains(text, "=") {
		return nil, fmt.Errorf("%q names a time zone; that has a field of its own. %s", text, cronHelp)
	}
	s, err := cronParser.Parse(strings.TrimSpace(text))
	spec, ok := s.(*cron.SpecSchedule)
	switch {
	case err != nil:
		return nil, fmt.Errorf("%q is no cron expression (%w). %s", text, err, cronHelp)
	case !ok:
		return nil, fmt.Errorf("%q has no fixed times. %s", text, cronHelp)
	}
	spec.Location = time.UTC
	if spec.Next(time.Now().UTC()).IsZero() {
		return nil, fmt.Errorf("%q names a time that never comes. %s", text, cronHelp)
	}
	return spec, nil
}

func readZone(name string) (*time.Location, error) {
	loc, err := time.LoadLocation(name)
	if err != nil || name == "" || name == "Local" {
		return nil, fmt.Errorf("%q is no time zone. Name one of the IANA list, such as Europe/Berlin, America/New_York or UTC", name)
	}
	return loc, nil
}

// hourly tells a schedule that runs in every hour: it goes by time that passes, as the hour that is told twice in autumn
// has its runs twice. All others go by what clocks show, once for each day's times.
func (c *clock) hourly() bool { return c.spec.Hour&(1<<63) != 0 }

// next is the first time after t; zero when there is none.
func (c *clock) next(t time.Time) time.Time {
	if c.hourly() {
		s := c.spec
		s.Location = c.loc
		return s.Next(t)
	}
	l := t.In(c.loc)
	for shown := time.Date(l.Year(), l.Month(), l.Day(), l.Hour(), l.Minute(), l.Second(), 0, time.UTC); ; {
		if shown = c.spec.Next(shown); shown.IsZero() {
			return shown
		}
		if at := c.at(shown); at.After(t) {
			return at
		}
	}
}

// at is when clocks show a time: the first of two when they are set back over it, and the moment that they are set
// forward when they leave it out.
func (c *clock) at(shown time.Time) time.Time {
	at := time.Date(shown.Year(), shown.Month(), shown.Day(), shown.Hour(), shown.Minute(), 0, 0, c.loc)
	start, end := at.ZoneBounds()
	wall := func(t time.Time) time.Time {
		_, offset := t.Zone()
		return t.UTC().Add(time.Duration(offset) * time.Second)
	}
	switch w := wall(at); {
	case w.Before(shown):
		return end
	case w.After(shown):
		return start
	case start.IsZero():
		return at
	}
	_, before := start.Add(-1).Zone()
	_, now := at.Zone()
	if first := at.Add(time.Duration(now-before) * time.Second); first.Before(start) && before > now {
		return first
	}
	return at
}

// latest is the last time that has come by now, beginning with one that has.
func (c *clock) latest(due, now time.Time) time.Time {
	for {
		n := c.next(due)
		if n.IsZero() || n.After(now) {
			return due
		}
		due = n
	}
}
