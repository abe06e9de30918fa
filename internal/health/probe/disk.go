package probe

import (
	"context"
	"errors"
	"fmt"
	"math"
	"path/filepath"
	"strconv"

	"golang.org/x/sys/unix"
)

// Size is an amount of something: a share of the whole, or a number. At most
// one of the two is set; neither means that nothing is asked.
type Size struct {
	Percent float64 // above 0, at most 100
	Amount  uint64  // bytes, or inodes
}

// DiskConfig describes how much of a file system has to be free, and whether it has
// to take a write.
type DiskConfig struct {
	Path          string // any path on the file system, absolute; with Writable a directory
	MinFree       Size   // space that an unprivileged program can still use
	MinFreeInodes Size   // passes where the file system keeps no such count
	Writable      bool   // a small file is written to Path, synced and removed, at every run
}

// Target is where the probe looks, as its errors name it.
func (c DiskConfig) Target() string { return c.Path }

// Disk passes when the file system of a path has enough left and takes a write, as
// far as that is asked. The percentage is 100 minus the Use% of df, which leaves
// out what is reserved for root.
func Disk(cfg DiskConfig) (func(ctx context.Context) error, error) {
	if !filepath.IsAbs(cfg.Path) {
		return nil, fmt.Errorf("path %q: want an absolute path", cfg.Path)
	}
	if err := cfg.MinFree.validate("min_free"); err != nil {
		return nil, err
	}
	if err := cfg.MinFreeInodes.validate("min_free_inodes"); err != nil {
		return nil, err
	}
	if cfg.MinFree == (Size{}) && cfg.MinFreeInodes == (Size{}) && !cfg.Writable {
		return nil, errors.New("nothing to check, want min_free, min_free_inodes or writable")
	}
	p := &diskProbe{cfg: cfg, call: newCall(), write: tryWrite}
	return p.run, nil
}

type diskProbe struct {
	cfg   DiskConfig
	call  *call
	write func(dir string) error
}

// A writeError is that of the write, not of the look at the free space.
type writeError struct{ err error }

func (e *writeError) Error() string {
	text := describe(e.err)
	if errors.Is(e.err, unix.EROFS) {
		text += ", to the agent at least (its unit needs ReadWritePaths=)"
	}
	return "not writable: " + text
}

func (e *writeError) Unwrap() error { return e.err }

func (p *diskProbe) run(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "disk", Target: p.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	want := "a readable file system"
	if p.cfg.Writable {
		want = "a file system that takes a write"
	}
	st, err := within(ctx, p.call, p.look)
	if _, wrote := errors.AsType[*writeError](err); wrote {
		return fail(err.Error(), want, err)
	}
	if err != nil {
		return fail(describe(err), want, err)
	}
	unit := uint64(st.Frsize) // statfs(2): what blocks are counted in
	space := amount{free: st.Bavail * unit, total: (st.Blocks - st.Bfree + st.Bavail) * unit}
	if limit := p.cfg.MinFree; !space.enough(limit) {
		return fail(space.show(limit, bytesText)+" free", "at least "+limit.show(bytesText), nil)
	}
	inodes := amount{free: st.Ffree, total: st.Files}
	if limit := p.cfg.MinFreeInodes; inodes.total > 0 && !inodes.enough(limit) {
		return fail(inodes.show(limit, countText)+" inodes free", "at least "+limit.show(countText), nil)
	}
	return nil
}

func (p *diskProbe) look() (unix.Statfs_t, error) {
	st, err := statfs(p.cfg.Path)
	if err == nil && p.cfg.Writable {
		if werr := p.write(p.cfg.Path); werr != nil {
			err = &writeError{werr}
		}
	}
	return st, err
}

func statfs(path string) (st unix.Statfs_t, err error) {
	for {
		if err = unix.Statfs(path, &st); !errors.Is(err, unix.EINTR) {
			return st, err
		}
	}
}

// amount is what is free of a whole.
type amount struct{ free, total uint64 }

func (a amount) percent() float64 {
	if a.total == 0 {
		return 0
	}
	return 100 * float64(a.free) / float64(a.total)
}

func (a amount) enough(limit Size) bool {
	return a.percent() >= limit.Percent && a.free >= limit.Amount
}

// show writes an amount in the unit of the limit that it is held against.
func (a amount) show(limit Size, text func(uint64) string) string {
	if limit.Percent > 0 {
		// Rounded down: 9.96% must not read as the 10% that it misses.
		return strconv.FormatFloat(math.Floor(a.percent()*10)/10, 'f', -1, 64) + "%"
	}
	return text(a.free)
}

func (s Size) show(text func(uint64) string) string {
	if s.Percent > 0 {
		return strconv.FormatFloat(s.Percent, 'f', -1, 64) + "%"
	}
	return text(s.Amount)
}

func (s Size) validate(key string) error {
	if !(s.Percent >= 0 && s.Percent <= 100) || s.Percent > 0 && s.Amount > 0 {
		return fmt.Errorf("%s: want a percentage of at most 100%%, or an amount", key)
	}
	return nil
}

func countText(n uint64) string { return strconv.FormatUint(n, 10) }

// bytesText writes a number of bytes with two digits after the point, rounded down.
func bytesText(n uint64) string {
	const units = "KMGTPE"
	if n < 1<<10 {
		return fmt.Sprintf("%dB", n)
	}
	v, i := float64(n)/(1<<10), 0
	for v >= 1<<10 && i < len(units)-1 {
		v, i = v/(1<<10), i+1
	}
	return strconv.FormatFloat(math.Floor(v*100)/100, 'f', -1, 64) + units[i:i+1] + "iB"
}
