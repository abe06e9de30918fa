package journal

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"
)

// A place that is not there is not one without rollouts.
func TestNoPlace(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "rollouts")
	p, err := At(dir, nil, nil)
	require.NoError(t, err)
	_, err = p.List(t.Context())
	require.ErrorIs(t, err, ErrNoPlace)
	require.ErrorIs(t, err, fs.ErrNotExist)
	require.ErrorContains(t, err, dir)
	require.NoError(t, os.Mkdir(dir, 0o755))
	all, err := p.List(t.Context())
	require.NoError(t, err)
	require.Empty(t, all)
}

// What stands in the way of a place is named, with what to do, by whoever reads and by
// whoever writes.
func TestPlaceInTheWay(t *testing.T) {
	for name, tt := range map[string]struct {
		make func(dir string) error
		path string // of the place in dir
		want string // after dir
	}{
		"a file":       {func(dir string) error { return os.WriteFile(dir+"/x", nil, 0o600) }, "/x", "/x is a regular file, not a directory: move it away, or name another place for the journal"},
		"below a file": {func(dir string) error { return os.WriteFile(dir+"/x", nil, 0o600) }, "/x/rollouts", "/x is a regular file, not a directory: move it away"},
		"a link to a file": {func(dir string) error {
			return errors.Join(os.WriteFile(dir+"/f", nil, 0o600), os.Symlink("f", dir+"/x"))
		}, "/x", "/x is a link to what is not a directory: correct the link"},
		"a link to nowhere": {func(dir string) error { return os.Symlink("/nowhere/disk", dir+"/x") }, "/x", "/x is a link to /nowhere/disk, which is not there: bring that back"},
		"below such a link": {func(dir string) error { return os.Symlink("/nowhere/disk", dir+"/x") }, "/x/rollouts", "/x is a link to /nowhere/disk, which is not there: bring that back"},
		"a link to itself":  {func(dir string) error { return os.Symlink("x", dir+"/x") }, "/x", "/x is a link that leads to no directory: correct it"},
	} {
		t.Run(name, func(t *testing.T) {
			dir := t.TempDir()
			require.NoError(t, tt.make(dir))
			p, err := At(dir+tt.path, nil, nil)
			require.NoError(t, err)
			_, err = p.List(t.Context())
			require.NotErrorIs(t, err, ErrNoPlace)
			require.ErrorContains(t, err, dir+tt.want)
			_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
			require.ErrorContains(t, err, dir+tt.want)
			_, err = journalOf(t, p, "7").Ask(t.Context(), []byte("{}"))
			require.ErrorContains(t, err, dir+tt.want)
		})
	}
}

// A place may be a link to a directory.
func TestLinkedPlace(t *testing.T) {
	dir := t.TempDir()
	require.NoError(t, errors.Join(os.Mkdir(dir+"/real", 0o755), os.Symlink("real", dir+"/x")))
	p, err := At(dir+"/x", nil, nil)
	require.NoError(t, err)
	appended(t, taken(t, p, "7", "ada"), "1")
	all, err := p.List(t.Context())
	require.NoError(t, err)
	require.Len(t, all, 1)
}
