package arm

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"
)

// maxState bounds what is read of a state file.
const maxState = 1 << 30

// unsaved is the pattern of the names of files that are being written.
const unsaved = "state.*.tmp"

// ErrStateInUse says that another simulation has the state directory.
var ErrStateInUse = errors.New("another simulation uses it")

// A snapshot is the file state.json of a state directory: the whole simulation at one
// moment. Faults and the limits of requests are not in it.
type snapshot struct {
	Version      int       `json:"version"`
	Now          time.Time `json:"now"`
	Subscription string    `json:"subscription"`
	Store        *store    `json:"store"`
}

// A stateDir is where a simulation is kept over restarts. The simulated time stands
// still meanwhile.
type stateDir struct {
	dir  string
	lock *os.File
}

// openState takes a state directory for this process alone, and makes it when it is
// not there.
func openState(dir string) (*stateDir, error) {
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("make the state directory: %w", err)
	}
	lock, err := os.OpenFile(filepath.Join(dir, "lock"), os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock the state directory: %w", err)
	}
	if err := unix.Flock(int(lock.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		_ = lock.Close()
		if errors.Is(err, unix.EWOULDBLOCK) {
			err = ErrStateInUse
		}
		return nil, fmt.Errorf("lock the state directory %s: %w", dir, err)
	}
	d := &stateDir{dir: dir, lock: lock}
	if err := d.tidy(); err != nil {
		return nil, errors.Join(err, d.close())
	}
	return d, nil
}

// tidy removes what a process has left that was killed while it saved.
func (d *stateDir) tidy() error {
	left, err := filepath.Glob(filepath.Join(d.dir, unsaved))
	for _, name := range left {
		err = errors.Join(err, os.Remove(name))
	}
	if err != nil {
		return fmt.Errorf("tidy the state directory: %w", err)
	}
	return nil
}

// close lets another process have the directory.
func (d *stateDir) close() error {
	return d.lock.Close() // which releases the lock
}

func (d *stateDir) file() string { return filepath.Join(d.dir, "state.json") }

// load reads what was saved. Nothing is nil.
func (d *stateDir) load() (*snapshot, error) {
	f, err := os.Open(d.file())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil //nolint:nilnil // a new directory is no error
	}
	if err != nil {
		return nil, fmt.Errorf("read the state: %w", err)
	}
	defer f.Close()
	dec := json.NewDecoder(io.LimitReader(f, maxState))
	dec.UseNumber()
	saved := snapshot{Store: newStore()}
	if err := dec.Decode(&saved); err != nil {
		return nil, fmt.Errorf("read the state %s: %w", d.file(), err)
	}
	if saved.Version != 1 || saved.Store == nil || saved.Store.Resources == nil || saved.Store.Operations == nil {
		return nil, fmt.Errorf("read the state %s: it is not a state of this version", d.file())
	}
	saved.Store.index()
	return &saved, nil
}

// save writes the state in one step, so that a crash leaves the old one or the new
// one.
func (d *stateDir) save(s *snapshot) (err error) {
	var data bytes.Buffer
	if err := json.NewEncoder(&data).Encode(s); err != nil {
		return fmt.Errorf("encode the state: %w", err)
	}
	f, err := os.CreateTemp(d.dir, unsaved)
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	defer os.Remove(f.Name()) // gone when all went well
	_, err = f.Write(data.Bytes())
	if err = errors.Join(err, f.Sync(), f.Close()); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	if err := os.Rename(f.Name(), d.file()); err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return d.sync()
}

// sync makes the new name durable.
func (d *stateDir) sync() error {
	dir, err := os.Open(d.dir)
	if err == nil {
		err = errors.Join(dir.Sync(), dir.Close())
	}
	if err != nil {
		return fmt.Errorf("write the state: %w", err)
	}
	return nil
}

// restore takes up what the state directory holds.
func (s *Server) restore() error {
	if s.cfg.State == "" {
		return nil
	}
	d, err := openState(s.cfg.State)
	if err != nil {
		return err
	}
	saved, err := d.load()
	if err == nil && saved != nil && saved.Subscription != s.cfg.Subscription {
		err = fmt.Errorf("read the state %s: it is of the subscription %s, not of %s", d.file(), saved.Subscription, s.cfg.Subscription)
	}
	if err != nil {
		return errors.Join(err, d.close())
	}
	s.state = d
	if saved != nil {
		s.store = saved.Store
		s.forgetBlobs()
		s.handBack()
		s.clock.set(saved.Now)
		s.restored = true
	}
	if err := s.contents.open(filepath.Join(d.dir, "blobs"), s.store.Blobs); err != nil {
		s.state = nil
		return errors.Join(err, d.close())
	}
	return nil
}

// Restored says whether the simulation goes on from its state directory: then it
// needs no scenario.
func (s *Server) Restored() bool { return s.restored }

// persist writes the state when something changed. s.mu is held.
func (s *Server) persist(now time.Time) error {
	if s.state == nil || !s.dirty {
		return nil
	}
	err := s.state.save(&snapshot{Version: 1, Now: now, Subscription: s.cfg.Subscription, Store: s.store})
	if err != nil {
		s.log.Error("state is not saved", "err", err) // the next request tries again
		return err
	}
	s.dirty = false
	return nil
}

// Close saves the state and lets go of its directory. The server must not be used
// any more.
func (s *Server) Close() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.state == nil {
		return nil
	}
	s.dirty = true // the time has passed
	err := s.persist(s.clock.Now())
	d := s.state
	s.state = nil
	return errors.Join(err, d.close())
}
