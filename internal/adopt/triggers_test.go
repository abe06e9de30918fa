package adopt

import (
	"errors"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const (
	lib = "/usr/lib/systemd/system/"
	etc = "/etc/systemd/system/"

	appSocket = "[Socket]\nListenStream=8000\n\n[Install]\nWantedBy=sockets.target\n"
)

// linked are the units that start with the target.
func linked(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(filepath.Join(dir, wantsDir))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	require.NoError(t, err)
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// What the tables say of Service=, Unit=, Sockets= and Accept= is what systemd 252
// makes of the same files.
func TestTriggersAreFound(t *testing.T) {
	for name, test := range map[string]struct {
		unit  string // empty: app.service
		files map[string]string
		want  []string
		off   []string // those of want that are not linked
	}{
		"none":      {files: map[string]string{lib + "other.socket": appSocket, lib + "other.service": appUnit}},
		"same name": {files: map[string]string{lib + "app.socket": "", etc + "app.path": "", lib + "app.timer": ""}, want: []string{"app.path", "app.socket", "app.timer"}},
		"named": {
			files: map[string]string{lib + "web.socket": "[Socket]\nService=app.service\n", lib + "spool.path": "[Path]\nUnit=app.service\n", lib + "night.timer": "[Timer]\nUnit=app.service\n"},
			want:  []string{"night.timer", "spool.path", "web.socket"},
		},
		"named otherwise": {
			files: map[string]string{lib + "app.socket": "[Socket]\nService=other.service\n", lib + "app.path": "[Path]\nUnit=other.service\n", lib + "app.timer": "[Timer]\nUnit=other.service\n"},
		},
		"by its drop-ins": {
			files: map[string]string{
				lib + "web.socket": "", etc + "web.socket.d/x.conf": "[Socket]\nService=app.service\n",
				lib + "app.socket": "", lib + "app.socket.d/x.conf": "[Socket]\nService=other.service\n",
				lib + "a.timer": "", "/run/systemd/system/timer.d/x.conf": "[Timer]\nUnit=app.service\n",
			},
			want: []string{"a.timer", "web.socket"},
		},
		"the last Service= counts, an empty one is passed over": {
			files: map[string]string{
				lib + "a.socket": "[Socket]\nService=app.service\nService=\n",
				lib + "b.socket": "[Socket]\nService=app.service\nService=other.service\n",
				lib + "c.socket": "[Socket]\nService=other.service\nService=app.service\nService=nonsense\n",
			},
			want: []string{"a.socket", "c.socket"},
		},
		"the first Unit= counts, and no drop-in takes it back": {
			files: map[string]string{
				lib + "a.timer": "[Timer]\nUnit=app.service\n", lib + "a.timer.d/x.conf": "[Timer]\nUnit=\nUnit=other.service\n",
				lib + "b.timer": "[Timer]\nUnit=other.service\n", lib + "b.timer.d/x.conf": "[Timer]\nUnit=\nUnit=app.service\n",
				lib + "c.path": "[Path]\nUnit=nonsense\nUnit=app.service\n",
			},
			want: []string{"a.timer", "c.path"},
		},
		"in Sockets=, which nothing takes back": {
			files: map[string]string{
				etc + "app.service.d/x.conf": "[Service]\nSockets=a.socket b.socket\nSockets=\nSockets=c.socket\n",
				lib + "a.socket":             "[Socket]\nService=app.service\n", lib + "b.socket": "[Socket]\nService=app.service\n", lib + "c.socket": "[Socket]\nService=app.service\n",
			},
			want: []string{"a.socket", "b.socket", "c.socket"},
		},
		"etc before run before usr": {
			files: map[string]string{
				lib + "a.socket": "[Socket]\nService=app.service\n", etc + "a.socket": "[Socket]\nService=other.service\n",
				lib + "b.socket": "[Socket]\nService=other.service\n", "/run/systemd/system/b.socket": "[Socket]\nService=app.service\n",
			},
			want: []string{"b.socket"},
		},
		"masked": {files: map[string]string{lib + "app.socket": appSocket, etc + "app.socket": "-> /dev/null"}},
		"aliases": {
			files: map[string]string{
				etc + "alias.service": "-> " + lib + "app.service", lib + "web.socket": "[Socket]\nService=alias.service\n", lib + "alias.path": "",
				etc + "other.socket": "-> " + lib + "web.socket",
			},
			want: []string{"alias.path", "web.socket"},
		},
		"template": {
			unit: "app@blue.service",
			files: map[string]string{
				lib + "app@.service": appUnit, lib + "app@.socket": "[Socket]\nListenStream=/run/%i\n", lib + "web@.timer": "[Timer]\nUnit=%p-%i.service\n",
				lib + "tick@.timer": "[Timer]\nUnit=app@%i.service\n", lib + "%.path": "[Path]\nUnit=app@%\n",
			},
			want: []string{"app@blue.socket", "tick@blue.timer"},
		},
		"an instance that is wanted": {
			files: map[string]string{
				lib + "port@.socket":                        "[Socket]\nListenStream=%i\nService=app.service\n[Install]\nWantedBy=sockets.target\n",
				etc + "sockets.target.wants/port@80.socket": "-> " + lib + "port@.socket",
			},
			want: []string{"port@80.socket"},
		},
		"specifiers": {
			files: map[string]string{
				lib + "x-app.socket": "[Socket]\nService=%j.service\n", lib + "app.timer": "[Timer]\nUnit=%N.service\n", lib + "h.timer": "[Timer]\nUnit=%H.service\nUnit=app.service\n",
				lib + "p.timer": "[Timer]\nUnit=100%%.service\n",
			},
			want: []string{"app.timer", "h.timer", "x-app.socket"},
		},
		"not enabled": {files: map[string]string{lib + "app.socket": appSocket}, want: []string{"app.socket"}, off: []string{"app.socket"}},
		"enabled":     {files: map[string]string{lib + "app.socket": appSocket, etc + "sockets.target.wants/app.socket": "-> " + lib + "app.socket"}, want: []string{"app.socket"}},
		"enabled in the vendor's way": {
			files: map[string]string{lib + "app.socket": appSocket, lib + "sockets.target.requires/app.socket": "-> ../app.socket"}, want: []string{"app.socket"},
		},
		"pulled in by the service": {
			files: map[string]string{lib + "app.socket": appSocket, lib + "app.service.d/x.conf": "[Unit]\nRequires=app.socket\n"}, want: []string{"app.socket"},
		},
		"a service for each connection, which is not used": {
			files: map[string]string{lib + "app@.service": appUnit, lib + "app.socket": appSocket + "[Socket]\nAccept=yes\n"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{lib + "app.service": appUnit, etc + "keep": ""}
			for path, text := range test.files {
				if text == "" {
					text = "[Unit]\nDescription=x\n"
				}
				files[path] = text
			}
			dir := newTree(t, files)
			before := snapshot(t, dir)
			unit := test.unit
			if unit == "" {
				unit = "app.service"
			}
			w := newWorkloads(t, dir)
			res, err := w.Adopt(unit, Settings{StopTimeout: time.Second}, false)
			require.NoError(t, err)
			require.ElementsMatch(t, test.want, res.Triggers)
			adopted := snapshot(t, dir)
			for _, name := range test.want {
				golden(t, "testdata/trigger.conf", strings.ReplaceAll(withoutSum(adopted[dropInPath(name)]), unit, "app.service"))
			}
			start := slices.DeleteFunc(append([]string{unit}, test.want...), func(n string) bool { return slices.Contains(test.off, n) })
			require.ElementsMatch(t, start, linked(t, dir))
			require.ElementsMatch(t, start, res.Starts)

			list, err := w.List()
			require.NoError(t, err)
			require.Len(t, list, len(test.want)+1)
			for _, one := range list {
				require.Equal(t, StateAdopted, one.State, one.Unit)
				require.Empty(t, one.Warnings)
			}
			again, err := w.Adopt(unit, Settings{StopTimeout: time.Second}, false)
			require.NoError(t, err)
			require.False(t, again.Changed(), again.Changes)
			released, err := w.Release(unit, false)
			require.NoError(t, err)
			require.ElementsMatch(t, test.want, released.Triggers)
			require.Equal(t, before, snapshot(t, dir))
		})
	}
}

func withoutSum(text string) string {
	_, rest, _ := strings.Cut(text, "\n")
	return rest
}

func TestTriggersThatOthersNeedAreRefused(t *testing.T) {
	for name, test := range map[string]struct {
		adopt string // empty: app
		files map[string]string
		want  string
	}{
		"in the Sockets= of two": {
			files: map[string]string{lib + "app.socket": "[Socket]\nListenStream=1\n", lib + "other.service": appUnit, etc + "other.service.d/x.conf": "[Service]\nSockets=x.socket app.socket\n"},
			want:  "app.socket is in Sockets= of other.service, too",
		},
		"it starts another": {
			files: map[string]string{lib + "other.socket": "[Socket]\nListenStream=1\n", lib + "other.service": appUnit, etc + "app.service.d/x.conf": "[Service]\nSockets=other.socket\n"},
			want:  "other.socket, in its Sockets=, starts other.service",
		},
		"an instance besides": {
			files: map[string]string{
				lib + "app.socket": "[Socket]\nListenStream=1\n", lib + "other@.service": "[Service]\nSockets=app.socket\n",
				etc + "multi-user.target.wants/other@1.service": "-> " + lib + "other@.service",
			},
			want: "app.socket is in Sockets= of other@1.service, too",
		},
		"a service for each connection": {
			files: map[string]string{lib + "app@.service": appUnit, lib + "app.socket": appSocket + "[Socket]\nAccept=true\nAccept=\n", etc + "sockets.target.wants/app.socket": "-> " + lib + "app.socket"},
			want:  "app.socket starts a service for each connection (Accept=yes)",
		},
		"one of those": {
			adopt: "app@1",
			files: map[string]string{lib + "app@.service": appUnit, lib + "app.socket": "[Socket]\nListenStream=1\nAccept=yes\n"},
			want:  "app.socket starts a service for each connection (Accept=yes)",
		},
		"the socket itself": {
			adopt: "app.socket",
			files: map[string]string{lib + "app.socket": "[Socket]\nListenStream=1\nAccept=yes\n"},
			want:  "refuse app.socket: app.socket starts a service for each connection",
		},
		"a socket that is not its own": {
			adopt: "app.socket",
			files: map[string]string{lib + "app.socket": "[Socket]\nListenStream=1\n", lib + "other.service": "[Service]\nSockets=app.socket\n"},
			want:  "app.socket is in Sockets= of other.service, too",
		},
		"a part of systemd": {
			files: map[string]string{lib + "systemd-app.timer": "[Timer]\nUnit=app.service\n"},
			want:  "refuse app.service: refuse systemd-app.timer: it is a part of systemd",
		},
		"edited": {
			files: map[string]string{lib + "app.socket": "[Socket]\nListenStream=1\n", etc + "app.socket.d/50-fleet.conf": "[Unit]\n"},
			want:  "adopt app.socket: /etc/systemd/system/app.socket.d/50-fleet.conf was edited by hand",
		},
	} {
		t.Run(name, func(t *testing.T) {
			files := map[string]string{lib + "app.service": appUnit}
			maps.Copy(files, test.files)
			dir := newTree(t, files)
			before := snapshot(t, dir)
			unit := test.adopt
			if unit == "" {
				unit = "app"
			}
			_, err := newWorkloads(t, dir).Adopt(unit, Settings{}, false)
			require.ErrorContains(t, err, test.want)
			require.Equal(t, before, snapshot(t, dir), "nothing was written")
		})
	}
}

// socketTree is a service that a socket starts, both enabled.
func socketTree(t *testing.T) string {
	return newTree(t, map[string]string{
		lib + "app.service": appUnit, lib + "app.socket": appSocket,
		etc + "sockets.target.wants/app.socket": "-> " + lib + "app.socket",
	})
}

func states(t *testing.T, w *Workloads) map[string]string {
	t.Helper()
	list, err := w.List()
	require.NoError(t, err)
	m := make(map[string]string)
	for _, one := range list {
		m[one.Unit] = one.State
	}
	return m
}

// A version that knew no triggers wrote the drop-in of the service as this one
// does, and ordered a socket that was adopted by hand after the target.
func TestAnAdoptionOfAnOlderVersionIsUpgraded(t *testing.T) {
	dir := socketTree(t)
	w := newWorkloads(t, dir)
	join := func(u string, text string) {
		t.Helper()
		require.NoError(t, w.tree.writeFile(dropInPath(u), text))
		_, err := w.tree.link(lib+u, linkPath(u))
		require.NoError(t, err)
	}
	join("app.service", Settings{StopTimeout: 7 * time.Second}.render(w.flag))
	list, err := w.List()
	require.NoError(t, err)
	require.Equal(t, StateNoTrigger, list[0].State)
	require.Equal(t, []string{"app.socket"}, list[0].Missing)
	require.Equal(t, "sudo fleet-agent adopt app.service --stop-timeout 7s --root "+dir, list[0].Fix)

	join("app.socket", Settings{}.render(w.flag))
	require.Equal(t, map[string]string{"app.service": StateAdopted, "app.socket": StateOlder}, states(t, w))

	res, err := w.Adopt("app", Settings{StopTimeout: 7 * time.Second}, false)
	require.NoError(t, err)
	require.True(t, res.Changed())
	require.Equal(t, map[string]string{"app.service": StateAdopted, "app.socket": StateAdopted}, states(t, w))
	text, err := w.tree.readFile(dropInPath("app.socket"))
	require.NoError(t, err)
	require.NotContains(t, text, "\nAfter=")
	require.NotContains(t, text, "[Service]")
	require.Equal(t, []string{"app.socket", "app.service"}, res.Starts, "in this order")
}

func TestTriggersThatChange(t *testing.T) {
	dir := socketTree(t)
	w := newWorkloads(t, dir)
	_, err := w.Adopt("app", Settings{}, false)
	require.NoError(t, err)

	// Without its link the return to service would not start it.
	require.NoError(t, os.Remove(filepath.Join(dir, linkPath("app.socket"))))
	list, err := w.List()
	require.NoError(t, err)
	require.Equal(t, StateNoLink, list[1].State)
	require.Equal(t, "app.service", list[1].With)
	require.Equal(t, "sudo fleet-agent adopt app.service --root "+dir, list[1].Fix)

	// An edit keeps all of them from being changed.
	path := filepath.Join(dir, dropInPath("app.socket"))
	text, err := os.ReadFile(path)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(path, append(text, '#'), 0o644))
	before := snapshot(t, dir)
	_, err = w.Release("app", false)
	require.ErrorIs(t, err, ErrEdited)
	_, err = w.Adopt("app", Settings{}, false)
	require.ErrorIs(t, err, ErrEdited)
	require.Equal(t, before, snapshot(t, dir))
	_, err = w.Adopt("app", Settings{}, true)
	require.NoError(t, err)

	// One that starts another service now leaves with the next adopt.
	require.NoError(t, w.tree.writeFile(etc+"app.socket.d/x.conf", "[Socket]\nService=other.service\n"))
	res, err := w.Adopt("app", Settings{}, false)
	require.NoError(t, err)
	require.Empty(t, res.Triggers)
	require.Equal(t, map[string]string{"app.service": StateAdopted}, states(t, w))

	// Both were uninstalled: the release finds what was adopted.
	require.NoError(t, os.Remove(filepath.Join(dir, etc+"app.socket.d/x.conf")))
	_, err = w.Adopt("app", Settings{}, false)
	require.NoError(t, err)
	for _, gone := range []string{"app.service", "app.socket"} {
		require.NoError(t, os.Remove(filepath.Join(dir, lib+gone)))
	}
	require.Equal(t, map[string]string{"app.service": StateNoUnit, "app.socket": StateNoUnit}, states(t, w))
	_, err = w.Release("app", false)
	require.NoError(t, err)
	require.Empty(t, states(t, w))
}

// A disabled socket that runs was started by hand, and is there to be served.
func TestATriggerThatRunsIsUsed(t *testing.T) {
	dir := newTree(t, map[string]string{lib + "app.service": appUnit, lib + "app.socket": appSocket, lib + "other.socket": appSocket})
	w, err := New(Config{
		Root: dir, RunDir: "/run/fleet-agent", TargetMax: time.Minute,
		Running: func(unit string) bool {
			require.Equal(t, "app.socket", unit, "nobody else is asked about")
			return true
		},
	})
	require.NoError(t, err)
	_, err = w.Adopt("app", Settings{}, false)
	require.NoError(t, err)
	require.Equal(t, []string{"app.service", "app.socket"}, linked(t, dir))
}

func TestASocketAdoptedAlone(t *testing.T) {
	w := newWorkloads(t, socketTree(t))
	res, err := w.Adopt("app.socket", Settings{}, false)
	require.NoError(t, err)
	require.Len(t, res.Warnings, 1)
	require.Contains(t, res.Warnings[0].Message, "starts app.service, which is not adopted")
	_, err = w.Adopt("app", Settings{}, false)
	require.NoError(t, err)
	res, err = w.Adopt("app.socket", Settings{}, false)
	require.NoError(t, err)
	require.Empty(t, res.Warnings)
	require.False(t, res.Changed(), "it belongs to its service now")
	_, err = w.Release("app", false)
	require.NoError(t, err)
	require.Empty(t, states(t, w))
}

func TestNotes(t *testing.T) {
	job := "[Service]\nType=oneshot\nExecStart=/bin/job\n"
	for name, test := range map[string]struct {
		files     map[string]string
		want, fix []string
	}{
		"a service": {files: map[string]string{lib + "job.service": appUnit}},
		"a job that remains": {
			files: map[string]string{lib + "job.service": job + "RemainAfterExit=yes\n"},
		},
		"a job": {
			files: map[string]string{lib + "job.service": job},
			want:  []string{"each boot and each return to service runs it again"}, fix: []string{""},
		},
		"a job with its timer": {
			files: map[string]string{lib + "job.service": job, lib + "job.timer": "[Timer]\nOnCalendar=daily\n"},
			want:  []string{"job.timer is adopted with it: no run begins while the node drains, and one that was due then is left out", "adopt that one alone"},
			fix:   []string{"", "sudo fleet-agent release job.service"},
		},
		"a timer that makes up": {
			files: map[string]string{lib + "job.service": appUnit, lib + "job.timer": "[Timer]\nOnCalendar=daily\nPersistent=yes\n"},
			want:  []string{"is made up for afterwards"}, fix: []string{""},
		},
		"a socket that is not enabled": {
			files: map[string]string{lib + "job.service": appUnit, lib + "job.socket": appSocket},
			want:  []string{"job.socket is not enabled"}, fix: []string{""},
		},
	} {
		t.Run(name, func(t *testing.T) {
			res, err := newWorkloads(t, newTree(t, test.files)).Adopt("job", Settings{}, false)
			require.NoError(t, err)
			require.Len(t, res.Notes, len(test.want), "%+v", res.Notes)
			for i, n := range res.Notes {
				require.Contains(t, n.Message, test.want[i])
				require.Contains(t, n.Fix, test.fix[i])
			}
		})
	}
}
