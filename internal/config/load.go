package config

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// Default returns the configuration that runs when there is no file.
func Default() *Config {
	return newConfig(newSchema())
}

func newConfig(s *strict.Schema) *Config {
	c := &Config{origins: make(strict.Origins)}
	s.Fill(c)
	return c
}

// Load reads the file at path and the files conf.d/*.yaml beside it, and checks
// the whole. The file has to exist, unless it is the one that is read when nobody
// names one: DefaultPath, in this system or below the root of another. Files that somebody other than root, the
// caller's user and the owners, which are uids, can write to are refused. Without
// owners it is the rule of the daemon, which runs what the files say.
//
// The error is of type Errors and holds every fault that was found.
func Load(path string, owners ...int) (*Config, error) {
	s := newSchema()
	c := newConfig(s)

	more, errs := list(filepath.Join(filepath.Dir(path), "conf.d"))
	whole := len(errs) == 0
	for _, name := range append([]string{path}, more...) {
		if name == path && !exists(path) {
			if !strings.HasSuffix(path, DefaultPath) {
				errs, whole = append(errs, &Error{
					File: path, Message: "does not exist",
					Hint: "mend the name in --config or FLEET_AGENT_CONFIG, or make the file: an empty one is enough",
				}), false
			}
			continue
		}
		text, err := readFile(name, owners)
		if err != nil {
			errs, whole = append(errs, fileError(name, err)), false
			continue
		}
		faults, read := c.apply(s, name, text, name == path)
		errs, whole = append(errs, faults...), whole && read
		c.files = append(c.files, name)
		if name == path {
			c.main = name
		}
	}
	errs = append(errs, c.validate(whole)...)
	if len(errs) == 0 {
		return c, nil
	}
	order := append([]string{"", path}, more...) // others, which are whole files, come first
	slices.SortStableFunc(errs, func(a, b *Error) int {
		if a.File != b.File {
			return slices.Index(order, a.File) - slices.Index(order, b.File)
		}
		if a.Line != b.Line {
			return a.Line - b.Line
		}
		return a.Column - b.Column
	})
	return nil, errs
}

// exists says whether there is something at path. A link to nowhere is something:
// it is read, and reported.
func exists(path string) bool {
	_, err := os.Lstat(path)
	return !errors.Is(err, fs.ErrNotExist)
}

// apply reads the text of one file into the configuration. It returns false when
// nothing could be read of it.
func (c *Config) apply(s *strict.Schema, file string, text []byte, main bool) (Errors, bool) {
	return s.Read(text, c, strict.Source{File: file, Append: !main, Origins: c.origins})
}

// list returns the files of a conf.d directory, sorted by name. What editors and
// package managers leave behind is passed over; a file that was probably meant
// to be read is an error.
func list(dir string) ([]string, Errors) {
	entries, err := os.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, Errors{fileError(dir, err)}
	}
	var files []string
	var errs Errors
	for _, e := range entries {
		name := filepath.Join(dir, e.Name())
		switch {
		case strings.HasPrefix(e.Name(), "."):
		case filepath.Ext(name) == ".yaml":
			files = append(files, name)
		case filepath.Ext(name) == ".yml":
			errs = append(errs, fileError(name, &safefile.RefusedError{
				Path: name,
				Why:  "is not read: only names that end in .yaml are",
				Run:  "mv " + name + " " + strings.TrimSuffix(name, ".yml") + ".yaml",
			}))
		}
	}
	return files, errs
}

// fileError makes an Error of one that is about a whole file.
func fileError(file string, err error) *Error {
	if r, ok := errors.AsType[*safefile.RefusedError](err); ok {
		return &Error{File: file, Message: r.Why, Hint: "run: " + r.Run}
	}
	return strict.FileError(file, err)
}
