package drain

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
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
	// AfterAppend, if set, is called when an entry has become durable, before
	// anybody who waits for that goes on. It is for tests that stop the world
	// there.
	AfterAppend func(seq uint64)

	files fileSystem // nil: the machine's
}

const (
	// maxEntries bounds the entries in memory, for a disk that stays broken.
	maxEntries = 4096
	// maxPatience bounds what a disk that hangs costs one drain, and everything
	// outside of drains.
	maxPatience = time.Second
)

// errHangs says that the disk has not answered for as long as anybody waits.
var errHangs = errors.New("the disk does not answer")

// A Journal remembers what was done and what was about to be, over crashes and
// reboots. It is a list of entries in memory, and a file of lines, one entry
// each, that follows the list:
//
//	Append ─▶ memory ─▶ (goroutine) ─▶ file, fsync
//	             │                       │
//	State ◀──────┘      Append returns ◀─┘ or when the patience is used up
//
// Memory is the truth of this process and never waits for the disk. The file is
// for the next process. A goroutine that the journal owns brings it up to date,
// and ends when it is; it is the one goroutine that nothing waits for without a
// bound, for a disk may never answer.
//
// # Patience
//
// Append waits until its entry is durable. What that may cost in all, on a disk
// that hangs, is the patience, which a drain sets at its start. From the entry
// that uses it up until the file has caught up nobody waits, and the journal is
// Degraded. An answer that comes promptly, within a twentieth of the patience, is
// that of a disk that works, and costs nothing.
//
// # Damage
//
// Lines that are not whole are skipped: a torn end, or a flipped bit, costs the
// entry that it hit and nothing else. When the file cannot be written, the
// journal goes on in memory and every Append tries to write all that is missing,
// so that nothing is lost when the disk recovers before the agent ends.
//
// All methods are safe for concurrent use.
type Journal struct {
	cfg  JournalConfig
	log  *slog.Logger
	disk *disk // used by the goroutine that writes, and by nobody else

	mu      sync.Mutex
	changed chan struct{} // closed at the next change of what follows
	entries []Entry       // all that matter, and perhaps some that no longer do
	durable int           // how many of them are in the file
	state   *fold
	next    uint64 // sequence number
	vm      string // which VM this is, when that was told
	skipped int

	// Entries are counted as they are added in this process: added in all, of
	// which written are in the file. tried is how many there were when the last
	// attempt to write began that failed.
	added, written, tried uint64

	read    bool   // the file's entries are in entries
	rewrite bool   // entries were dropped that the file has: it is to be replaced
	drops   uint64 // how often that was
	writing bool   // the goroutine runs
	closed  bool

	patience, left time.Duration // what a hang may cost, and what is left of that
	behind         bool          // it was used up, and the file has not caught up
	degraded       error
	failures       uint64
	attempts       uint64
	says           []func() // log lines, for unlock
}

// NewJournal returns a journal that does not know yet what its file holds. The
// error is that of a Config that says too little.
func NewJournal(cfg JournalConfig) (*Journal, error) {
	if cfg.Dir == "" || cfg.BootID == "" {
		return nil, errors.New("open the journal: the directory or the boot ID is missing")
	}
	if cfg.Logger == nil {
		cfg.Logger = slog.New(slog.DiscardHandler)
	}
	if cfg.files == nil {
		cfg.files = osFiles{}
	}
	j := &Journal{
		cfg: cfg, log: cfg.Logger, disk: newDisk(cfg.Dir, cfg.files, cfg.Logger),
		changed: make(chan struct{}), next: 1, patience: maxPatience, left: maxPatience,
	}
	j.refold()
	return j, nil
}

// OpenJournal is NewJournal and Open.
func OpenJournal(cfg JournalConfig) (*Journal, error) {
	j, err := NewJournal(cfg)
	if err == nil {
		j.Open()
	}
	return j, err
}

// Open reads the file, and returns when that is done, or has failed, or does not
// end within the patience, a second: the journal is Degraded then, and what the
// file holds comes before what was appended meanwhile when it can be read at last.
// It reports whether the file was read; one that is not there yet was.
func (j *Journal) Open() bool {
	j.mu.Lock()
	defer j.unlock()
	j.write()
	_ = j.wait(j.idle, maxPatience) // degraded says why
	return j.read
}

// Opened reports whether the file was read.
func (j *Journal) Opened() bool {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.read
}

// Append adds an entry, and returns when it is durable or the patience is used up.
// After an error it is part of the state all the same, and is written when the
// disk allows.
func (j *Journal) Append(e Entry) error { return j.AppendWithin(e, maxPatience) }

// AppendWithin is Append for a caller who has no more than limit to wait.
func (j *Journal) AppendWithin(e Entry, limit time.Duration) error {
	j.mu.Lock()
	defer j.unlock()
	j.add(e)
	j.write()
	if err := j.waitDurable(j.added, limit); err != nil {
		return fmt.Errorf("append %s to the journal: %w", e.Kind, err)
	}
	return nil
}

