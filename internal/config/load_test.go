package config

import (
	"errors"
	"flag"
	"os"
	"path/filepath"
	"regexp"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
	"github.com/rogpeppe/go-internal/txtar"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files anew")

// unpack writes the files of an archive into a directory of its own and goes
// there, so that errors name them as the archive does.
func unpack(t *testing.T, archive *txtar.Archive) {
	t.Helper()
	t.Chdir(t.TempDir())
	for _, f := range archive.Files {
		require.NoError(t, os.MkdirAll(filepath.Dir(f.Name), 0o700))
		require.NoError(t, os.WriteFile(f.Name, f.Data, 0o600))
	}
}

// load loads an archive whose main file is config.yaml. Text ahead of the first
// file is that file.
func load(t *testing.T, text string) (*Config, error) {
	t.Helper()
	archive := txtar.Parse([]byte(text))
	if len(archive.Comment) > 0 {
		archive.Files = append(archive.Files, txtar.File{Name: "config.yaml", Data: archive.Comment})
	}
	unpack(t, archive)
	return Load("config.yaml")
}

// requireSame requires that two configurations say the same, wherever they say
// it.
func requireSame(t *testing.T, want, got *Config) {
	t.Helper()
	require.Empty(t, cmp.Diff(want, got, cmpopts.IgnoreUnexported(Config{}), cmpopts.EquateEmpty()))
}

// Every archive in testdata/bad is a configuration with faults, and its file
// "errors" is what Load says about them.
func TestBadFiles(t *testing.T) {
	archives, err := filepath.Glob("testdata/bad/*.txtar")
	require.NoError(t, err)
	require.NotEmpty(t, archives)
	for _, name := range archives {
		path, err := filepath.Abs(name)
		require.NoError(t, err)
		t.Run(strings.TrimSuffix(filepath.Base(name), ".txtar"), func(t *testing.T) {
			archive, err := txtar.ParseFile(path)
			require.NoError(t, err)
			last := len(archive.Files) - 1
			want := &archive.Files[last]
			require.Equal(t, "errors", want.Name)
			unpack(t, &txtar.Archive{Files: archive.Files[:last]})

			_, err = Load("config.yaml")
			require.Error(t, err)
			got := err.Error() + "\n"
			if *update {
				want.Data = []byte(got)
				require.NoError(t, os.WriteFile(path, txtar.Format(archive), 0o600))
			}
			require.Equal(t, string(want.Data), got)
			require.NotContains(t, got, "hunter2", "a secret is told")

			var faults Errors
			require.ErrorAs(t, err, &faults)
			for _, e := range faults {
				require.NotEmpty(t, e.File)
				require.Positive(t, e.Line)
				require.NotEmpty(t, e.Message)
			}
			first, ok := errors.AsType[*Error](err)
			require.True(t, ok)
			require.Equal(t, faults[0], first)
		})
	}
}

func TestErrorsAreBounded(t *testing.T) {
	_, err := load(t, "checks:"+strings.Repeat("\n  - {name: 'a b', clock: {}}", 1100))
	lines := strings.Split(err.Error(), "\n")
	require.Len(t, lines, 101)
	require.Equal(t, "and 1900 more", lines[100]) // two for each name, and one for too many checks
	require.Contains(t, errorsOf(t, err), `config.yaml:1002:5: checks[1000]: checks may have at most 1000 items`)
}

// errorsOf returns all lines, those that Error leaves out as well.
func errorsOf(t *testing.T, err error) []string {
	t.Helper()
	var faults Errors
	require.ErrorAs(t, err, &faults)
	lines := make([]string, len(faults))
	for i, e := range faults {
		lines[i] = e.Error()
	}
	return lines
}

// TestNoFiles: nobody named the default path, in this system or in an image's.
func TestNoFiles(t *testing.T) {
	root := t.TempDir()
	c, err := Load(root + DefaultPath)
	require.NoError(t, err)
	require.Empty(t, c.Files())
	require.Empty(t, c.MainFile())
	requireSame(t, Default(), c)

	require.NoError(t, os.MkdirAll(filepath.Join(root, filepath.Dir(DefaultPath), "conf.d"), 0o700))
	dropIn := filepath.Join(root, filepath.Dir(DefaultPath), "conf.d/a.yaml")
	require.NoError(t, os.WriteFile(dropIn, nil, 0o600))
	c, err = Load(root + DefaultPath)
	require.NoError(t, err)
	require.Equal(t, []string{dropIn}, c.Files())
	require.Empty(t, c.MainFile())
}

// TestNamedFileIsMissing: a typing error must not run an agent without checks.
func TestNamedFileIsMissing(t *testing.T) {
	const says = "config.yaml: does not exist; mend the name in --config or FLEET_AGENT_CONFIG, or make the file: an empty one is enough"
	_, err := load(t, "-- other.yaml --\n")
	require.EqualError(t, err, says)
	_, err = load(t, "-- conf.d/a.yaml --\nhealth: {start_grace: 1s}\n")
	require.EqualError(t, err, says)
}

// Comments, and sections of which every line is commented out, say nothing.
func TestEmptyFiles(t *testing.T) {
	for name, text := range map[string]string{
		"empty":    "",
		"comments": "# nothing\n\n",
		"document": "---\n...\n",
		"null":     "~\n",
		"sections": "listen:\n#  probe: x\nhealth:\n  custom_metrics:\nchecks:\nscheduled_events:\n  events:\n    Freeze:\ndrain:\n  plan:\n#    - x\nnotify:\n",
	} {
		t.Run(name, func(t *testing.T) {
			c, err := load(t, "-- config.yaml --\n"+text)
			require.NoError(t, err)
			requireSame(t, Default(), c)
			require.Equal(t, []string{"config.yaml"}, c.Files())
			require.Equal(t, "config.yaml", c.MainFile())
		})
	}
}

func TestMerge(t *testing.T) {
	c, err := load(t, `
listen:
  probe: 0.0.0.0:8080
  metrics: ""
checks:
  - name: dns
    dns: {name: db.internal}
scheduled_events:
  events:
    Freeze: {action: drain, min_duration: 10s}
    Reboot: {action: ignore}
drain:
  settle: 5s
  plan:
    - {name: nginx, unit: nginx.service}
notify:
  - url: https://hooks.example/main
state_dir: /data/fleet-agent
-- conf.d/20-late.yaml --
drain:
  settle: 7s
  plan: [{name: last, sleep: 3s, optional: true}]
scheduled_events:
  events:
    Freeze: {lead_time: 1m}
    Rebalance: {action: cordon}
-- conf.d/10-early.yaml --
checks:
  - name: app
    http:
      url: http://127.0.0.1:8000/
      expect_status: [200, "3xx"]
    depends_on: [dns]
    gates: []
drain:
  settle: 6s
  plan: [{name: hook, hook: deregister, after: []}]
notify:
  - {url: "https://hooks.example/app", on: [drain-failed]}
-- conf.d/.30-hidden.yaml --
nonsense
-- conf.d/40-backup.yaml.dpkg-dist --
nonsense
-- conf.d/README --
nonsense
`)
	require.NoError(t, err)
	require.Equal(t, []string{"config.yaml", "conf.d/10-early.yaml", "conf.d/20-late.yaml"}, c.Files())

	want := Default()
	want.Listen.Probe, want.Listen.Metrics = "0.0.0.0:8080", ""
	want.StateDir = "/data/fleet-agent"
	common := Check{
		Interval: Duration(5 * time.Second), Timeout: Duration(2 * time.Second),
		FailAfter: 2, PassAfter: 1, Severity: "critical", Gates: []string{"health", "ready"},
	}
	dns, app := common, common
	dns.Name, dns.DNS = "dns", &DNSCheck{Name: "db.internal"}
	app.Name, app.DependsOn, app.Gates = "app", []string{"dns"}, nil
	app.HTTP = &HTTPCheck{URL: "http://127.0.0.1:8000/", Method: "GET", ExpectStatus: Statuses{{From: 200, To: 200}, {From: 300, To: 399}}}
	want.Checks = []Check{dns, app}
	late := Duration(15 * time.Minute)
	want.ScheduledEvents.Events["Freeze"] = EventPolicy{"drain", "never", Duration(time.Minute), Duration(10 * time.Second)}
	want.ScheduledEvents.Events["Reboot"] = EventPolicy{"ignore", "never", late, 0} // the ack follows the action
	want.ScheduledEvents.Events["Rebalance"] = EventPolicy{"cordon", "never", late, 0}
	want.Drain.Settle = Duration(7 * time.Second)
	second := Duration(time.Second)
	want.Drain.Plan = []Step{
		{Name: "nginx", Unit: "nginx.service", Max: 30 * second},
		{Name: "hook", Hook: "deregister", Max: 30 * second, After: &[]string{}},
		{Name: "last", Sleep: 3 * second, Max: 3 * second, Optional: true},
	}
	want.Notify = []Webhook{
		{URL: "https://hooks.example/main", On: []string{"drain-started", "drain-finished", "drain-failed"}},
		{URL: "https://hooks.example/app", On: []string{"drain-failed"}},
	}
	requireSame(t, want, c)
	require.NotNil(t, c.Drain.Plan[1].After)
	require.Nil(t, c.Drain.Plan[2].After)
}

// The plan of the main file takes the place of the default one; without it the
// files of conf.d append to the default.
func TestDefaultPlan(t *testing.T) {
	names := func(c *Config) []string {
		var all []string
		for _, s := range c.Drain.Plan {
			all = append(all, s.Name)
		}
		return all
	}
	const more = "\n-- conf.d/a.yaml --\ndrain: {plan: [{name: more, sleep: 1s}]}\n"

	c, err := load(t, more)
	require.NoError(t, err)
	require.Equal(t, []string{"workloads", "more"}, names(c))

	c, err = load(t, "drain: {plan: [{name: own, sleep: 1s}]}"+more)
	require.NoError(t, err)
	require.Equal(t, []string{"own", "more"}, names(c))

	c, err = load(t, "drain: {plan: []}")
	require.NoError(t, err)
	require.Empty(t, names(c))
}

func TestFilePresence(t *testing.T) {
	for text, present := range map[string]bool{
		"":                               true,
		", present: true":                true,
		", present: false":               false,
		", absent: true":                 false,
		", absent: false":                true,
		", present: false, absent: true": false,
	} {
		c, err := load(t, "checks: [{name: f, file: {path: /x"+text+"}}]")
		require.NoError(t, err, text)
		require.Equal(t, present, c.Checks[0].File.Present, text)
		require.Equal(t, !present, c.Checks[0].File.Absent, text)
	}
}

// A text is what was written, also where YAML would see a number or a date.
func TestPlainTexts(t *testing.T) {
	c, err := load(t, `
scheduled_events: {api_version: 2021-03-01}
checks:
  - name: 007
    exec: {command: [sleep, 1.50, ""], env: {PORT: 0x1F, YES: no, DAY: 2026-01-02}}
`)
	require.NoError(t, err)
	require.Equal(t, "2021-03-01", c.ScheduledEvents.APIVersion)
	require.Equal(t, "007", c.Checks[0].Name)
	require.Equal(t, &ExecCheck{
		Command: []string{"sleep", "1.50", ""},
		Env:     map[string]string{"PORT": "0x1F", "YES": "no", "DAY": "2026-01-02"},
	}, c.Checks[0].Exec)
}

// One value can stand in several places by an alias.
func TestAliases(t *testing.T) {
	c, err := load(t, `
checks:
  - {name: a, exec: {command: &run [run, it]}}
  - {name: b, exec: {command: *run}, depends_on: [a]}
`)
	require.NoError(t, err)
	require.Equal(t, c.Checks[0].Exec.Command, c.Checks[1].Exec.Command)

	_, err = load(t, "checks: &all [*all]")
	require.ErrorContains(t, err, "has more than 100000 values")
}

func TestExample(t *testing.T) {
	text, err := os.ReadFile("testdata/example.yaml")
	require.NoError(t, err)
	c, err := load(t, "-- config.yaml --\n"+string(text))
	require.NoError(t, err)
	requireSame(t, Default(), c)

	// And with everything that is commented out: a "#" and an even indent.
	full := regexp.MustCompile(`(?m)^#((?:  )+\S)`).ReplaceAllString(string(text), "$1")
	full = regexp.MustCompile(`(?m)^(checks|notify): \[\]$`).ReplaceAllString(full, "$1:")
	c, err = load(t, "-- config.yaml --\n"+full)
	require.NoError(t, err)
	shown := make(map[string]bool)
	for _, check := range c.Checks {
		shown["check "+check.Kind()] = true
	}
	for _, step := range c.Drain.Plan {
		shown["step "+step.Kind()] = true
	}
	require.Len(t, shown, 13+7, "the example shows every kind: %v", shown)
	require.Len(t, c.Notify, 1)
}

func TestShortExample(t *testing.T) {
	text, err := os.ReadFile("testdata/short.yaml")
	require.NoError(t, err)
	c, err := load(t, "-- config.yaml --\n"+string(text))
	require.NoError(t, err)
	require.Equal(t, Duration(336*time.Hour), c.Checks[0].TLS.ExpiresWithin)
	require.Equal(t, 14*24*time.Hour, c.Checks[0].TLS.ExpiresWithin.D())
	want := Default()
	want.Checks, want.Notify = c.Checks, c.Notify
	requireSame(t, want, c)
}

func TestRefusedFiles(t *testing.T) {
	const good = "state_dir: /x\n"
	for name, tc := range map[string]struct {
		make func(t *testing.T)
		want string
	}{
		"writable by group": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Chmod("config.yaml", 0o620))
		}, "config.yaml: can be written by others (mode 0620), who could make the agent run any command; run: chmod go-w config.yaml"},
		"writable by others": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Chmod("conf.d/a.yaml", 0o602))
		}, "conf.d/a.yaml: can be written by others (mode 0602), who could make the agent run any command; run: chmod go-w conf.d/a.yaml"},
		"link to a file that is": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Chmod("config.yaml", 0o666))
			require.NoError(t, os.Rename("config.yaml", "elsewhere"))
			require.NoError(t, os.Symlink("elsewhere", "config.yaml"))
		}, "config.yaml: can be written by others (mode 0666), who could make the agent run any command; run: chmod go-w config.yaml"},
		"owned by somebody": {func(t *testing.T) {
			t.Helper()
			testkit.Root(t)
			require.NoError(t, os.Chown("config.yaml", 65534, 65534))
		}, "config.yaml: belongs to uid 65534, who could make the agent run any command; run: chown 0 config.yaml"},
		"link to nowhere": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Remove("config.yaml"))
			require.NoError(t, os.Symlink("nowhere", "config.yaml"))
		}, "config.yaml: open: no such file or directory"},
		"directory": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Mkdir("conf.d/b.yaml", 0o700))
		}, "conf.d/b.yaml: is not a regular file"},
		"pipe": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, syscall.Mkfifo("conf.d/b.yaml", 0o600))
		}, "conf.d/b.yaml: is not a regular file"},
		"too large": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.WriteFile("config.yaml", []byte(strings.Repeat("# comment\n", 1<<17)), 0o600))
		}, "config.yaml: is larger than 1048576 bytes"},
		"unreadable": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Chmod("config.yaml", 0))
			if os.Geteuid() == 0 { // which may read everything: not as this user
				require.NoError(t, errors.Join(os.Chmod(".", 0o755), os.Chmod("conf.d", 0o755), os.Chmod("conf.d/a.yaml", 0o644)))
				runtime.LockOSThread()
				require.NoError(t, unix.Setfsuid(65534))
				t.Cleanup(func() {
					require.NoError(t, unix.Setfsuid(0))
					runtime.UnlockOSThread()
				})
			}
		}, "config.yaml: open: permission denied"},
		"wrong suffix": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.Rename("conf.d/a.yaml", "conf.d/a.yml"))
		}, "conf.d/a.yml: is not read: only names that end in .yaml are; run: mv conf.d/a.yml conf.d/a.yaml"},
		"conf.d is a file": {func(t *testing.T) {
			t.Helper()
			require.NoError(t, os.RemoveAll("conf.d"))
			require.NoError(t, os.WriteFile("conf.d", nil, 0o600))
		}, "conf.d: open: not a directory"},
	} {
		t.Run(name, func(t *testing.T) {
			unpack(t, txtar.Parse([]byte("-- config.yaml --\n"+good+"-- conf.d/a.yaml --\n"+good)))
			_, err := Load("config.yaml")
			require.NoError(t, err)
			tc.make(t)
			_, err = Load("config.yaml")
			require.EqualError(t, err, tc.want)
		})
	}
}

