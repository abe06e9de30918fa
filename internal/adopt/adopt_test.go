package adopt

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files")

// The nginx unit is Debian's, as far as it matters here.
const nginxUnit = `# Stop dance for nginx
[Unit]
Description=A high performance web server and a reverse proxy server
After=network-online.target

[Service]
Type=forking
PIDFile=/run/nginx.pid
ExecStart=/usr/sbin/nginx -g 'daemon on; master_process on;'
ExecReload=/usr/sbin/nginx -g 'daemon on; master_process on;' -s reload
ExecStop=-/sbin/start-stop-daemon --quiet --stop --retry QUIT/5 \
    --pidfile /run/nginx.pid
TimeoutStopSec=5
KillMode=mixed

[Install]
WantedBy=multi-user.target
`

// newTree makes a root directory of files; a text that begins with "-> " makes a
// link.
func newTree(t *testing.T, files map[string]string) string {
	t.Helper()
	dir := t.TempDir()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		if target, ok := strings.CutPrefix(text, "-> "); ok {
			require.NoError(t, os.Symlink(target, path))
			continue
		}
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	return dir
}

func newWorkloads(t *testing.T, dir string) *Workloads {
	t.Helper()
	w, err := New(Config{Root: dir, RunDir: "/run/fleet-agent", TargetMax: time.Minute})
	require.NoError(t, err)
	return w
}

// snapshot is every file below a directory: its text, or where it leads.
func snapshot(t *testing.T, dir string) map[string]string {
	t.Helper()
	files := make(map[string]string)
	require.NoError(t, filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, _ := strings.CutPrefix(path, dir)
		switch {
		case e.Type()&fs.ModeSymlink != 0:
			target, err := os.Readlink(path)
			files[name] = "-> " + target
			return err
		case e.IsDir():
			files[name] = "directory"
		default:
			text, err := os.ReadFile(path)
			files[name] = string(text)
			return err
		}
		return nil
	}))
	return files
}

const appUnit = "[Service]\nExecStart=/bin/app\nTimeoutStopSec=20\n"

func TestAdoptWritesTwoFilesAndReleaseRemovesThem(t *testing.T) {
	dir := newTree(t, map[string]string{
		"/usr/lib/systemd/system/nginx.service":               nginxUnit,
		"/etc/systemd/system/nginx.service.d/10-limits.conf":  "[Service]\nLimitNOFILE=65536\n",
		"/etc/systemd/system/multi-user.target.wants/x.timer": "-> /nowhere",
	})
	w := newWorkloads(t, dir)
	before := snapshot(t, dir)

	res, err := w.Adopt("nginx", Settings{StopTimeout: 30 * time.Second, KillSignal: "SIGQUIT"}, false)
	require.NoError(t, err)
	require.Equal(t, "nginx.service", res.Unit)
	require.Equal(t, []Change{
		{Path: "/etc/systemd/system/nginx.service.d/50-fleet.conf", Action: "written"},
		{Path: "/etc/systemd/system/fleet-serving.target.wants/nginx.service", Action: "linked", Target: "/usr/lib/systemd/system/nginx.service"},
	}, res.Changes)
	require.Equal(t, Stop{Timeout: 30 * time.Second, Signal: "SIGQUIT"}, res.Stop)
	adopted := snapshot(t, dir)
	require.Len(t, adopted, len(before)+3, "a drop-in, a link and the directory of links")
	require.Equal(t, "-> /usr/lib/systemd/system/nginx.service", adopted["/etc/systemd/system/fleet-serving.target.wants/nginx.service"])
	golden(t, "testdata/50-fleet.conf", adopted["/etc/systemd/system/nginx.service.d/50-fleet.conf"])

	again, err := w.Adopt("nginx.service", Settings{StopTimeout: 30 * time.Second, KillSignal: "SIGQUIT"}, false)
	require.NoError(t, err)
	require.False(t, again.Changed())
	require.Equal(t, adopted, snapshot(t, dir))

	other, err := w.Adopt("nginx.service", Settings{StopTimeout: 45 * time.Second}, false)
	require.NoError(t, err)
	require.True(t, other.Changed())
	require.Equal(t, Stop{Timeout: 45 * time.Second, Signal: "SIGTERM"}, other.Stop)

	released, err := w.Release("nginx", false)
	require.NoError(t, err)
	require.Len(t, released.Changes, 2)
	require.Equal(t, before, snapshot(t, dir), "nothing is left and nothing else is gone")

	released, err = w.Release("nginx", false)
	require.NoError(t, err)
	require.False(t, released.Changed())
}

