package drain

import (
	"errors"
	"io/fs"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
)

var errDead = errors.New("the process is gone")

// A fault is what goes wrong at an I/O call.
type fault int

const (
	faultNone  fault = iota
	faultError       // the call fails and has no effect
	faultShort       // a write is cut short; another call fails
	faultKill        // the process dies in the middle of the call
)

// memFiles is a file system in memory that knows what would survive a power
// loss, and that can fail at every call.
type memFiles struct {
	mu sync.Mutex
	// names and durable are what the directory says now and after a power loss.
	names, durable map[string]*memData
	// fault decides about the n-th call, counted from 0; nil: none fails.
	fault func(n int) fault
	// stall is called at the begin of the n-th call, and may block; nil: none does.
	stall func(n int)
	calls int
	dead  bool
	log   []string
}

type memData struct{ now, synced []byte }

func newMemFiles() *memFiles {
	return &memFiles{names: map[string]*memData{}, durable: map[string]*memData{}}
}

// lock begins a call.
func (m *memFiles) lock() {
	m.mu.Lock()
	if stall, n := m.stall, m.calls; stall != nil && !m.dead {
		m.mu.Unlock()
		stall(n) // only one call at a time is made by a process
		m.mu.Lock()
	}
}

// call counts a call and reports the fault that it has.
func (m *memFiles) call(what string) fault {
	if m.dead {
		return faultKill
	}
	n := m.calls
	m.calls++
	m.log = append(m.log, what)
	if m.fault == nil {
		return faultNone
	}
	f := m.fault(n)
	if f == faultKill {
		m.dead = true
	}
	return f
}

func (f fault) err() error {
	switch f {
	case faultNone:
		return nil
	case faultKill:
		return errDead
	default:
		return syscall.ENOSPC
	}
}

// kill ends the process: no call has an effect any more.
func (m *memFiles) kill() {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.dead = true
}

// revive returns what the next process finds: everything that was written, or,
// after a power loss, only what was synced.
func (m *memFiles) revive(powerLoss bool) *memFiles {
	m.mu.Lock()
	defer m.mu.Unlock()
	n := newMemFiles()
	from := m.names
	if powerLoss {
		from = m.durable
	}
	for name, d := range from {
		content := slices.Clone(d.now)
		if powerLoss {
			content = slices.Clone(d.synced)
		}
		n.names[name] = &memData{content, slices.Clone(content)}
		n.durable[name] = n.names[name]
	}
	return n
}

func (m *memFiles) content(name string) []byte {
	m.mu.Lock()
	defer m.mu.Unlock()
	if d := m.names[name]; d != nil {
		return slices.Clone(d.now)
	}
	return nil
}

func (m *memFiles) MakeDir(string) error {
	m.lock()
	defer m.mu.Unlock()
	return m.call("mkdir").err()
}

func (m *memFiles) ReadFile(name string, limit int64) ([]byte, error) {
	m.lock()
	defer m.mu.Unlock()
	if err := m.call("read").err(); err != nil {
		return nil, err
	}
	d := m.names[filepath.Base(name)]
	if d == nil {
		return nil, fs.ErrNotExist
	}
	return slices.Clone(d.now[:min(int64(len(d.now)), limit)]), nil
}

func (m *memFiles) open(what, name string, truncate bool) (file, error) {
	m.lock()
	defer m.mu.Unlock()
	if err := m.call(what).err(); err != nil {
		return nil, err
	}
	name = filepath.Base(name)
	if m.names[name] == nil {
		m.names[name] = &memData{}
	}
	if truncate {
		m.names[name].now = nil
	}
	return &memFile{m, name, m.names[name]}, nil
}

func (m *memFiles) Append(name string) (file, error) { return m.open("open", name, false) }
func (m *memFiles) Create(name string) (file, error) { return m.open("create", name, true) }

func (m *memFiles) Rename(from, to string) error {
	m.lock()
	defer m.mu.Unlock()
	if err := m.call("rename").err(); err != nil {
		return err
	}
	m.names[filepath.Base(to)] = m.names[filepath.Base(from)]
	delete(m.names, filepath.Base(from))
	return nil
}

func (m *memFiles) Remove(name string) error {
	m.lock()
	defer m.mu.Unlock()
	if err := m.call("remove").err(); err != nil {
		return err
	}
	delete(m.names, filepath.Base(name))
	return nil
}

func (m *memFiles) SyncDir(string) error {
	m.lock()
	defer m.mu.Unlock()
	if err := m.call("syncdir").err(); err != nil {
		return err
	}
	clear(m.durable)
	maps.Copy(m.durable, m.names)
	return nil
}

type memFile struct {
	fs   *memFiles
	name string
	data *memData
}

func (f *memFile) Gone(size int64) (bool, error) {
	f.fs.lock()
	defer f.fs.mu.Unlock()
	err := f.fs.call("look").err()
	return f.fs.names[f.name] != f.data || int64(len(f.data.now)) < size, err
}

func (f *memFile) Write(p []byte) (int, error) {
	f.fs.lock()
	defer f.fs.mu.Unlock()
	wasDead := f.fs.dead
	switch what := f.fs.call("write"); what {
	case faultNone:
		f.data.now = append(f.data.now, p...)
		return len(p), nil
	case faultShort, faultKill:
		n := 0
		if !wasDead {
			n = len(p) / 2
		}
		f.data.now = append(f.data.now, p[:n]...)
		return n, what.err()
	default:
		return 0, what.err()
	}
}

func (f *memFile) Sync() error {
	f.fs.lock()
	defer f.fs.mu.Unlock()
	if err := f.fs.call("sync").err(); err != nil {
		return err
	}
	f.data.synced = f.data.now // which is only appended to
	return nil
}

func (f *memFile) Close() error {
	f.fs.lock()
	defer f.fs.mu.Unlock()
	return f.fs.call("close").err()
}
