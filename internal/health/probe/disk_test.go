package probe

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

func TestDisk(t *testing.T) {
	dir := t.TempDir()
	for name, cfg := range map[string]DiskConfig{
		"some bytes":   {MinFree: Size{Amount: 1}},
		"some percent": {MinFree: Size{Percent: 1e-9}},
		"some inodes":  {MinFree: Size{Amount: 1}, MinFreeInodes: Size{Amount: 1}},
	} {
		t.Run(name, func(t *testing.T) {
			cfg.Path = dir
			p, err := Disk(cfg)
			require.NoError(t, look(t, p, err))
		})
	}

	p, err := Disk(DiskConfig{Path: dir, MinFree: Size{Amount: 1 << 62}})
	err = look(t, p, err)
	requireFinding(t, err)
	require.Regexp(t, `^disk `+dir+`: [\d.]+[KMGTP]iB free, want at least 4EiB$`, err.Error())

	p, err = Disk(DiskConfig{Path: dir + "/missing", MinFree: Size{Amount: 1}})
	requireSays(t, look(t, p, err), "disk "+dir+"/missing: no such file or directory, want a readable file system")

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorIs(t, p(ctx), context.Canceled)
}

// procfs has no blocks and counts no inodes.
func TestDiskWithoutCounts(t *testing.T) {
	p, err := Disk(DiskConfig{Path: "/proc", MinFreeInodes: Size{Percent: 50}})
	require.NoError(t, look(t, p, err))
	p, err = Disk(DiskConfig{Path: "/proc", MinFree: Size{Percent: 10}})
	requireSays(t, look(t, p, err), "disk /proc: 0% free, want at least 10%")
}

func TestDiskWritable(t *testing.T) {
	dir := t.TempDir()
	probe := func(path string) error {
		t.Helper()
		p, err := Disk(DiskConfig{Path: path, Writable: true})
		return look(t, p, err)
	}
	const want = ", want a file system that takes a write"
	entries := func() int {
		list, err := os.ReadDir(dir)
		require.NoError(t, err)
		return len(list)
	}
	require.NoError(t, probe(dir))
	require.Zero(t, entries(), "nothing is left")

	// What an agent left that was killed, and what somebody else put there.
	scratch, target := filepath.Join(dir, scratchName), tempFile(t, []byte("precious"))
	require.NoError(t, os.WriteFile(scratch, nil, 0o600))
	require.NoError(t, probe(dir))
	require.NoError(t, os.Symlink(target, scratch))
	require.NoError(t, probe(dir))
	require.NoError(t, os.Link(target, scratch))
	require.NoError(t, probe(dir))
	data, err := os.ReadFile(target)
	require.NoError(t, err)
	require.Equal(t, "precious", string(data))
	require.Zero(t, entries())
	require.NoError(t, os.Mkdir(scratch, 0o700))
	require.NoError(t, os.WriteFile(scratch+"/x", nil, 0o600))
	requireSays(t, probe(dir), "disk "+dir+": not writable: directory not empty"+want)

	requireSays(t, probe(target), "disk "+target+": not writable: not a directory"+want)
	requireSays(t, probe("/proc"), "disk /proc: not writable: no such file or directory"+want)
	requireSays(t, probe(dir+"/none"), "disk "+dir+"/none: no such file or directory"+want)

	// Several checks of one directory do not disturb each other.
	require.NoError(t, os.RemoveAll(scratch))
	var wg sync.WaitGroup
	var failed atomic.Int64
	for range 4 {
		wg.Go(func() {
			for range 50 {
				if tryWrite(dir) != nil {
					failed.Add(1)
				}
			}
		})
	}
	wg.Wait()
	require.Less(t, failed.Load(), int64(20), "and fail_after is for the moment when three meet")
	require.Zero(t, entries())
}

// TestDiskReadOnly: a real mount that is read-only, and one that went so.
func TestDiskReadOnly(t *testing.T) {
	testkit.Root(t)
	dir := t.TempDir()
	testkit.Need(t, unix.Mount("tmpfs", dir, "tmpfs", 0, "size=64k") == nil, "the right to mount")
	t.Cleanup(func() { require.NoError(t, unix.Unmount(dir, unix.MNT_DETACH)) })
	p, err := Disk(DiskConfig{Path: dir, Writable: true})
	require.NoError(t, look(t, p, err))
	require.NoError(t, os.WriteFile(dir+"/full", make([]byte, 64<<10), 0o600))
	requireSays(t, look(t, p, err), "disk "+dir+": not writable: no space left on device, want a file system that takes a write")
	require.NoError(t, unix.Mount("", dir, "", unix.MS_REMOUNT|unix.MS_RDONLY, ""))
	requireSays(t, look(t, p, err), "disk "+dir+": not writable: read-only file system, to the agent at least (its unit needs ReadWritePaths=), want a file system that takes a write")
}

// TestDiskHangs: a write that hangs fails the check at its timeout and from then on
// at once, and costs one goroutine until it returns.
func TestDiskHangs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		var writes atomic.Int64
		p := &diskProbe{cfg: DiskConfig{Path: "/", Writable: true}, call: newCall(), write: func(string) error {
			writes.Add(1)
			<-release
			return nil
		}}
		begun := time.Now()
		run := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			return p.run(ctx)
		}
		requireSays(t, run(), "disk /: timed out, want a file system that takes a write")
		for range 3 {
			requireSays(t, run(), "disk /: hangs since "+begun.UTC().Format(time.RFC3339)+", want a file system that takes a write")
		}
		require.Equal(t, 2*time.Second, time.Since(begun))
		require.EqualValues(t, 1, writes.Load())
		close(release)
		synctest.Wait()
		require.NoError(t, run())
	})
}

func TestAmount(t *testing.T) {
	for name, tc := range map[string]struct {
		amount amount
		limit  Size
		enough bool
		shown  string
	}{
		"exactly":      {amount{10, 100}, Size{Percent: 10}, true, "10%"},
		"just missed":  {amount{9999, 100000}, Size{Percent: 10}, false, "9.9%"},
		"bytes":        {amount{5 << 30, 10 << 30}, Size{Amount: 5 << 30}, true, "5GiB"},
		"bytes missed": {amount{5<<30 - 1, 10 << 30}, Size{Amount: 5 << 30}, false, "4.99GiB"},
		"few bytes":    {amount{1000, 2000}, Size{Amount: 1001}, false, "1000B"},
		"all":          {amount{math.MaxUint64, math.MaxUint64}, Size{Percent: 100}, true, "100%"},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.enough, tc.amount.enough(tc.limit))
			require.Equal(t, tc.shown, tc.amount.show(tc.limit, bytesText))
		})
	}
	require.Equal(t, "12345", amount{12345, 20000}.show(Size{Amount: 1}, countText))
}

func TestDiskRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  DiskConfig
		says string
	}{
		"relative": {DiskConfig{Path: "var"}, `path "var": want an absolute path`},
		"nothing":  {DiskConfig{Path: "/"}, "nothing to check, want min_free, min_free_inodes or writable"},
		"too much": {DiskConfig{Path: "/", MinFree: Size{Percent: 101}}, "min_free: want a percentage of at most 100%, or an amount"},
		"NaN":      {DiskConfig{Path: "/", MinFree: Size{Percent: math.NaN()}}, "min_free: want a percentage of at most 100%, or an amount"},
		"both": {
			DiskConfig{Path: "/", MinFreeInodes: Size{Percent: 1, Amount: 1}},
			"min_free_inodes: want a percentage of at most 100%, or an amount",
		},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Disk(tc.cfg)
			require.EqualError(t, err, tc.says)
		})
	}
}