func golden(t *testing.T, path, text string) {
	t.Helper()
	if *update {
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
	want, err := os.ReadFile(path)
	require.NoError(t, err)
	require.Equal(t, string(want), text)
}

func TestWhatIsEditedIsLeftAlone(t *testing.T) {
	const dropIn = "/etc/systemd/system/app.service.d/50-fleet.conf"
	for name, edit := range map[string]func(string) string{
		"a value":  func(s string) string { return s + "[Service]\nTimeoutStopSec=5min\n" },
		"a line":   func(s string) string { return strings.Replace(s, "After=", "#After=", 1) },
		"foreign":  func(string) string { return "[Unit]\nPartOf=fleet-serving.target\n" },
		"emptied":  func(string) string { return "" },
		"checksum": func(s string) string { return strings.Replace(s, "checksum ", "checksum 0", 1) },
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTree(t, map[string]string{"/etc/systemd/system/app.service": appUnit})
			w := newWorkloads(t, dir)
			_, err := w.Adopt("app", Settings{}, false)
			require.NoError(t, err)
			text, err := os.ReadFile(filepath.Join(dir, dropIn))
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(dir, dropIn), []byte(edit(string(text))), 0o644))
			edited := snapshot(t, dir)

			_, err = w.Adopt("app", Settings{}, false)
			require.ErrorIs(t, err, ErrEdited)
			_, err = w.Release("app", false)
			require.ErrorIs(t, err, ErrEdited)
			require.Equal(t, edited, snapshot(t, dir))
			list, err := w.List()
			require.NoError(t, err)
			require.Equal(t, StateEdited, list[0].State)

			_, err = w.Adopt("app", Settings{}, true)
			require.NoError(t, err)
			after, err := os.ReadFile(filepath.Join(dir, dropIn))
			require.NoError(t, err)
			require.Equal(t, string(text), string(after))
		})
	}
}

func TestRefusals(t *testing.T) {
	files := map[string]string{
		"/etc/systemd/system/sshd.service":              "-> /lib/systemd/system/ssh.service",
		"/lib/systemd/system/ssh.service":               appUnit,
		"/etc/systemd/system/web-alias.service":         "-> /usr/lib/systemd/system/dbus-broker.service",
		"/usr/lib/systemd/system/dbus-broker.service":   appUnit,
		"/etc/systemd/system/masked.service":            "-> /dev/null",
		"/etc/systemd/system/emptied.service":           "",
		"/etc/systemd/system/loop.service":              "-> loop.service",
		"/usr/lib/systemd/system/vmext.service":         "[Service]\nExecStart=/bin/x\nSlice=azure-vmextensions.slice\n",
		"/usr/lib/systemd/system/tool.service":          appUnit,
		"/etc/systemd/system/tool.service.d/slice.conf": "[Service]\nSlice=azure.slice\n",
	}
	for name, want := range map[string]string{
		"":                         "is empty",
		"../etc/passwd":            "'/' is not allowed",
		"a b.service":              "' ' is not allowed",
		"web\n.service":            `'\n' is not allowed`,
		".service":                 "nothing before the .service",
		"@1.service":               "nothing before",
		strings.Repeat("a", 260):   "longer than 255",
		"walinuxagent":             "health extension",
		"walinuxagent.service":     "health extension",
		"fleet-agent.service":      "does the draining",
		"fleet-agent.socket":       "does the draining",
		"fleet-serving.target":     "does the draining",
		"systemd-journald.service": "part of systemd",
		"dbus.service":             "over D-Bus",
		"ssh":                      "could not look",
		"sshd":                     "could not look", // an alias
		"web-alias":                "over D-Bus",     // an alias with another name
		"azure.slice":              "only .service",
		"multi-user.target":        "only .service, .socket, .timer, .path",
		"var.mount":                "only .service",
		"app@.service":             "template: name an instance, such as app@1.service",
		"vmext":                    "azure-vmextensions.slice",
		"tool":                     "azure.slice",
		"masked":                   "is masked",
		"emptied":                  "is masked",
		"loop":                     "too many links",
		"absent":                   "no such unit: absent.service is not in /etc/systemd/system",
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTree(t, files)
			before := snapshot(t, dir)
			_, err := newWorkloads(t, dir).Adopt(name, Settings{}, true)
			require.ErrorContains(t, err, want)
			require.Equal(t, before, snapshot(t, dir))
		})
	}
}

