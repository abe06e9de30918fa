package drain

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"
)

// A JournalConfig configures a Journal.
type JournalConfig struct {
	// Dir is the directory of the file "journal"; it is made, with mode 0700,
	// unless it is there.
	Dir string
	// BootID names this boot of the machine, as in
	// /proc/sys/kernel/random/boot_id.
	BootID string
	Logger *slog.Logger
	// AfterAppend, if set, is called after an entry has become durable. It is
	// for tests that stop the world there.
	AfterAppend func(seq uint64)

	files fileSystem // nil: the machine's
}

const (
	journalName = "journal"
	scratchName = "journal.new"
	// maxRead bounds how much of a file is read; a journal is far smaller.
	maxRead = 64 << 20
	// compactAbove is the size of the file, in bytes, above which what no
	// longer matters is dropped from it.
	compactAbove = 256 << 10
	// maxEntries bounds the entries in memory, for a disk that stays broken.
	maxEntries = 4096
)

// A Journal remembers what was done and what was about to be, over crashes and
// reboots. It is a file of lines, one entry each, that are appended with fsync.
//
// Lines that are not whole are skipped: a torn end, or a flipped bit, costs the
// entry that it hit and nothing else. When the file cannot be written, the
// journal goes on in memory and every Append tries to write all that is missing,
// so that nothing is lost when the disk recovers before the agent ends.
//
// All methods are safe for concurrent use.
type Journal struct {
	cfg   JournalConfig
	files fileSystem
	log   *slog.Logger
	path  string

	mu      sync.Mutex
	entries []Entry // all that matter, and perhaps some that no longer do
	durable int     // how many of them are in the file
	state   *fold
	next    uint64 // sequence number

	file     file // nil: not open
	closed   bool
	read     bool // whether the file's entries are in entries
	rewrite  bool // the file must be replaced, not appended to
	torn     bool // the file has lines that are not whole, perhaps the last
	reopen   bool // the descriptor is not to be written to any more
	skipped  int
	syncDir  bool // the directory must be synced
	size     int64
	limit    int64 // compaction above this size
	degraded error
	failures uint64
}

// OpenJournal reads the journal in cfg.Dir. A file or directory that cannot be
// read or written is no error: the journal is Degraded then. The error is that
// of a Config that says too little.
func OpenJournal(cfg JournalConfig) (*Journal, error) {
	if cfg.Dir == "" || cfg.BootID == "" {
		return nil, errors.New("open the journal: the directory or the boot ID is missing")
	}
	j := &Journal{
		cfg: cfg, files: cfg.files, log: cfg.Logger,
		path: filepath.Join(cfg.Dir, journalName),
		next: 1, limit: compactAbove,
	}
	if j.files == nil {
		j.files = osFiles{}
	}
	if j.log == nil {
		j.log = slog.New(slog.DiscardHandler)
	}
	j.mu.Lock()
	defer j.mu.Unlock()
	j.refold()
	j.report(j.open())
	return j, nil
}

// Append adds an entry and returns when it is durable. After an error it is part
// of the state all the same, and the next Append tries to write it again.
func (j *Journal) Append(e Entry) error {
	j.mu.Lock()
	j.add(e)
	var missing []uint64
	if j.cfg.AfterAppend != nil {
		for _, e := range j.entries[j.durable:] {
			missing = append(missing, e.Seq)
		}
	}
	err := j.flush()
	j.mu.Unlock()
	if err != nil {
		return fmt.Errorf("append %s to the journal: %w", e.Kind, err)
	}
	for _, seq := range missing {
		j.cfg.AfterAppend(seq)
	}
	return nil
}

// State returns what is the case, as of now.
func (j *Journal) State() State {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.state(time.Now())
}

// History returns the last drains, at most 50, the newest first. The one in
// effect is among them.
func (j *Journal) History() []Record {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.state.history()
}

// Degraded returns why the journal is not durable, and nil when it is.
func (j *Journal) Degraded() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.degraded
}

// DiscardForeign drops everything that earlier boots left when that was on
// another VM, as it is when a disk was imaged or cloned, and reports whether it
// did. What this boot journaled stays: a boot has one VM. vmID, which is
// compared without regard to case, is journaled unless it is there.
//
// An error means that the file could not be written; the state is right.
func (j *Journal) DiscardForeign(vmID string) (bool, error) {
	j.mu.Lock()
	defer j.mu.Unlock()
	known := j.state.vm
	if vmID == "" || strings.EqualFold(known, vmID) {
		return false, nil
	}
	foreign := known != ""
	if foreign {
		j.entries = slices.DeleteFunc(j.entries, func(e Entry) bool { return e.Boot != j.cfg.BootID || e.Kind == VMSeen })
		j.durable, j.rewrite = 0, true
		j.refold()
		j.log.Warn("journal of another vm discarded", "vm_id", vmID, "journal_vm_id", known)
	}
	j.add(Entry{Kind: VMSeen, VM: vmID})
	if err := j.flush(); err != nil {
		return foreign, fmt.Errorf("write the vm's identity to the journal: %w", err)
	}
	return foreign, nil
}

// Skipped returns how many lines of the file were not whole when it was read, and
// so forgotten; the torn end that a loss of power leaves, which nothing was built
// on, is not counted.
func (j *Journal) Skipped() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.skipped
}

