package jobs

import (
	"bytes"
	"log/slog"
	"strings"
	"testing"
)

// TestRiverIsQuiet: of River's log, people see what they should look at.
func TestRiverIsQuiet(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	w := open(t)
	j := w.process(t)
	j.cfg.Log = slog.New(slog.NewTextHandler(&log, &slog.HandlerOptions{Level: slog.LevelDebug}))
	l := j.riverConfig().Logger.With("name", "producer").WithGroup("g")
	l.Info("Producer job counts")
	l.Debug("chatter")
	l.Warn("a warning")
	l.Error("an error")
	if got := log.String(); strings.Contains(got, "counts") || strings.Contains(got, "chatter") || strings.Count(got, "name=producer") != 2 {
		t.Errorf("the log says\n%s", got)
	}
}