func TestUnitsAreFoundAsSystemdFindsThem(t *testing.T) {
	for name, test := range map[string]struct {
		files             map[string]string
		adopt, unit, link string
		stop              Stop
	}{
		"instance": {
			files: map[string]string{"/usr/lib/systemd/system/app@.service": appUnit},
			adopt: "app@blue", unit: "app@blue.service", link: "/usr/lib/systemd/system/app@.service",
			stop: Stop{20 * time.Second, "SIGTERM"},
		},
		"instance with its own file": {
			files: map[string]string{
				"/usr/lib/systemd/system/app@.service":      appUnit,
				"/etc/systemd/system/app@blue.service":      "[Service]\nTimeoutSec=1min 30s\n",
				"/etc/systemd/system/app@.service.d/x.conf": "[Service]\nKillSignal=SIGINT\n",
			},
			adopt: "app@blue.service", unit: "app@blue.service", link: "/etc/systemd/system/app@blue.service",
			stop: Stop{90 * time.Second, "SIGINT"},
		},
		"alias of an instance": {
			files: map[string]string{
				"/usr/lib/systemd/system/postgresql@.service": appUnit,
				"/etc/systemd/system/pg@.service":             "-> /usr/lib/systemd/system/postgresql@.service",
			},
			adopt: "pg@16", unit: "postgresql@16.service", link: "/usr/lib/systemd/system/postgresql@.service",
			stop: Stop{20 * time.Second, "SIGTERM"},
		},
		"etc before usr": {
			files: map[string]string{
				"/usr/lib/systemd/system/app.service": appUnit,
				"/etc/systemd/system/app.service":     "[Service]\n",
			},
			adopt: "app", unit: "app.service", link: "/etc/systemd/system/app.service",
			stop: Stop{90 * time.Second, "SIGTERM"},
		},
		"linked from elsewhere": {
			files: map[string]string{
				"/etc/systemd/system/app.service": "-> /opt/app/app.service",
				"/opt/app/app.service":            appUnit,
			},
			adopt: "app", unit: "app.service", link: "/etc/systemd/system/app.service",
			stop: Stop{20 * time.Second, "SIGTERM"},
		},
		"a directory that is a link": {
			files: map[string]string{
				"/lib":                                        "-> /usr/lib",
				"/usr/lib/systemd/system":                     "-> /opt/units",
				"/opt/units/app.service":                      appUnit,
				"/opt/units/app.service.d/mask.conf":          "[Service]\nTimeoutStopSec=1s\n",
				"/etc/systemd/system/app.service.d/mask.conf": "-> /dev/null",
			},
			adopt: "app", unit: "app.service", link: "/usr/lib/systemd/system/app.service",
			stop: Stop{20 * time.Second, "SIGTERM"},
		},
		"the last drop-in counts": {
			files: map[string]string{
				"/usr/lib/systemd/system/app.service":             appUnit,
				"/usr/lib/systemd/system/app.service.d/90-x.conf": "[Service]\nTimeoutStopSec=infinity\n",
				"/etc/systemd/system/app.service.d/10-x.conf":     "[Service]\nTimeoutStopSec=1\n",
				"/etc/systemd/system/service.d/90-x.conf":         "[Service]\nTimeoutStopSec=2\n",
			},
			adopt: "app", unit: "app.service", link: "/usr/lib/systemd/system/app.service",
			stop: Stop{Infinite, "SIGTERM"},
		},
		"socket": {
			files: map[string]string{"/usr/lib/systemd/system/app.socket": "[Socket]\nListenStream=80\n"},
			adopt: "app.socket", unit: "app.socket", link: "/usr/lib/systemd/system/app.socket",
		},
	} {
		t.Run(name, func(t *testing.T) {
			w := newWorkloads(t, newTree(t, test.files))
			res, err := w.Adopt(test.adopt, Settings{}, false)
			require.NoError(t, err)
			require.Equal(t, test.unit, res.Unit)
			require.Equal(t, test.link, res.Changes[1].Target)
			require.Equal(t, test.stop, res.Stop)
			list, err := w.List()
			require.NoError(t, err)
			require.Len(t, list, 1)
			require.Equal(t, StateAdopted, list[0].State)
			released, err := w.Release(test.adopt, false)
			require.NoError(t, err)
			require.True(t, released.Changed())
		})
	}
}

