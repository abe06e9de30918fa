package probe

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestFile(t *testing.T) {
	dir := t.TempDir()
	present := writeFile(t, filepath.Join(dir, "present"), nil)
	old := writeFile(t, filepath.Join(dir, "old"), nil)
	require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-90*time.Minute)))
	future := writeFile(t, filepath.Join(dir, "future"), nil)
	require.NoError(t, os.Chtimes(future, time.Time{}, time.Now().Add(time.Hour)))
	absent := filepath.Join(dir, "absent")
	dangling := filepath.Join(dir, "dangling")
	require.NoError(t, os.Symlink(absent, dangling))
	inFile := filepath.Join(present, "x")

	for name, tc := range map[string]struct {
		cfg  FileConfig
		says string
	}{
		"present":          {cfg: FileConfig{Path: present}},
		"directory":        {cfg: FileConfig{Path: dir}},
		"fresh":            {cfg: FileConfig{Path: present, MaxAge: time.Hour}},
		"from the future":  {cfg: FileConfig{Path: future, MaxAge: time.Second}},
		"absent":           {cfg: FileConfig{Path: absent, Absent: true}},
		"dangling, absent": {cfg: FileConfig{Path: dangling, Absent: true}},
		"missing":          {cfg: FileConfig{Path: absent}, says: "file " + absent + ": absent, want present"},
		"dangling":         {cfg: FileConfig{Path: dangling}, says: "file " + dangling + ": absent, want present"},
		"unwanted":         {cfg: FileConfig{Path: present, Absent: true}, says: "file " + present + ": present, want absent"},
		"unreadable":       {cfg: FileConfig{Path: inFile}, says: "file " + inFile + ": not a directory, want present"},
		"unreadable, to be absent": {
			cfg: FileConfig{Path: inFile, Absent: true}, says: "file " + inFile + ": not a directory, want absent",
		},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := File(tc.cfg)
			err = look(t, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}

	p, err := File(FileConfig{Path: old, MaxAge: time.Hour})
	err = look(t, p, err)
	requireFinding(t, err)
	require.Regexp(t, `^file `+old+`: last modified 1h30m\d+s ago, want at most 1h0m0s$`, err.Error())
}

func TestFileRefuses(t *testing.T) {
	for name, tc := range map[string]struct {
		cfg  FileConfig
		says string
	}{
		"relative":    {FileConfig{Path: "x"}, `path "x": want an absolute path`},
		"negative":    {FileConfig{Path: "/x", MaxAge: -1}, "max_age -1ns: want a positive duration"},
		"absent, old": {FileConfig{Path: "/x", Absent: true, MaxAge: 1}, "max_age: an absent file has no age, want either absent or max_age"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := File(tc.cfg)
			require.EqualError(t, err, tc.says)
		})
	}
}
