package seal

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
)

// Kept reads keys from a file, which is made when there is none. It is never overwritten: several may share it.
func Kept(path string) (*Keys, error) {
	text, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		text = []byte(Generate())
		err = create(path, text)
	}
	if err != nil {
		return nil, err
	}
	keys, err := Parse(strings.TrimSpace(string(text)))
	if err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	return keys, nil
}

// create makes a file that only we may read. One that exists is left alone: fs.ErrExist.
func create(path string, text []byte) error {
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(text)
	return errors.Join(err, f.Close())
}
