package demo

import (
	"encoding/json"
	"os"
)

// Keep writes the stage to a file that only we may read.
func (s Stage) Keep(path string) error {
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	if err := os.WriteFile(path+".new", append(text, '\n'), 0o600); err != nil {
		return err
	}
	return os.Rename(path+".new", path)
}

// Earlier is the stage that an earlier demo kept.
func Earlier(path string) (s Stage, ok bool) {
	text, err := os.ReadFile(path)
	ok = err == nil && json.Unmarshal(text, &s) == nil
	return s, ok
}
