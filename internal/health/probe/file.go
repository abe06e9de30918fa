package probe

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"time"
)

// FileConfig describes what is expected of a path.
type FileConfig struct {
	Path   string        // absolute; a symbolic link stands for what it points to
	Absent bool          // passes when nothing is there; default: when something is
	MaxAge time.Duration // since the last modification; 0: any; not with Absent
}

// Target is where the probe looks, as its errors name it.
func (c FileConfig) Target() string { return c.Path }

// File passes when a path is there, and fresh enough, or is absent. A path
// that cannot be looked at (permission, I/O error) passes neither way.
func File(cfg FileConfig) (func(ctx context.Context) error, error) {
	switch {
	case !filepath.IsAbs(cfg.Path):
		return nil, fmt.Errorf("path %q: want an absolute path", cfg.Path)
	case cfg.MaxAge < 0:
		return nil, fmt.Errorf("max_age %v: want a positive duration", cfg.MaxAge)
	case cfg.Absent && cfg.MaxAge > 0:
		return nil, errors.New("max_age: an absent file has no age, want either absent or max_age")
	}
	p := &fileProbe{cfg: cfg, call: newCall()}
	return p.run, nil
}

type fileProbe struct {
	cfg  FileConfig
	call *call
}

func (p *fileProbe) run(ctx context.Context) error {
	fail := func(seen, want string, err error) error {
		return &Error{Kind: "file", Target: p.cfg.Target(), Seen: seen, Want: want, Err: err}
	}
	want := "present"
	if p.cfg.Absent {
		want = "absent"
	}
	info, err := within(ctx, p.call, func() (os.FileInfo, error) { return os.Stat(p.cfg.Path) })
	switch {
	case err != nil && errors.Is(err, fs.ErrNotExist):
		if !p.cfg.Absent {
			return fail("absent", want, err)
		}
	case err != nil:
		return fail(describe(err), want, err)
	case p.cfg.Absent:
		return fail("present", want, nil)
	case p.cfg.MaxAge > 0:
		if age := time.Since(info.ModTime()); age > p.cfg.MaxAge {
			return fail("last modified "+age.Truncate(time.Second).String()+" ago", "at most "+p.cfg.MaxAge.String(), nil)
		}
	}
	return nil
}
