package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/safefile"
)

// The names in a rollout's directory, and of blobs.
const (
	journalName  = "journal"
	lockName     = "lock"
	requestsName = "requests"
)

// maxOwner bounds what is read of who has a lock.
const maxOwner = 4096

// A directory holds the rollouts of a place.
type directory string

func (d directory) store(id string) store { return &files{dir: filepath.Join(string(d), id)} }

func (d directory) list(context.Context) ([]Listed, error) {
	found, err := os.ReadDir(string(d))
	if err != nil {
		if odd := inTheWay(string(d)); odd != nil {
			return nil, odd
		}
		if errors.Is(err, fs.ErrNotExist) {
			err = fmt.Errorf("%w: %w", ErrNoPlace, err)
		}
		return nil, err
	}
	var all []Listed
	for _, entry := range found {
		if !validID.MatchString(entry.Name()) || !entry.IsDir() {
			continue
		}
		f, err := safefile.OpenRegular(filepath.Join(string(d), entry.Name(), journalName), os.O_RDONLY, 0)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		listed, err := listedFile(entry.Name(), f)
		_ = f.Close() // it was only read
		if err != nil {
			return nil, err
		}
		all = append(all, listed)
	}
	return all, nil
}

// listedFile says what a list says of a journal: its first line tells when it began.
func listedFile(id string, f *os.File) (Listed, error) {
	info, err := f.Stat()
	if err != nil {
		return Listed{}, err
	}
	l := Listed{ID: id, Begun: info.ModTime(), Written: info.ModTime()}
	first := make([]byte, maxHead)
	n, err := io.ReadFull(f, first)
	if err != nil && !errors.Is(err, io.EOF) && !errors.Is(err, io.ErrUnexpectedEOF) {
		return Listed{}, err
	}
	if m := head.FindSubmatch(first[:n]); m != nil {
		seconds, _ := strconv.ParseInt(string(m[2]), 10, 64) // digits, few enough
		l.Begun = time.Unix(seconds, 0)
	}
	return l, nil
}

// files keep one rollout. Whoever adds to the journal locks that file, too, so that an
// unlock cannot come in between.
type files struct{ dir string }

func (s *files) name() string { return filepath.Join(s.dir, journalName) }

func (s *files) read(_ context.Context, from int64) ([]byte, error) {
	f, err := safefile.OpenRegular(s.name(), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.NewSectionReader(f, from, maxJournal+1-from))
	if err == nil && from+int64(len(text)) > maxJournal {
		err = fmt.Errorf("%s is larger than %d bytes", s.name(), maxJournal)
	}
	return text, err
}

func (s *files) write(ctx context.Context, at int64, line []byte, may func() error) error {
	f, err := s.openJournal()
	if err != nil {
		return err
	}
	defer f.Close() // which unlocks it
	if err := lockSoon(ctx, f); err != nil {
		return err
	}
	if err := may(); err != nil {
		return err
	}
	info, err := f.Stat()
	if err != nil {
		return err
	}
	if info.Size() < at {
		return errMoved
	}
	if info.Size() > at {
		// Nobody is writing: what has no end is left of a crash.
		rest := make([]byte, min(info.Size()-at, maxJournal))
		if _, err := f.ReadAt(rest, at); err != nil {
			return fmt.Errorf("read %s: %w", f.Name(), err)
		}
		if bytes.IndexByte(rest, '\n') >= 0 {
			return errMoved
		}
		if err := f.Truncate(at); err != nil {
			return err
		}
	}
	if err := writeAt(f, line, at); err != nil {
		return errors.Join(err, f.Truncate(at)) // half a line is none
	}
	return f.Sync()
}

// writeAt is replaced by tests with a disk that is full.
var writeAt = func(f *os.File, line []byte, at int64) error {
	_, err := f.WriteAt(line, at)
	return err
}

// openJournal opens the journal, and makes it so that a crash does not unmake it.
func (s *files) openJournal() (*os.File, error) {
	f, err := safefile.OpenRegular(s.name(), os.O_RDWR, 0)
	if !errors.Is(err, fs.ErrNotExist) {
		return f, err
	}
	f, err = safefile.OpenRegular(s.name(), os.O_RDWR|os.O_CREATE, 0o644)
	if err != nil {
		return nil, err
	}
	for dir := range 2 { // the file's name, and the name of its directory
		if err := syncDir([]string{s.dir, filepath.Dir(s.dir)}[dir]); err != nil {
			_ = f.Close() // nothing was written
			return nil, err
		}
	}
	return f, nil
}

