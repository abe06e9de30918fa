package agent

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
)

// flagPatience bounds how long anybody waits for the run directory, which is
// memory on every machine that systemd set up.
const flagPatience = 200 * time.Millisecond

var errRunDirHangs = errors.New("the run directory does not answer")

// flags keeps the flag files in the run directory as they are wanted. A goroutine
// of its own makes, replaces and removes them, and ends when that is done: a file
// system that hangs costs whoever asks flagPatience once, and nothing from then
// until it answers. Safe for concurrent use.
type flags struct {
	dir string

	mu      sync.Mutex
	changed chan struct{}     // closed when the goroutine has done something
	want    map[string][]byte // the text of each file; nil: there is to be none
	todo    map[string]bool   // the files to see to
	errs    map[string]error  // what became of that
	working bool
	behind  bool // somebody has waited in vain
}

func newFlags(dir string) *flags {
	return &flags{
		dir: dir, changed: make(chan struct{}),
		want: map[string][]byte{}, todo: map[string]bool{}, errs: map[string]error{},
	}
}

// raise makes or replaces a flag. The error says why it is not there.
func (f *flags) raise(name string, text []byte) error {
	if text == nil {
		text = []byte{}
	}
	if err := f.set(name, text); err != nil {
		return fmt.Errorf("raise the flag: %w", err)
	}
	return nil
}

// lower removes a flag. The error says why it is still there, or may be.
func (f *flags) lower(name string) error {
	if err := f.set(name, nil); err != nil {
		return fmt.Errorf("lower the flag: %w", err)
	}
	return nil
}

// keep makes a flag hold text, or removes it when text is nil. It does nothing
// when that is how it was left.
func (f *flags) keep(name string, text []byte) error {
	f.mu.Lock()
	want, known := f.want[name]
	left := known && same(want, text) && !f.todo[name] && f.errs[name] == nil
	f.mu.Unlock()
	if left {
		return nil
	}
	if text == nil {
		return f.lower(name)
	}
	return f.raise(name, text)
}

func (f *flags) set(name string, text []byte) error {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.want[name] = text
	f.see(name)
	return f.wait(name)
}

// restore raises what should be there, for a directory that was taken away.
func (f *flags) restore() error {
	f.mu.Lock()
	defer f.mu.Unlock()
	var errs []error
	for name, text := range f.want {
		if text != nil {
			f.see(name)
			errs = append(errs, f.wait(name))
		}
	}
	return errors.Join(errs...)
}

// missing names the files that should be there and are not. It may hang with the
// run directory.
func (f *flags) missing() []string {
	f.mu.Lock()
	var there []string
	for name, text := range f.want {
		if text != nil && !f.todo[name] {
			there = append(there, name)
		}
	}
	f.mu.Unlock()
	var gone []string
	for _, name := range there {
		path := filepath.Join(f.dir, name)
		if _, err := os.Lstat(path); errors.Is(err, fs.ErrNotExist) && f.wanted(name) {
			gone = append(gone, path)
		}
	}
	slices.Sort(gone)
	return gone
}

// any reports whether a flag should be there.
func (f *flags) any() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, text := range f.want {
		if text != nil {
			return true
		}
	}
	return false
}

func (f *flags) wanted(name string) bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.want[name] != nil
}

// see has the goroutine look after a file. mu is held.
func (f *flags) see(name string) {
	f.todo[name] = true
	if !f.working {
		f.working = true
		go f.work()
	}
}

// wait waits until the goroutine has seen to a file. mu is held, but not while it
// waits.
func (f *flags) wait(name string) error {
	timer := time.NewTimer(flagPatience)
	defer timer.Stop()
	for f.todo[name] {
		if f.behind {
			return errRunDirHangs
		}
		changed := f.changed
		f.mu.Unlock()
		over := false
		select {
		case <-changed:
		case <-timer.C:
			over = true
		}
		f.mu.Lock()
		f.behind = f.behind || over && f.todo[name]
	}
	return f.errs[name]
}

// work does what is to be done.
func (f *flags) work() {
	f.mu.Lock()
	defer f.mu.Unlock()
	for {
		name, ok := some(f.todo)
		if !ok {
			f.working, f.behind = false, false
			return
		}
		text := f.want[name]
		f.mu.Unlock()
		err := put(filepath.Join(f.dir, name), text)
		f.mu.Lock()
		if same(text, f.want[name]) { // else it is to be done again
			delete(f.todo, name)
			f.errs[name] = err
		}
		close(f.changed)
		f.changed = make(chan struct{})
	}
}

func some(names map[string]bool) (string, bool) {
	for name := range names {
		return name, true
	}
	return "", false
}

func same(a, b []byte) bool {
	return (a == nil) == (b == nil) && string(a) == string(b)
}

// put makes a file that holds text, in the place of whatever has its name, or
// removes it when text is nil.
func put(path string, text []byte) error {
	if text == nil {
		if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	scratch := path + ".new"
	if err := os.Remove(scratch); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	file, err := safefile.OpenRegular(scratch, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	if cerr := file.Close(); err == nil {
		err = cerr
	}
	if err == nil {
		err = os.Rename(scratch, path)
	}
	return err
}

// A found is a flag that was there when the agent started.
type found struct {
	raised bool
	text   []byte // nil: it could not be read
	err    error  // why not
}

// find looks for a flag that an agent before this one has left. A run directory
// that hangs is one that may have it.
func (f *flags) find(name string, limit int64) found {
	result := make(chan found, 1)
	go func() { result <- look(filepath.Join(f.dir, name), limit) }()
	timer := time.NewTimer(flagPatience)
	defer timer.Stop()
	select {
	case found := <-result:
		return found
	case <-timer.C:
		return found{raised: true, err: errRunDirHangs}
	}
}

// look reads a flag, and never waits for what is no file.
func look(path string, limit int64) found {
	file, err := safefile.OpenRegular(path, os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return found{}
	}
	if err != nil {
		return found{raised: true, err: err}
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, limit))
	return found{raised: true, text: text, err: err}
}
