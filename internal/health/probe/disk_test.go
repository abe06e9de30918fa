package probe

import (
	"context"
	"math"
	"testing"

	"github.com/stretchr/testify/require"
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
		"nothing":  {DiskConfig{Path: "/"}, "nothing to check, want min_free or min_free_inodes"},
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