func syncDir(name string) error {
	d, err := os.Open(name)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync()
}

// lockSoon locks a file that others lock for the time of one write.
func lockSoon(ctx context.Context, f *os.File) error {
	for range 100 {
		got, err := tryLock(f, syscall.LOCK_EX)
		if err != nil || got {
			return err
		}
		select {
		case <-time.After(50 * time.Millisecond):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
	return fmt.Errorf("%s is being written to for seconds: is a process that writes to it stopped?", f.Name())
}

// lockUnlooked locks a file like tryLock, and waits for who only looks (holder).
func lockUnlooked(ctx context.Context, f *os.File) (got bool, err error) {
	for range 5 {
		if got, err = tryLock(f, syscall.LOCK_EX); err != nil || got {
			return got, err
		}
		select {
		case <-time.After(10 * time.Millisecond):
		case <-ctx.Done():
			return false, ctx.Err()
		}
	}
	return false, nil
}

// tryLock locks a file, LOCK_EX or LOCK_SH, unless somebody else has.
func tryLock(f *os.File, how int) (got bool, err error) {
	for {
		switch err := syscall.Flock(int(f.Fd()), how|syscall.LOCK_NB); {
		case err == nil:
			return true, nil
		case errors.Is(err, syscall.EWOULDBLOCK):
			return false, nil
		case !errors.Is(err, syscall.EINTR):
			return false, fmt.Errorf("lock %s: %w", f.Name(), err)
		}
	}
}

// An owned is what a lock says of who has it.
type owned struct {
	Owner string    `json:"owner"`
	Host  string    `json:"host"`
	PID   int       `json:"pid"`
	Since time.Time `json:"since"`
}

func (s *files) lockName() string { return filepath.Join(s.dir, lockName) }

func (s *files) lock(ctx context.Context, by Owner, at time.Time) (grip, error) {
	if err := s.makeDir(s.dir); err != nil {
		return nil, err
	}
	for range 10 { // an unlock may take the file away while it is being locked
		f, err := safefile.OpenRegular(s.lockName(), os.O_RDWR|os.O_CREATE, 0o644)
		if err != nil {
			return nil, err
		}
		g := &fileGrip{f}
		got, err := lockUnlooked(ctx, f)
		switch {
		case err != nil:
		case !got:
			err = readOwner(f)
		case g.still() != nil:
			_ = f.Close() // it is nobody's any more
			continue
		default:
			if err = g.say(owned{by.Name, by.Host, by.PID, at.UTC()}); err == nil {
				return g, nil
			}
		}
		_ = f.Close() // nothing of worth was written
		return nil, err
	}
	return nil, fmt.Errorf("%s is taken away again and again", s.lockName())
}

// makeDir makes a directory; one that is there already must be one.
func (s *files) makeDir(name string) error {
	if err := os.MkdirAll(name, 0o755); err != nil {
		if odd := inTheWay(name); odd != nil {
			return odd
		}
		return err
	}
	if info, err := os.Lstat(name); err != nil || !info.IsDir() {
		return errors.Join(err, fmt.Errorf("%s is not a directory: remove it, or name another place for the journal", name))
	}
	return nil
}

// inTheWay says what stands where a directory, or one above it, should be; nil: nothing
// does. A link to nowhere is never followed by making what it leads to: that may be a
// disk that is not mounted, with a journal on it.
func inTheWay(name string) error {
	for {
		info, err := os.Lstat(name)
		if err == nil {
			return odd(name, info.Mode())
		}
		above := filepath.Dir(name)
		if above == name {
			return nil
		}
		name = above
	}
}

// odd says what is wrong with what stands where a directory should be.
func odd(name string, mode fs.FileMode) error {
	if mode.IsDir() {
		return nil
	}
	if mode.Type() != fs.ModeSymlink {
		what := "no directory"
		if mode.IsRegular() {
			what = "a regular file, not a directory"
		}
		return fmt.Errorf("%s is %s: move it away, or name another place for the journal", name, what)
	}
	info, err := os.Stat(name)
	to, readErr := os.Readlink(name)
	switch {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return fmt.Errorf("%s is a link to what is not a directory: correct the link, or name another place for the journal", name)
	case errors.Is(err, fs.ErrNotExist) && readErr == nil:
		return fmt.Errorf("%s is a link to %s, which is not there: bring that back (is its disk mounted?), or name another place for the journal", name, to)
	default:
		return fmt.Errorf("%s is a link that leads to no directory: correct it, or name another place for the journal: %w", name, err)
	}
}

// readOwner is the *HeldError that a lock's file tells.
func readOwner(f *os.File) error {
	text, err := io.ReadAll(io.NewSectionReader(f, 0, maxOwner))
	if err != nil {
		return err
	}
	var o owned
	_ = json.Unmarshal(text, &o) // who has just taken it has not written yet
	held := &HeldError{Owner: Owner{Name: o.Owner, Host: o.Host, PID: o.PID}, Since: o.Since}
	if !o.Since.IsZero() {
		held.Age = max(time.Since(o.Since), 0)
	}
	return held
}

// holder locks the file for an instant, which others who look may do, too.
func (s *files) holder(context.Context) (*HeldError, error) {
	f, err := safefile.OpenRegular(s.lockName(), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close() // which unlocks it
	if got, err := tryLock(f, syscall.LOCK_SH); err != nil || got {
		return nil, err
	}
	err = readOwner(f)
	held, ok := errors.AsType[*HeldError](err)
	if !ok {
		return nil, err
	}
	return held, nil
}

// unlock takes the file away: who has it locked holds a lock that nobody looks at.
func (s *files) unlock(context.Context) error {
	if err := os.Remove(s.lockName()); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}

// A fileGrip is a locked file.
type fileGrip struct{ f *os.File }

func (g *fileGrip) lasts() time.Duration { return 0 }

func (g *fileGrip) renew(context.Context) error { return g.still() }

// still says whether the file is the one that others look at.
func (g *fileGrip) still() error {
	mine, err := g.f.Stat()
	if err != nil {
		return lost(err)
	}
	theirs, err := os.Lstat(g.f.Name())
	if err == nil && os.SameFile(mine, theirs) {
		return nil
	}
	if _, err := os.Stat(filepath.Dir(g.f.Name())); err != nil {
		return lost(err) // the whole journal is out of reach
	}
	return lost("somebody unlocked it")
}

// say writes who has the lock.
func (g *fileGrip) say(o owned) error {
	text, err := json.Marshal(o)
	if err != nil {
		return err
	}
	if err := g.f.Truncate(0); err != nil {
		return err
	}
	_, err = g.f.WriteAt(append(text, '\n'), 0)
	return err
}

func (g *fileGrip) release(context.Context) error {
	_ = g.f.Truncate(0) // for readers; what unlocks it is the close
	return g.f.Close()
}

func (s *files) requestsDir() string { return filepath.Join(s.dir, requestsName) }

// put writes a request under a name that none has, and then under its own.
func (s *files) put(_ context.Context, name string, request []byte) error {
	dir := s.requestsDir()
	if err := s.makeDir(dir); err != nil {
		return err
	}
	unfinished := filepath.Join(dir, "."+name)
	f, err := safefile.OpenRegular(unfinished, os.O_WRONLY|os.O_CREATE|os.O_EXCL, 0o644)
	if err != nil {
		return err
	}
	_, err = f.Write(request)
	err = errors.Join(err, f.Sync(), f.Close())
	if err == nil {
		err = os.Rename(unfinished, filepath.Join(dir, name))
	}
	if err != nil {
		_ = os.Remove(unfinished) // the first error says more
		return err
	}
	return syncDir(dir)
}

func (s *files) names(context.Context) ([]string, error) {
	found, err := os.ReadDir(s.requestsDir())
	if err != nil {
		if odd := inTheWay(s.requestsDir()); odd != nil {
			return nil, odd
		}
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, entry := range found {
		if entry.Type().IsRegular() {
			names = append(names, entry.Name())
		}
	}
	return names, err
}

func (s *files) get(_ context.Context, name string) ([]byte, error) {
	f, err := safefile.OpenRegular(filepath.Join(s.requestsDir(), name), os.O_RDONLY, 0)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxRequest+1))
	return append([]byte{}, data...), err
}

func (s *files) remove(_ context.Context, name string) error {
	if err := os.Remove(filepath.Join(s.requestsDir(), name)); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