// Close closes the file. Entries that are appended later stay in memory.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.closed = true
	return j.closeFile()
}

// add puts an entry into memory.
func (j *Journal) add(e Entry) {
	e = bound(e)
	e.Seq, e.Time, e.Boot = j.next, time.Now().UTC().Round(0), j.cfg.BootID
	j.next++
	j.entries = append(j.entries, e)
	j.state.apply(e)
	if len(j.entries) > maxEntries {
		if kept := keep(j.entries, j.state); len(kept) < len(j.entries) {
			j.entries, j.durable, j.rewrite = kept, 0, true
		}
	}
}

// refold computes the state anew.
func (j *Journal) refold() {
	j.state = newFold()
	for _, e := range j.entries {
		j.state.apply(e)
	}
	j.state.enter(j.cfg.BootID)
}

// failed returns how often the journal could not be written.
func (j *Journal) failed() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.failures
}

// newDrainID returns an ID that no other drain in the journal has.
func (j *Journal) newDrainID() string {
	j.mu.Lock()
	defer j.mu.Unlock()
	return fmt.Sprintf("%s-%d", time.Now().UTC().Format("20060102T150405Z"), j.next)
}

// report keeps err as the state of health and logs when that changes.
func (j *Journal) report(err error) {
	if err != nil {
		j.failures++
	}
	switch {
	case err != nil && j.degraded == nil:
		j.log.Error("journal cannot be written, going on in memory", "path", j.path, "err", err)
	case err == nil && j.degraded != nil:
		j.log.Info("journal is written again", "path", j.path)
	}
	j.degraded = err
}

// open reads the file, if that was not done, and opens it for appending.
func (j *Journal) open() error {
	if err := j.files.MakeDir(j.cfg.Dir); err != nil {
		return fmt.Errorf("make the directory: %w", err)
	}
	if !j.read {
		if err := j.load(); err != nil {
			return err
		}
	}
	f, err := j.files.Append(j.path)
	if err != nil {
		return fmt.Errorf("open: %w", err)
	}
	j.file = f
	j.syncDir = true // the file may be new
	return nil
}

// load puts the entries of the file before those in memory, which it does not
// have.
func (j *Journal) load() error {
	data, err := j.files.ReadFile(j.path, maxRead)
	if errors.Is(err, fs.ErrNotExist) {
		j.read = true
		return nil
	}
	if err != nil {
		return fmt.Errorf("read: %w", err)
	}
	r := parse(data)
	if r.bad > 0 {
		j.log.Warn("journal lines skipped that are not whole", "path", j.path,
			"lines", r.bad, "first_line", r.firstBad, "err", r.firstError)
	}
	for _, e := range r.entries {
		j.next = max(j.next, e.Seq+1)
	}
	j.entries = append(r.entries, j.entries...)
	j.durable, j.read, j.size = len(r.entries), true, int64(len(data))
	j.torn, j.skipped = r.torn || r.bad > 0, r.bad
	if r.badEnd {
		j.skipped--
	}
	j.refold()
	return nil
}

// flush makes every entry durable.
func (j *Journal) flush() error {
	if j.closed {
		return fs.ErrClosed
	}
	err := j.write()
	if err != nil {
		// What the file now ends in is not known, and what was written may be
		// lost: begin on a new line, with a new descriptor. The old one stays
		// open until then, to tell whether it is still the same file.
		j.torn, j.reopen = true, true
	}
	j.report(err)
	return err
}

func (j *Journal) write() error {
	if j.file != nil {
		gone, err := j.file.Gone(j.size)
		if err != nil {
			return fmt.Errorf("look whether it is still there: %w", err)
		}
		if gone && !j.rewrite {
			j.log.Warn("journal is gone, writing it anew", "path", j.path)
			j.rewrite = true
		}
		if gone || j.reopen {
			_ = j.closeFile() // what was written to it and is missing is written again
		}
	}
	if j.file == nil {
		if err := j.open(); err != nil {
			return err
		}
	}
	if j.rewrite || j.torn || j.size > j.limit {
		err := j.compact()
		switch {
		case err == nil:
		case j.rewrite:
			return err
		case j.degraded == nil: // the journal can be read, it is just long: appending may do
			j.limit *= 2
			j.log.Warn("journal not compacted", "path", j.path, "bytes", j.size, "err", err)
		}
	}
	if j.durable < len(j.entries) {
		var buf []byte
		if j.torn {
			buf = append(buf, '\n')
		}
		var err error
		for _, e := range j.entries[j.durable:] {
			if buf, err = encode(buf, e); err != nil {
				return err
			}
		}
		n, err := j.file.Write(buf)
		j.size += int64(n)
		if err != nil {
			return fmt.Errorf("write: %w", err)
		}
		if err := j.file.Sync(); err != nil {
			return fmt.Errorf("sync: %w", err)
		}
		j.torn = false
	}
	if j.syncDir {
		if err := j.files.SyncDir(j.cfg.Dir); err != nil {
			return fmt.Errorf("sync the directory: %w", err)
		}
		j.syncDir = false
	}
	j.durable = len(j.entries)
	return nil
}

func (j *Journal) closeFile() error {
	if j.file == nil {
		return nil
	}
	err := j.file.Close()
	j.file, j.reopen = nil, false
	return err
}