// TestFilesOfOthers: a command that looks on behalf of the daemon takes what the
// daemon's user owns, as that one does. Only root can give files away.
func TestFilesOfOthers(t *testing.T) {
	testkit.Root(t)
	unpack(t, txtar.Parse([]byte("-- config.yaml --\nstate_dir: /x\n")))
	require.NoError(t, os.Chown("config.yaml", 990, 990))
	_, err := Load("config.yaml")
	require.EqualError(t, err, "config.yaml: belongs to uid 990, who could make the agent run any command; run: chown 0 config.yaml")
	_, err = Load("config.yaml", 991)
	require.ErrorContains(t, err, "belongs to uid 990")
	c, err := Load("config.yaml", 991, 990)
	require.NoError(t, err)
	require.Equal(t, "/x", c.StateDir)
	require.NoError(t, os.Chmod("config.yaml", 0o664))
	_, err = Load("config.yaml", 990)
	require.ErrorContains(t, err, "can be written by others")
}

// A file may be reached by a link, and be readable by everybody.
func TestAcceptedFiles(t *testing.T) {
	unpack(t, txtar.Parse([]byte("-- real.yaml --\nstate_dir: /x\n")))
	require.NoError(t, os.Chmod("real.yaml", 0o444))
	require.NoError(t, os.Symlink("real.yaml", "config.yaml"))
	c, err := Load("config.yaml")
	require.NoError(t, err)
	require.Equal(t, "/x", c.StateDir)
}
