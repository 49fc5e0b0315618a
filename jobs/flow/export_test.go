package flow

// InLine is how many events wait to be dispatched and how many runs to be written, beside those at hand.
func (e *Engine) InLine() (events, pages int) { return e.events.Waiting(), e.pages.Waiting() }
