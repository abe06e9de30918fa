package config

import (
	"errors"
	"io/fs"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// readFile reads a file that nobody but root, this process's user and the owners
// can change. Of a symbolic link, what counts is the file that it leads to. Who
// can write to the directory is not asked: they can take files away, and link to
// another file of root's, but a text of their own is theirs, and refused.
func readFile(path string, owners []int) ([]byte, error) {
	return strict.ReadFile(path, func(info fs.FileInfo) error {
		err := safefile.Trusted(path, info, owners...)
		if r, ok := errors.AsType[*safefile.RefusedError](err); ok {
			r.Why += ", who could make the agent run any command"
		}
		return err
	})
}
