package systemd

import (
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestInhibitDelayConfig(t *testing.T) {
	const (
		unattended = "/usr/lib/systemd/logind.conf.d/unattended-upgrades-logind-maxdelay.conf"
		numbered   = "/usr/lib/systemd/logind.conf.d/99-fleet-agent.conf"
		ours       = "/usr/lib/systemd/logind.conf.d/zz-fleet-agent.conf"
		theirs     = "/etc/systemd/logind.conf.d/zz-fleet-agent.conf"
	)
	set := func(value string) string { return "[Login]\nInhibitDelayMaxSec=" + value + "\n" }
	for name, tc := range map[string]struct {
		files map[string]string
		want  []InhibitDelaySetting // the last one wins
	}{
		"nothing": {},
		"comments only": {
			files: map[string]string{"/etc/systemd/logind.conf": "[Login]\n#InhibitDelayMaxSec=5\n;InhibitDelayMaxSec=6\n"},
		},
		"a number loses to a word": {
			files: map[string]string{unattended: set("30"), numbered: set("120")},
			want:  []InhibitDelaySetting{{numbered, 2 * time.Minute}, {unattended, 30 * time.Second}},
		},
		"zz wins": {
			files: map[string]string{unattended: set("30"), ours: set("2min")},
			want:  []InhibitDelaySetting{{unattended, 30 * time.Second}, {ours, 2 * time.Minute}},
		},
		"the main file is first": {
			files: map[string]string{"/etc/systemd/logind.conf": set("7"), ours: set("120")},
			want:  []InhibitDelaySetting{{"/etc/systemd/logind.conf", 7 * time.Second}, {ours, 2 * time.Minute}},
		},
		"etc hides usr": {
			files: map[string]string{ours: set("120"), theirs: set("9")},
			want:  []InhibitDelaySetting{{theirs, 9 * time.Second}},
		},
		"null masks": {
			files: map[string]string{ours: set("120"), theirs: "-> /dev/null"},
		},
		"run is between": {
			files: map[string]string{
				"/run/systemd/logind.conf.d/50-a.conf":     set("1"),
				"/usr/lib/systemd/logind.conf.d/50-a.conf": set("2"),
				"/etc/systemd/logind.conf.d/10-b.conf":     set("3"),
			},
			want: []InhibitDelaySetting{
				{"/etc/systemd/logind.conf.d/10-b.conf", 3 * time.Second},
				{"/run/systemd/logind.conf.d/50-a.conf", time.Second},
			},
		},
		"only the last valid value of its own section": {
			files: map[string]string{ours: "InhibitDelayMaxSec=1\n[Other]\nInhibitDelayMaxSec=2\n[Login]\n InhibitDelayMaxSec = 3 \nInhibitDelayMaxSec=soon\nInhibitDelayMaxSec=\n"},
			want:  []InhibitDelaySetting{{ours, 3 * time.Second}},
		},
		"not a drop-in": {
			files: map[string]string{"/etc/systemd/logind.conf.d/zz.conf.bak": set("99")},
		},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			for file, text := range tc.files {
				path := filepath.Join(root, file)
				require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
				if text == "-> /dev/null" {
					require.NoError(t, os.Symlink(os.DevNull, path))
					continue
				}
				require.NoError(t, os.WriteFile(path, []byte(text), 0o600))
			}
			got, err := InhibitDelayConfig(root)
			require.NoError(t, err)
			require.Equal(t, tc.want, got)
		})
	}
}

func TestInhibitDelayConfigNamesWhatItCannotRead(t *testing.T) {
	root := t.TempDir()
	require.NoError(t, os.MkdirAll(filepath.Join(root, "/etc/systemd/logind.conf.d/zz.conf"), 0o755))
	_, err := InhibitDelayConfig(root)
	require.ErrorContains(t, err, "read /etc/systemd/logind.conf.d/zz.conf: ")
}

func TestParseTimeSpan(t *testing.T) {
	for in, want := range map[string]time.Duration{
		"30":             30 * time.Second,
		"30s":            30 * time.Second,
		"1.5min":         90 * time.Second,
		"1min 30s":       90 * time.Second,
		"1min30":         90 * time.Second,
		"500 ms":         500 * time.Millisecond,
		"2h":             2 * time.Hour,
		"1d":             24 * time.Hour,
		"2.5s":           2500 * time.Millisecond,
		"100ms":          100 * time.Millisecond,
		"1w":             7 * 24 * time.Hour,
		"250us":          250 * time.Microsecond,
		"infinity":       Infinite,
		"100000y":        Infinite,
		"0":              0,
		"9999999999999y": Infinite,
	} {
		got, err := ParseTimeSpan(in)
		require.NoError(t, err, in)
		require.Equal(t, want, got, in)
	}
	for _, in := range []string{"", " ", "soon", "-5", "5 parsecs", "1..2s", ".", "s"} {
		_, err := ParseTimeSpan(in)
		require.Error(t, err, in)
	}
}

func FuzzParseTimeSpan(f *testing.F) {
	f.Add("1min 30s")
	f.Add("infinity")
	f.Fuzz(func(t *testing.T, s string) {
		d, err := ParseTimeSpan(s)
		require.False(t, err == nil && d < 0, "%q is %s", s, d)
	})
}
