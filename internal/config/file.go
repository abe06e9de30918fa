package config

import (
	"errors"
	"fmt"
	"io"
	"os"
	"syscall"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
)

// readFile reads a file that nobody but root, this process's user and the owners
// can change. Of a symbolic link, what counts is the file that it leads to. Who
// can write to the directory is not asked: they can take files away, and link to
// another file of root's, but a text of their own is theirs, and refused.
func readFile(path string, owners []int) ([]byte, error) {
	// Without O_NONBLOCK the open of a pipe would wait for a writer.
	f, err := os.OpenFile(path, os.O_RDONLY|syscall.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return nil, err
	}
	if !info.Mode().IsRegular() {
		return nil, errors.New("is not a regular file")
	}
	if err := safefile.Trusted(path, info, owners...); err != nil {
		if r, ok := errors.AsType[*safefile.RefusedError](err); ok {
			r.Why += ", who could make the agent run any command"
		}
		return nil, err
	}
	data, err := io.ReadAll(io.LimitReader(f, maxFileSize+1))
	if err != nil {
		return nil, err
	}
	if len(data) > maxFileSize {
		return nil, fmt.Errorf("is larger than %d bytes", maxFileSize)
	}
	return data, nil
}