// A link out of the tree of an image leads back into it.
func TestTheTreeIsNotLeft(t *testing.T) {
	outside := t.TempDir()
	dir := newTree(t, map[string]string{
		"/usr/lib/systemd/system/app.service": appUnit,
		"/etc/systemd/system":                 "-> " + outside,
	})
	_, err := newWorkloads(t, dir).Adopt("app", Settings{}, false)
	require.NoError(t, err)
	entries, err := os.ReadDir(outside)
	require.NoError(t, err)
	require.Empty(t, entries)
	require.FileExists(t, filepath.Join(dir, outside, "app.service.d/50-fleet.conf"))
}

func TestStates(t *testing.T) {
	dir := newTree(t, map[string]string{
		"/etc/systemd/system/a.service": appUnit, "/etc/systemd/system/b.service": appUnit,
		"/etc/systemd/system/c.service": appUnit, "/etc/systemd/system/d.service": appUnit,
		"/etc/systemd/system/e.service":                                    appUnit,
		"/etc/systemd/system/fleet-serving.target.wants/.#fleet-x.service": "-> /x.service",
		"/etc/systemd/system/other.d/50-fleet.conf":                        "x",
	})
	w := newWorkloads(t, dir)
	for _, name := range []string{"a", "b", "c", "d"} {
		_, err := w.Adopt(name, Settings{}, false)
		require.NoError(t, err)
	}
	elsewhere, err := New(Config{Root: dir, RunDir: "/run/elsewhere", TargetMax: time.Minute})
	require.NoError(t, err)
	_, err = elsewhere.Adopt("e", Settings{}, false)
	require.NoError(t, err)
	for _, gone := range []string{"fleet-serving.target.wants/b.service", "c.service.d/50-fleet.conf", "d.service"} {
		require.NoError(t, os.Remove(filepath.Join(dir, "/etc/systemd/system", gone)))
	}

	list, err := w.List()
	require.NoError(t, err)
	states := make(map[string]string)
	for _, one := range list {
		states[one.Unit] = one.State
	}
	require.Equal(t, map[string]string{
		"a.service": StateAdopted, "b.service": StateNoLink, "c.service": StateNoDropIn,
		"d.service": StateNoUnit, "e.service": StateOutdated,
	}, states)

	// A unit that was uninstalled can still be released.
	res, err := w.Release("d", false)
	require.NoError(t, err)
	require.Len(t, res.Changes, 2)

	none, err := newWorkloads(t, t.TempDir()).List()
	require.NoError(t, err)
	require.Empty(t, none)
}

func TestWarnings(t *testing.T) {
	haproxyUnit := "[Service]\nType=notify\nExecStart=/usr/sbin/haproxy -Ws\nKillMode=mixed\n"
	for name, test := range map[string]struct {
		unit, text string
		settings   Settings
		targetMax  time.Duration
		want, fix  []string
	}{
		"fits": {unit: "app", text: appUnit, targetMax: time.Minute},
		"slow": {
			unit: "app", text: appUnit, settings: Settings{StopTimeout: 2 * time.Minute, KillSignal: "SIGINT"}, targetMax: time.Minute,
			want: []string{"it may take 120s to stop, but drain.plan gives fleet-serving.target 60s"},
			fix:  []string{"sudo fleet-agent adopt app.service --stop-timeout 60s --kill-signal SIGINT"},
		},
		"systemd's default": {unit: "app", text: "[Service]\n", targetMax: time.Minute, want: []string{"90s to stop"}, fix: []string{"--stop-timeout 60s"}},
		"lifted":            {unit: "app", text: "[Service]\nTimeoutStopSec=0\n", targetMax: time.Hour, want: []string{"infinity"}, fix: []string{"--stop-timeout 3600s"}},
		"no step":           {unit: "app", text: appUnit, want: []string{"no step of drain.plan stops"}, fix: []string{"config show"}},
		"nginx of Debian": {
			unit: "nginx", text: nginxUnit, targetMax: time.Minute,
			want: []string{"cuts them off, whatever its stop timeout is", "it has 5s to finish"},
			fix:  []string{"60-graceful.conf", "--stop-timeout 30s"},
		},
		"nginx, mended": {
			unit: "nginx", text: nginxUnit + "[Service]\nExecStop=\nKillSignal=SIGQUIT\n",
			settings: Settings{StopTimeout: 30 * time.Second}, targetMax: time.Minute,
		},
		"nginx without ExecStop": {
			unit: "nginx", text: appUnit, settings: Settings{StopTimeout: 30 * time.Second}, targetMax: time.Minute,
			want: []string{"drops its requests on SIGTERM"}, fix: []string{"--stop-timeout 30s --kill-signal SIGQUIT"},
		},
		"haproxy": {
			unit: "haproxy", text: haproxyUnit, settings: Settings{StopTimeout: 30 * time.Second}, targetMax: time.Minute,
			want: []string{"drops its sessions on SIGTERM"}, fix: []string{"--stop-timeout 30s --kill-signal SIGUSR1"},
		},
		"haproxy, mended": {
			unit: "haproxy", text: haproxyUnit, settings: Settings{StopTimeout: 30 * time.Second, KillSignal: "SIGUSR1"}, targetMax: time.Minute,
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := newTree(t, map[string]string{"/usr/lib/systemd/system/" + test.unit + ".service": test.text})
			w, err := New(Config{Root: dir, RunDir: "/run/fleet-agent", TargetMax: test.targetMax})
			require.NoError(t, err)
			res, err := w.Adopt(test.unit, test.settings, false)
			require.NoError(t, err)
			require.Len(t, res.Warnings, len(test.want))
			for i, warning := range res.Warnings {
				require.Contains(t, warning.Message, test.want[i])
				require.Contains(t, strings.ReplaceAll(warning.Fix, " --root "+dir, ""), test.fix[i])
			}
		})
	}
}