// Note adds an entry and does not wait for the disk.
func (j *Journal) Note(e Entry) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.add(e)
	j.write()
}

// Durable returns when everything that was added is durable, or with the reason
// why it is not when the patience is used up.
func (j *Journal) Durable() error {
	j.mu.Lock()
	defer j.unlock()
	return j.waitDurable(j.added, maxPatience)
}

// SetPatience sets what a disk that hangs may cost from here on, between 0 and a
// second. It is for the begin of a drain.
func (j *Journal) SetPatience(d time.Duration) {
	j.mu.Lock()
	defer j.mu.Unlock()
	j.patience = min(max(d, 0), maxPatience)
	j.left = j.patience
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
// compared without regard to case, is journaled unless it is there. What a disk
// that hangs holds of another VM is dropped when it is read. DiscardForeign does
// not wait for the disk.
func (j *Journal) DiscardForeign(vmID string) bool {
	j.mu.Lock()
	defer j.unlock()
	if vmID == "" || strings.EqualFold(j.state.vm, vmID) {
		return false
	}
	j.vm = vmID
	foreign := j.discard()
	j.add(Entry{Kind: VMSeen, VM: vmID})
	j.write()
	return foreign
}

// Skipped returns how many lines of the file were not whole when it was read, and
// so forgotten; the torn end that a loss of power leaves, which nothing was built
// on, is not counted.
func (j *Journal) Skipped() int {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.skipped
}

// Close closes the file when it has caught up, and leaves it alone when that
// takes longer than the patience. Entries that are appended later stay in memory.
func (j *Journal) Close() error {
	j.mu.Lock()
	defer j.unlock()
	j.closed = true
	err := j.wait(j.idle, maxPatience)
	if err != nil {
		return fmt.Errorf("close the journal: %w", err)
	}
	return j.disk.close()
}

// add puts an entry into memory.
func (j *Journal) add(e Entry) {
	e = bound(e)
	e.Seq, e.Time, e.Boot = j.next, time.Now().UTC().Round(0), j.cfg.BootID
	j.next++
	j.added++
	j.entries = append(j.entries, e)
	j.state.apply(e)
	if len(j.entries) > maxEntries {
		if kept := keep(j.entries, j.state); len(kept) < len(j.entries) {
			j.drop(kept)
		}
	}
}

// drop replaces the entries by some of them.
func (j *Journal) drop(kept []Entry) {
	j.entries, j.durable, j.rewrite = kept, 0, true
	j.drops++
}

// discard drops what another VM left, if the last one in the journal was not this
// one, and reports whether it was.
func (j *Journal) discard() bool {
	known := j.state.vm
	if known == "" || j.vm == "" || strings.EqualFold(known, j.vm) {
		return false
	}
	j.drop(slices.DeleteFunc(slices.Clone(j.entries), func(e Entry) bool {
		return e.Boot != j.cfg.BootID || e.Kind == VMSeen && !strings.EqualFold(e.VM, j.vm)
	}))
	j.refold()
	vm := j.vm
	j.say(func() { j.log.Warn("journal of another vm discarded", "vm_id", vm, "journal_vm_id", known) })
	return true
}

// merge takes over what the file held, before what is in memory.
func (j *Journal) merge(r replay) {
	last := uint64(0)
	for _, e := range r.entries {
		last = max(last, e.Seq)
	}
	for i := range j.entries { // none of them is in the file
		j.entries[i].Seq += last
	}
	j.next += last
	fresh := j.entries
	j.entries = r.entries
	j.refold()
	j.durable, j.read, j.skipped = len(r.entries), true, r.bad
	if r.badEnd {
		j.skipped--
	}
	j.discard()
	j.entries = append(j.entries, fresh...)
	j.refold()
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

// report keeps err as the state of health, and says so when that changes.
func (j *Journal) report(err error) {
	if err != nil {
		j.failures++
	}
	switch {
	case err != nil && j.degraded == nil:
		j.say(func() { j.log.Error("journal cannot be written, going on in memory", "path", j.disk.path, "err", err) })
	case err == nil && j.degraded != nil:
		j.say(func() { j.log.Info("journal is written again", "path", j.disk.path) })
	}
	j.degraded = err
}

// say has a line logged when mu is no longer held: a log may block.
func (j *Journal) say(line func()) { j.says = append(j.says, line) }

// unlock is mu.Unlock.
func (j *Journal) unlock() {
	says := j.says
	j.says = nil
	j.mu.Unlock()
	for _, say := range says {
		say()
	}
}

// notify tells those who wait. mu is held.
func (j *Journal) notify() {
	close(j.changed)
	j.changed = make(chan struct{})
}

// waitDurable waits until the first n entries of this process are in the file. mu
// is held, but not while it waits.
func (j *Journal) waitDurable(n uint64, limit time.Duration) error {
	if j.closed {
		return fs.ErrClosed
	}
	return j.wait(func() (bool, error) {
		switch {
		case j.written >= n:
			return true, nil
		case j.tried >= n || j.behind:
			return true, j.degraded
		case !j.writing: // closed
			return true, fs.ErrClosed
		}
		return false, nil
	}, limit)
}

// idle is done when the goroutine has ended.
func (j *Journal) idle() (bool, error) { return !j.writing, nil }

// wait waits until done says so, and returns what it returns; or errHangs, when
// that takes longer than limit or what is left of the patience. mu is held, but
// not while it waits.
func (j *Journal) wait(done func() (bool, error), limit time.Duration) error {
	if ok, err := done(); ok {
		return err
	}
	began := time.Now()
	prompt := j.patience / 20
	most := max(j.left, prompt)
	timer := time.NewTimer(min(most, limit))
	defer timer.Stop()
	for over := false; ; {
		changed := j.changed
		j.unlock()
		select {
		case <-changed:
		case <-timer.C:
			over = true
		}
		j.mu.Lock()
		ok, err := done()
		if !ok && !over {
			continue
		}
		took := time.Since(began)
		if took > prompt {
			j.left = max(0, j.left-took)
		}
		if ok {
			return err
		}
		if took >= most {
			j.behind = true
			j.report(errHangs)
			j.notify() // nobody waits any more
		}
		return errHangs
	}
}

// write starts the goroutine that brings the file up to date, unless it runs.
func (j *Journal) write() {
	if !j.writing && !j.closed {
		j.writing = true
		go j.catchUp()
	}
}

// catchUp writes until the file has everything, or cannot be written. Every entry
// gets an attempt that began after it was added.
func (j *Journal) catchUp() {
	for done := false; !done; {
		j.mu.Lock()
		j.attempts++
		n := j.attempts
		j.mu.Unlock()
		slow := time.AfterFunc(maxPatience, func() { // said even if nobody waits
			j.mu.Lock()
			defer j.unlock()
			if j.writing && n == j.attempts && j.degraded == nil {
				j.report(errHangs)
			}
		})
		b, err := j.attempt()
		slow.Stop()
		if err == nil && j.cfg.AfterAppend != nil {
			for _, seq := range b.fresh {
				j.cfg.AfterAppend(seq)
			}
		}
		j.mu.Lock()
		if err != nil {
			j.tried = b.added
			done = b.added == j.added
		} else {
			j.wrote(b)
			done = j.written == j.added && !j.rewrite
		}
		if done {
			j.writing, j.behind = false, j.behind && err != nil
		}
		if done && err == nil && j.state.drain == nil {
			j.left = j.patience // outside of drains nothing adds up
		}
		if done || err != nil {
			j.report(err)
		}
		j.notify()
		j.unlock()
	}
}

// A batch is what the file is to be brought up to: a moment of the memory.
type batch struct {
	added   uint64
	drops   uint64
	whole   bool     // the file is to hold just these entries
	must    bool     // and must not stay as it is
	entries []Entry  // the whole of the file, or what it lacks
	total   int      // how many entries there were in memory
	fresh   []uint64 // those that the file gets for the first time
}

// attempt brings the file up to a moment, and returns that.
func (j *Journal) attempt() (batch, error) {
	j.mu.Lock()
	read, b := j.read, batch{added: j.added}
	j.mu.Unlock()
	if !read {
		r, err := j.disk.load()
		if err != nil {
			return b, err
		}
		j.mu.Lock()
		j.merge(r)
		j.unlock()
	}
	want, err := j.disk.ready()
	if err != nil {
		return b, err
	}
	if b = j.batch(want); len(b.fresh) == 0 && !b.must {
		return b, nil
	}
	if b.whole {
		if err = j.disk.replace(b.entries); err == nil || b.must || j.disk.lost {
			return b, err
		}
		// The file is as it was, just long or torn: appending may do.
		if j.Degraded() == nil {
			j.disk.limit *= 2
			j.log.Warn("journal not compacted", "path", j.disk.path, "bytes", j.disk.size, "err", err)
		}
		if b = j.batch(keepFile); b.whole {
			return b, err
		}
	}
	return b, j.disk.add(b.entries)
}

// batch returns what is missing in the file, or all that it should hold.
func (j *Journal) batch(want fileState) batch {
	j.mu.Lock()
	defer j.mu.Unlock()
	b := batch{
		added: j.added, drops: j.drops, total: len(j.entries),
		must: j.rewrite || want == mustReplace, whole: j.rewrite || want != keepFile,
	}
	for _, e := range j.entries[max(0, len(j.entries)-int(j.added-j.written)):] { //nolint:gosec // far from overflow
		b.fresh = append(b.fresh, e.Seq)
	}
	if b.whole {
		b.entries = keep(j.entries, j.state)
	} else {
		b.entries = slices.Clone(j.entries[j.durable:])
	}
	return b
}

// wrote takes note that a batch is in the file.
func (j *Journal) wrote(b batch) {
	j.written = b.added
	switch {
	case b.drops != j.drops: // meanwhile: the file has what it should no longer have
	case b.whole:
		j.entries = append(b.entries, j.entries[b.total:]...)
		j.durable, j.rewrite = len(b.entries), false
	default:
		j.durable = b.total
	}
}
