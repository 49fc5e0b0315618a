package flow

import "errors"

// Lost reports whether err says that another worker has the run now. Whoever carried it then ends without a word.
func Lost(err error) bool { return errors.Is(err, errFenced) }