func TestSettings(t *testing.T) {
	w := newWorkloads(t, newTree(t, map[string]string{"/etc/systemd/system/app.socket": "[Socket]\nListenStream=1\n", "/etc/systemd/system/app.service": appUnit}))
	_, err := w.Adopt("app.socket", Settings{StopTimeout: time.Second}, false)
	require.ErrorContains(t, err, "only services")
	_, err = w.Adopt("app", Settings{StopTimeout: time.Microsecond}, false)
	require.ErrorContains(t, err, "at least 1ms")
	res, err := w.Adopt("app", Settings{StopTimeout: 1500 * time.Millisecond}, false)
	require.NoError(t, err)
	require.Equal(t, 1500*time.Millisecond, res.Stop.Timeout)

	for text, want := range map[string]string{"quit": "SIGQUIT", "SIGUSR1": "SIGUSR1", "sigterm": "SIGTERM"} {
		got, err := ParseSignal(text)
		require.NoError(t, err)
		require.Equal(t, want, got)
	}
	for text, want := range map[string]string{"kill": "cannot be caught", "9": "is not one of", "": "is not one of"} {
		_, err := ParseSignal(text)
		require.ErrorContains(t, err, want)
	}
	for _, dir := range []string{"run", "/run/a b", "/run/%t", "/run/\n"} {
		_, err := New(Config{RunDir: dir})
		require.Error(t, err, dir)
	}
}

func TestStopTimeout(t *testing.T) {
	for text, want := range map[string]time.Duration{
		"5": 5 * time.Second, "1min 30s": 90 * time.Second, "1w": 7 * 24 * time.Hour,
		"0": Infinite, "infinity": Infinite, "99999999999999d": Infinite,
		"": defaultStop, "soon": defaultStop, // systemd.service(5) goes on with the default
	} {
		u := &unit{name: "app.service", values: make(map[string][]string)}
		u.parse("[Service]\nTimeoutStopSec=" + text + "\n")
		require.Equal(t, want, u.stop().Timeout, text)
	}
}

func FuzzParse(f *testing.F) {
	f.Add(nginxUnit)
	f.Add("[Service]\nTimeoutStopSec=1min 30s\nExecStop=\\\n")
	f.Fuzz(func(t *testing.T, text string) {
		u := &unit{name: "app.service", values: make(map[string][]string)}
		u.parse(text)
		if stop := u.stop(); stop.Timeout <= 0 || stop.Signal == "" {
			t.Fatalf("a service stops as %+v", stop)
		}
	})
}

func FuzzName(f *testing.F) {
	f.Add("nginx")
	f.Add("app@1.service")
	f.Add("../x")
	f.Fuzz(func(t *testing.T, name string) {
		full, err := fullName(name)
		if err != nil {
			return
		}
		if strings.ContainsAny(full, "/\n\x00 ") || len(full) > maxName || full[0] == '.' {
			t.Fatalf("%q became %q", name, full)
		}
		again, err := fullName(full)
		if err != nil || again != full {
			t.Fatalf("%q became %q and then %q, %v", name, full, again, err)
		}
	})
}
