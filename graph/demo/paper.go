package demo

import (
	"fmt"
	"io"
	"strings"
	"time"
	"unicode/utf8"
)

// Colours, used on a terminal only.
const (
	plain = ""
	bold  = "\x1b[1m"
	dim   = "\x1b[2m"
	green = "\x1b[32m"
	red   = "\x1b[31m"
	reset = "\x1b[0m"
)

// The widths of columns.
const (
	labelWidth = 20
	whatWidth  = 32
	noteWidth  = 68
)

// Paper is what the demo is written on.
type Paper struct {
	w      io.Writer
	colour bool
}

// NewPaper writes to w, in quiet colours if asked.
func NewPaper(w io.Writer, colour bool) *Paper { return &Paper{w, colour} }

// Title begins a part.
func (p *Paper) Title(title, note string) {
	p.Line("")
	p.Line(strings.TrimRight(p.in(bold, title)+"  "+p.in(dim, note), " "))
	p.Line("")
}

// Step does something and tells how it went and how long it took. do says a word about it.
func (p *Paper) Step(what string, do func() (note string, err error)) error {
	begun := time.Now()
	note, err := do()
	if err != nil {
		p.Line("  " + p.in(red, "✗") + " " + what)
		return err
	}
	p.Line("  " + p.in(green, "✓") + " " + padded(what, labelWidth) + padded(note, noteWidth) + p.in(dim, duration(time.Since(begun))))
	return nil
}

// Moment is something that happened, so long after the beginning.
func (p *Paper) Moment(at time.Duration, who, what, note string) {
	p.Line("  " + p.in(dim, fmt.Sprintf("%9s", duration(at))) + "  " + padded(who, labelWidth) + p.in(colourOf(what), padded(what, whatWidth)) + p.in(dim, note))
}

// Field is a name and its value.
func (p *Paper) Field(name, value string) { p.Line("  " + padded(name, labelWidth) + value) }

// Done ends a part that went well.
func (p *Paper) Done(what string, took time.Duration) {
	p.Line("  " + p.in(green, "✓") + " " + what + p.in(dim, ", in "+duration(took)))
}

// Write takes remarks from whoever has a long task.
func (p *Paper) Write(text []byte) (int, error) {
	for line := range strings.Lines(string(text)) {
		p.Line("    " + p.in(dim, strings.TrimSpace(line)))
	}
	return len(text), nil
}

// Line writes a line.
func (p *Paper) Line(text string) { fmt.Fprintln(p.w, strings.TrimRight(text, " ")) }

func (p *Paper) in(colour, text string) string {
	if !p.colour || colour == plain || text == "" {
		return text
	}
	return colour + text + reset
}

func colourOf(what string) string {
	switch {
	case strings.HasSuffix(what, " succeeded"), strings.HasSuffix(what, " suppressed"), strings.HasSuffix(what, " adopted"):
		return green
	case strings.HasSuffix(what, " failed"):
		return red
	}
	return plain
}

// padded fills a column, and keeps one blank to the next.
func padded(text string, width int) string {
	return text + strings.Repeat(" ", max(1, width-utf8.RuneCountInString(text)))
}

// duration is as exact as is of use: 7 ms, 1.25 s.
func duration(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", d.Milliseconds())
	}
	return fmt.Sprintf("%.2f s", d.Seconds())
}
