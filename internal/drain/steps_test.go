package drain

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// briefed returns a context as the runner gives it to a step with a limit.
func briefed(t *testing.T, limit, within time.Duration) context.Context {
	t.Helper()
	ctx, cancel := context.WithTimeoutCause(t.Context(), limit, errLimit)
	t.Cleanup(cancel)
	return withBrief(ctx, Brief{DrainID: "d1", Cause: preempt, Deadline: time.Date(2026, 3, 1, 13, 0, 0, 0, time.FixedZone("", 3600)), StopWithin: within})
}

func shell(t *testing.T, script string) Step {
	t.Helper()
	s, err := ExecStep([]string{"/bin/sh", "-c", script}, map[string]string{"OWN": "a b"})
	require.NoError(t, err)
	return s
}

func TestExecStep(t *testing.T) {
	t.Setenv("NOTIFY_SOCKET", "/run/systemd/notify")
	t.Setenv("SECRET", "s")
	for name, tc := range map[string]struct{ script, err string }{
		"success":    {"exit 0", ""},
		"failure":    {"echo broken >&2; exit 3", "/bin/sh: exit status 3: broken"},
		"silence":    {"exit 3", "/bin/sh: exit status 3"},
		"long":       {"yes x | head -c 100000; exit 1", "..."},
		"the cause":  {"echo $FLEET_CAUSE $FLEET_EVENT_ID $FLEET_EVENT_TYPE $FLEET_DEADLINE $OWN; exit 1", ": scheduled-event E1 Preempt 2026-03-01T12:00:00Z a b"},
		"no secrets": {`echo "[$NOTIFY_SOCKET$SECRET]"; exit 1`, ": []"},
	} {
		t.Run(name, func(t *testing.T) {
			err := shell(t, tc.script).Run(briefed(t, time.Minute, second))
			if tc.err == "" {
				require.NoError(t, err)
				return
			}
			require.ErrorContains(t, err, tc.err)
			require.Less(t, len(err.Error()), maxOutput+100)
		})
	}
}

// TestExecStepIsToldSafely: an id with a NUL keeps no step from running, and no
// program is handed what a terminal obeys.
func TestExecStepIsToldSafely(t *testing.T) {
	t.Parallel()
	ctx := withBrief(t.Context(), Brief{Cause: Cause{
		Kind: ScheduledEvent, EventID: "a\x00b\x1b[2J\nc", EventType: strings.Repeat("x", 1<<20),
	}})
	script := `test "$FLEET_EVENT_ID" = 'a\u0000b\u001b[2J\u000ac' && test ${#FLEET_EVENT_TYPE} -eq 128`
	require.NoError(t, shell(t, script).Run(ctx))
}

func TestExecStepRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		command []string
		env     map[string]string
	}{
		"nothing":       {},
		"an empty name": {command: []string{""}},
		"a bad key":     {[]string{"x"}, map[string]string{"A=B": ""}},
		"a bad value":   {[]string{"x"}, map[string]string{"A": "\x00"}},
	} {
		_, err := ExecStep(tc.command, tc.env)
		require.Error(t, err, name)
	}
	s, err := ExecStep([]string{"/no/such/program"}, nil)
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(t.Context()), "start /no/such/program: ")
}

// TestExecStepLeavesNobody checks that programs that outlive their time, or their
// parent, are gone when the step is. The time is up when the last of them runs.
func TestExecStepLeavesNobody(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		script string
		within time.Duration // to stop; 0: it ends in time
		err    string
	}{
		"ends on SIGTERM":    {`trap "echo bye; exit 0" TERM; echo $$ >PID; while :; do sleep 0.01; done`, time.Minute, "bye"},
		"ignores SIGTERM":    {`trap "" TERM; echo $$ >PID; while :; do sleep 0.01; done`, second / 2, "its time is up"},
		"leaves a child":     {`trap "" TERM; (while :; do sleep 0.01; done) & echo $! >PID; exit 0`, 0, ""},
		"a daemon":           {`setsid sh -c 'trap "" TERM; echo $$ >PID; while :; do sleep 0.01; done' >/dev/null 2>&1 & while ! test -s PID; do sleep 0.01; done`, 0, ""},
		"a daemon, in time":  {`setsid sh -c 'trap "" TERM; echo $$ >PID; while :; do sleep 0.01; done' & wait`, second / 2, "its time is up"},
		"a child of a child": {`trap "" TERM; sh -c 'trap "" TERM; echo $$ >PID; while :; do sleep 0.01; done' & wait`, second / 2, "its time is up"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			pidFile := filepath.Join(t.TempDir(), "pid")
			runs := func() bool { data, _ := os.ReadFile(pidFile); return len(data) > 0 }
			ctx, cancel := context.WithCancelCause(briefed(t, time.Minute, tc.within))
			ended := make(chan error, 1)
			step := shell(t, strings.ReplaceAll(tc.script, "PID", pidFile))
			go func() { ended <- step.Run(ctx) }()
			if tc.within > 0 {
				require.Eventually(t, runs, time.Minute, 5*time.Millisecond)
				cancel(errLimit)
			}
			err := <-ended
			cancel(nil)
			if tc.err == "" {
				require.NoError(t, err)
			} else {
				require.ErrorContains(t, err, tc.err)
			}
			data, err := os.ReadFile(pidFile)
			require.NoError(t, err)
			pid, err := strconv.Atoi(strings.TrimSpace(string(data)))
			require.NoError(t, err)
			require.Eventually(t, func() bool { return gone(pid) }, 10*second, 5*time.Millisecond)
		})
	}
}

// gone reports whether a process has ended. What is left of a killed orphan until
// it is reaped counts as gone.
func gone(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := strings.Cut(string(stat), ") ")
	return strings.HasPrefix(rest, "Z")
}

func TestSleepStep(t *testing.T) {
	t.Parallel()
	_, err := SleepStep(0)
	require.Error(t, err)
	s, err := SleepStep(5 * second)
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		start := time.Now()
		require.NoError(t, s.Run(t.Context()))
		require.Equal(t, 5*second, time.Since(start))
		require.NoError(t, s.Run(briefed(t, second, 0)), "cut short by the plan")
		require.Equal(t, 6*second, time.Since(start))
		ctx, cancel := context.WithCancelCause(t.Context())
		cancel(errUndrain)
		require.Error(t, s.Run(ctx), "cut short by an undrain")
	})
}

const tcpHeading = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode\n"

// As the kernel prints them: a listener on 443, two connections on it, one on
// 8080, one that ends, one from here to a port 443 elsewhere.
const (
	tcp4 = tcpHeading +
		"   0: 00000000:01BB 00000000:0000 0A 00000000:00000000 00:00000000 00000000     0        0 1 1 0 100 0 0 10 0\n" +
		"   1: 0100007F:01BB 0100007F:C350 01 00000000:00000000 00:00000000 00000000     0        0 2 1 0 20 4 30 10 -1\n" +
		"   2: 0100007F:1F90 0100007F:C351 01 00000000:00000000 00:00000000 00000000     0        0 3 1 0 20 4 30 10 -1\n" +
		"   3: 0100007F:01BB 0100007F:C352 06 00000000:00000000 03:00000F00 00000000     0        0 0 3 0\n" +
		"   4: 0100007F:C350 0100007F:01BB 01 00000000:00000000 00:00000000 00000000     0        0 4 1 0 20 4 30 10 -1\n"
	tcp6 = tcpHeading +
		"   0: 0000000000000000FFFF00000100007F:01BB 0000000000000000FFFF00000100007F:C353 01 00000000:00000000 00:00000000 00000000     0        0 5 1 0 20 4 30 10 -1\n" +
		"   1: 00000000000000000000000001000000:20FB 00000000000000000000000001000000:C354 01 00000000:00000000 00:00000000 00000000     0        0 6 1 0 20 4 30 10 -1\n"
)

func TestCountEstablished(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		table string
		ports []uint16
		want  int
		err   string
	}{
		"one port":         {tcp4, []uint16{443}, 1, ""},
		"two ports":        {tcp4, []uint16{443, 8080}, 2, ""},
		"a mapped address": {tcp6, []uint16{443}, 1, ""},
		"an IPv6 address":  {tcp6, []uint16{8443}, 1, ""},
		"nothing there":    {tcpHeading, []uint16{443}, 0, ""},
		"empty":            {"", []uint16{443}, 0, ""},
		"no port":          {tcpHeading + " 0: 0100007F x 01\n", []uint16{443}, 0, `local address "0100007F"`},
		"few fields":       {tcpHeading + " 0: 0100007F:01BB\n", []uint16{443}, 0, "has 2 fields"},
		"an odd port":      {tcpHeading + " 0: 0100007F:1BB x 01\n", []uint16{443}, 0, "not ADDRESS:PORT"},
	} {
		n, err := countEstablished(strings.NewReader(tc.table), tc.ports)
		if tc.err != "" {
			require.ErrorContains(t, err, tc.err, name)
			continue
		}
		require.NoError(t, err, name)
		require.Equal(t, tc.want, n, name)
	}
}

func FuzzCountEstablished(f *testing.F) {
	f.Add(tcp4)
	f.Add(tcp6)
	f.Fuzz(func(t *testing.T, table string) {
		n, err := countEstablished(strings.NewReader(table), []uint16{443})
		require.GreaterOrEqual(t, n, 0)
		if err == nil {
			require.LessOrEqual(t, n, strings.Count(table, "\n"))
		}
	})
}

func TestConnectionsStep(t *testing.T) {
	t.Parallel()
	for name, cfg := range map[string]ConnectionsConfig{
		"no ports":   {},
		"port 0":     {Ports: []int{0}},
		"port 65536": {Ports: []int{65536}},
		"negative":   {Ports: []int{1}, AtMost: -1},
	} {
		_, err := ConnectionsStep(cfg)
		require.Error(t, err, name)
	}
	dir := t.TempDir()
	write := func(name, table string) {
		require.NoError(t, os.WriteFile(filepath.Join(dir, name), []byte(table), 0o600))
	}
	s, err := ConnectionsStep(ConnectionsConfig{Ports: []int{443}, NetDir: dir})
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		require.ErrorContains(t, s.Run(t.Context()), "count connections: ")
		write("tcp", tcpHeading)
		require.NoError(t, s.Run(t.Context()), "no tcp6, no IPv6")
		write("tcp", tcp4)
		write("tcp6", tcp6)
		require.EqualError(t, s.Run(briefed(t, second, 0)), "2 established on port 443, want at most 0")

		start := time.Now()
		time.AfterFunc(900*time.Millisecond, func() { write("tcp", tcpHeading); write("tcp6", tcpHeading) })
		require.NoError(t, s.Run(t.Context()))
		require.Equal(t, second, time.Since(start))

		// A count that fails now and then ends nothing.
		start = time.Now()
		write("tcp", "")
		write("tcp6", "heading\nnoise\n")
		time.AfterFunc(700*time.Millisecond, func() { write("tcp6", tcpHeading) })
		require.NoError(t, s.Run(t.Context()))
		require.Equal(t, 800*time.Millisecond, time.Since(start))
		write("tcp6", "heading\nnoise\n")
		require.ErrorContains(t, s.Run(t.Context()), "count connections: tcp6: ")
		require.Equal(t, 1600*time.Millisecond, time.Since(start))
	})
}

func TestConnectionsStepReadsThisMachine(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "x") }))
	defer server.Close()
	_, text, _ := strings.Cut(server.Listener.Addr().String(), ":")
	port, err := strconv.Atoi(text)
	require.NoError(t, err)
	s, err := ConnectionsStep(ConnectionsConfig{Ports: []int{port}})
	require.NoError(t, err)
	resp, err := server.Client().Get(server.URL) // kept alive
	require.NoError(t, err)
	_, err = io.Copy(io.Discard, resp.Body)
	require.NoError(t, err)
	require.NoError(t, resp.Body.Close())
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	require.ErrorContains(t, s.Run(ctx), "1 established on port "+text)
	server.Client().CloseIdleConnections()
	require.NoError(t, s.Run(briefed(t, 30*second, 0)))
}

func TestWebhookStep(t *testing.T) {
	t.Setenv("HTTP_PROXY", "http://127.0.0.1:1")
	t.Setenv("http_proxy", "http://127.0.0.1:1")
	var body, secret string
	var calls atomic.Int32
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		b, _ := io.ReadAll(r.Body) // a short body fails the comparison
		body, secret = r.Method+" "+string(b), r.Header.Get("Authorization")
		if calls.Add(1) == 1 {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer server.Close()
	s, err := WebhookStep(WebhookConfig{URL: server.URL + "/secret", Headers: map[string]string{"Authorization": "token"}, Node: func() string { return "vmss_1" }})
	require.NoError(t, err)
	require.NoError(t, s.Run(briefed(t, 30*second, 0)))
	require.Equal(t, `POST {"version":1,"node":"vmss_1","drain_id":"d1","cause":"scheduled-event","event_id":"E1","event_type":"Preempt","deadline":"2026-03-01T12:00:00Z"}`, body)
	require.Equal(t, "token", secret)
	require.EqualValues(t, 2, calls.Load(), "again after a 503")
}

// roundTrip is an http.RoundTripper made of a function.
type roundTrip func(*http.Request) (*http.Response, error)

func (f roundTrip) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

// TestWebhookStepIsTriedEverySecond, whatever the server would like.
func TestWebhookStepIsTriedEverySecond(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		calls := 0
		s, err := WebhookStep(WebhookConfig{URL: "https://hooks.example/", Transport: roundTrip(func(r *http.Request) (*http.Response, error) {
			calls++
			return &http.Response{StatusCode: http.StatusServiceUnavailable, Status: "503", Body: http.NoBody, Header: http.Header{"Retry-After": {"3600"}}, Request: r}, nil
		})})
		require.NoError(t, err)
		require.ErrorContains(t, s.Run(briefed(t, 20*second, 0)), "the answer was 503")
		require.Greater(t, calls, 19)
	})
}

func TestWebhookStepKeepsItsSecretsAndItsTime(t *testing.T) {
	t.Parallel()
	answer := func(status int) roundTrip {
		return func(r *http.Request) (*http.Response, error) {
			h := http.Header{"Location": {"https://elsewhere.example/"}}
			return &http.Response{StatusCode: status, Status: strconv.Itoa(status), Body: http.NoBody, Header: h, Request: r}, nil
		}
	}
	for name, tc := range map[string]struct {
		transport roundTrip
		want      string
		took      time.Duration
	}{
		"refused":     {func(*http.Request) (*http.Response, error) { return nil, syscall.ECONNREFUSED }, "connection refused", 4 * second},
		"unavailable": {answer(503), "the answer was 503", 4 * second},
		"denied":      {answer(403), "the answer was 403", 0},
		"redirected":  {answer(302), "the answer was 302", 0},
		"silent":      {func(r *http.Request) (*http.Response, error) { <-r.Context().Done(); return nil, r.Context().Err() }, "context deadline exceeded", 4 * second},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := WebhookStep(WebhookConfig{URL: "https://user:SECRET@hooks.example/SECRET?key=SECRET", Transport: tc.transport})
				require.NoError(t, err)
				start := time.Now()
				err = s.Run(briefed(t, 4*second, 0))
				require.ErrorContains(t, err, "post to https://hooks.example: ")
				require.ErrorContains(t, err, tc.want)
				require.NotContains(t, err.Error(), "SECRET")
				require.Equal(t, tc.took, time.Since(start))
			})
		})
	}
	for _, url := range []string{"", "ftp://x/", "https:///SECRET", "http://a b/SECRET"} {
		_, err := WebhookStep(WebhookConfig{URL: url})
		require.Error(t, err)
		require.NotContains(t, err.Error(), "SECRET")
	}
}

// fakeUnits is a systemd with one target. A stop job of the target waits for the
// members that are ordered after it, and says done whatever became of them.
type fakeUnits struct {
	members []string
	stopFor map[string]time.Duration // how long a unit takes to stop
	upAfter map[string]time.Duration // how long a member takes to start; its target does not wait for it
	upAt    map[string]time.Time
	ends    map[string]string // the result that it ends with; none: success
	loose   map[string]bool   // members that the target's job does not wait for
	fails   map[string]error  // by call
	stopAt  map[string]time.Time
	calls   []string
}

func (f *fakeUnits) StopUnit(ctx context.Context, name string) error {
	f.calls = append(f.calls, "stop "+name)
	if err := f.fails["stop "+name]; err != nil {
		return err
	}
	if f.stopAt == nil {
		f.stopAt = map[string]time.Time{}
	}
	names := []string{name}
	if strings.HasSuffix(name, ".target") {
		names = f.members
	}
	wait := time.Duration(0)
	for _, n := range names {
		f.stopAt[n] = time.Now().Add(f.stopFor[n])
		if !f.loose[n] {
			wait = max(wait, f.stopFor[n])
		}
	}
	return pause(ctx, wait)
}

func (f *fakeUnits) StartUnit(ctx context.Context, name string) error {
	f.calls = append(f.calls, "start "+name)
	if err := f.fails["start "+name]; err != nil {
		return err
	}
	if f.upAt == nil {
		f.upAt = map[string]time.Time{}
	}
	for member, d := range f.upAfter {
		if f.upAt[member].IsZero() {
			f.upAt[member] = time.Now().Add(d)
		}
	}
	return pause(ctx, f.stopFor[name])
}

func (f *fakeUnits) KillUnit(_ context.Context, name string, signal syscall.Signal) error {
	f.calls = append(f.calls, fmt.Sprintf("kill %s %s", name, signal))
	return f.fails["kill "+name]
}

func (f *fakeUnits) Members(context.Context, string) ([]string, error) {
	return f.members, f.fails["members"]
}

func (f *fakeUnits) UnitState(ctx context.Context, name string) (UnitState, error) {
	if ctx.Err() != nil {
		return UnitState{}, ctx.Err()
	}
	at, stopping := f.stopAt[name]
	result := f.ends[name]
	up, starting := f.upAt[name]
	switch {
	case f.fails["state "+name] != nil:
		return UnitState{}, f.fails["state "+name]
	case result == "before":
		return UnitState{Active: "failed", Sub: "failed", Result: "exit-code"}, nil
	case starting && time.Until(up) > second: // its job waits for others
		return UnitState{Active: "inactive", Sub: "dead", Result: "success", Job: true}, nil
	case starting && time.Now().Before(up): // as between two tries of Restart=
		return UnitState{Active: "activating", Sub: "auto-restart", Result: "success"}, nil
	case starting && result != "":
		return UnitState{Active: "failed", Sub: "failed", Result: result}, nil
	case starting || !stopping:
		return UnitState{Active: "active", Sub: "running", Result: "success"}, nil
	case time.Now().Before(at):
		return UnitState{Active: "deactivating", Sub: "stop-sigterm", Result: "success"}, nil
	case result != "":
		return UnitState{Active: "failed", Sub: "failed", Result: result}, nil
	default:
		return UnitState{Active: "inactive", Sub: "dead", Result: "success"}, nil
	}
}

func TestTargetStep(t *testing.T) {
	t.Parallel()
	two := []string{"a.service", "b.service"}
	for name, tc := range map[string]struct {
		units *fakeUnits
		want  string
		took  time.Duration
		calls []string
	}{
		"all stop": {
			&fakeUnits{members: two, stopFor: map[string]time.Duration{"a.service": 2 * second, "b.service": 4 * second}},
			"", 4 * second,
			[]string{"stop x.target"},
		},
		"a member had to be killed although the job says done": {
			&fakeUnits{members: two, ends: map[string]string{"b.service": "timeout"}},
			"b.service did not stop well: failed (failed), result timeout", 0,
			[]string{"stop x.target"},
		},
		"a member stops behind the target's back": {
			&fakeUnits{members: two, stopFor: map[string]time.Duration{"a.service": second}, loose: map[string]bool{"a.service": true}},
			"", second,
			[]string{"stop x.target"},
		},
		"one that had failed before is not blamed": {
			&fakeUnits{members: two, ends: map[string]string{"a.service": "before"}},
			"", 0,
			[]string{"stop x.target"},
		},
		"a member that does not stop in time is killed": {
			&fakeUnits{members: two, stopFor: map[string]time.Duration{"a.service": time.Hour}},
			"stop x.target: still stopping, killed: a.service", 30 * second,
			[]string{"stop x.target", "kill a.service killed"},
		},
		"and the kill may be denied": {
			&fakeUnits{members: two, stopFor: map[string]time.Duration{"a.service": time.Hour}, fails: map[string]error{"kill a.service": errors.New("access denied")}},
			"access denied", 30 * second,
			[]string{"stop x.target", "kill a.service killed"},
		},
		"no D-Bus": {&fakeUnits{fails: map[string]error{"members": errors.New("no bus")}}, "list the members of x.target: no bus", 0, nil},
		"denied":   {&fakeUnits{members: two, fails: map[string]error{"stop x.target": errors.New("access denied")}}, "stop x.target: access denied", 0, []string{"stop x.target"}},
		"no state": {&fakeUnits{members: two, fails: map[string]error{"state a.service": errors.New("no bus")}}, "look at a.service: no bus", 0, []string{"stop x.target"}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				s, err := TargetStep(tc.units, "x.target")
				require.NoError(t, err)
				start := time.Now()
				err = s.Run(briefed(t, 30*second, second))
				if tc.want == "" {
					require.NoError(t, err)
				} else {
					require.ErrorContains(t, err, tc.want)
				}
				require.Equal(t, tc.took, time.Since(start))
				require.Equal(t, tc.calls, tc.units.calls)
			})
		})
	}
}

func TestAnUndrainKillsNobody(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		units := &fakeUnits{stopFor: map[string]time.Duration{"a.service": time.Hour}}
		s, err := UnitStep(units, "a.service")
		require.NoError(t, err)
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(second, func() { cancel(errUndrain) })
		require.ErrorIs(t, s.Run(ctx), errUndrain)
		units.stopFor = nil
		require.NoError(t, s.(Undoer).Undo(t.Context()))
		require.Equal(t, []string{"stop a.service", "start a.service"}, units.calls)
	})
}

func TestHookStep(t *testing.T) {
	t.Parallel()
	const unit = "fleet-hook@flush.service"
	envFile := filepath.Join(t.TempDir(), "drain.env")
	units := &fakeUnits{}
	cfg := HookConfig{Units: units, Name: "flush", EnvFile: envFile}
	s, err := HookStep(cfg)
	require.NoError(t, err)
	ctx := withBrief(t.Context(), Brief{Cause: Cause{Kind: ScheduledEvent, EventID: "E\n\"LD_PRELOAD=x $(y) `z` \\"}})
	require.NoError(t, s.Run(ctx))
	data, err := os.ReadFile(envFile)
	require.NoError(t, err)
	require.Equal(t, "FLEET_CAUSE=\"scheduled-event\"\nFLEET_EVENT_ID=\"E\\\\u000a\\\"LD_PRELOAD=x \\$(y) \\`z\\` \\\\\"\nFLEET_EVENT_TYPE=\"\"\nFLEET_DEADLINE=\"\"\n", string(data))

	synctest.Test(t, func(t *testing.T) {
		units := &fakeUnits{stopFor: map[string]time.Duration{unit: time.Hour}}
		s, err := HookStep(HookConfig{Units: units, Name: "flush"})
		require.NoError(t, err)
		require.ErrorContains(t, s.Run(briefed(t, 5*second, second)), unit+": its time is up")
		require.Equal(t, []string{"start " + unit, "stop " + unit}, units.calls)

		units = &fakeUnits{fails: map[string]error{"start " + unit: errors.New("job failed")}, ends: map[string]string{unit: "before"}}
		s, err = HookStep(HookConfig{Units: units, Name: "flush"})
		require.NoError(t, err)
		require.EqualError(t, s.Run(t.Context()), "start "+unit+": job failed: failed (failed), result exit-code")
	})
	_, undoes := s.(Undoer)
	require.False(t, undoes, "a hook has no way back")
	for _, name := range []string{"", "a b", "a/b", "a@b"} {
		_, err := HookStep(HookConfig{Name: name})
		require.Error(t, err, name)
	}
	cfg.EnvFile = filepath.Join(envFile, "not", "there")
	s, err = HookStep(cfg)
	require.NoError(t, err)
	require.ErrorContains(t, s.Run(ctx), "tell "+unit+" the cause")
}

func TestWithoutSystemdOnlyItsStepsFail(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := newWorld(t).start(0, func(p *process) []StepConfig {
			target, err := TargetStep(nil, "fleet-serving.target")
			require.NoError(t, err)
			unit, err := UnitStep(nil, "a.service")
			require.NoError(t, err)
			hook, err := HookStep(HookConfig{Name: "flush"})
			require.NoError(t, err)
			return []StepConfig{
				{Name: "workloads", Kind: "target", Step: target},
				{Name: "unit", Kind: "unit", Step: unit, Optional: true},
				{Name: "hook", Kind: "hook", Step: hook, Optional: true},
				p.taking("rest", second),
			}
		})
		o, err := p.runner.Drain(p.ctx, request(0))
		require.NoError(t, err)
		require.Equal(t, "step workloads: failed: stop fleet-serving.target: systemd is not available", o.Error)
		require.Equal(t, map[string]StepStatus{"workloads": StepFailed, "unit": StepFailed, "hook": StepFailed, "rest": StepDone}, results(o))
		require.ErrorIs(t, p.runner.Undrain(p.ctx, "", ""), errNoUnits)
		require.False(t, p.cordoned)
	})
	_, err := TargetStep(nil, "x.service")
	require.Error(t, err)
	_, err = UnitStep(nil, "x")
	require.Error(t, err)
}

// TestExecStepInADrain lets a real program run out of its time in a real drain:
// being killed is part of the limit.
func TestExecStepInADrain(t *testing.T) {
	t.Parallel()
	plan, err := NewPlan([]StepConfig{{Name: "slow", Kind: "exec", Max: 2 * second, Step: shell(t, `trap "" TERM; sleep 60 & wait; wait`)}})
	require.NoError(t, err)
	r, err := New(Config{Plan: plan, Journal: openMem(t, newMemFiles(), "b1"), Cordon: func(context.Context, *Flag) error { return nil }})
	require.NoError(t, err)
	o, err := r.Drain(t.Context(), request(0))
	require.NoError(t, err)
	require.Equal(t, StepTimedOut, o.Steps[0].Status)
	require.Contains(t, o.Error, "not done after 2s")
}

// restartingBus is systemd behind a bus that is away for a while.
type restartingBus struct {
	*fakeUnits
	back time.Time
}

func (b restartingBus) away() error {
	if time.Now().Before(b.back) {
		return fmt.Errorf("no connection: %w", ErrUnavailable)
	}
	return nil
}

func (b restartingBus) StopUnit(ctx context.Context, name string) error {
	return errors.Join(b.away(), b.fakeUnits.StopUnit(ctx, name))
}

func (b restartingBus) StartUnit(ctx context.Context, name string) error {
	return errors.Join(b.away(), b.fakeUnits.StartUnit(ctx, name))
}

func (b restartingBus) Members(ctx context.Context, target string) ([]string, error) {
	names, err := b.fakeUnits.Members(ctx, target)
	return names, errors.Join(b.away(), err)
}

// TestStepsWaitForTheBus: a bus that is being restarted fails neither a drain nor
// its undoing; one that is gone fails them in bounded time.
func TestStepsWaitForTheBus(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		away time.Duration
		ok   bool
	}{"restarted": {4 * time.Second, true}, "gone": {time.Hour, false}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			synctest.Test(t, func(t *testing.T) {
				for what, call := range map[string]func(Step) error{
					"run":  func(s Step) error { return s.Run(t.Context()) },
					"undo": func(s Step) error { return s.(Undoer).Undo(t.Context()) },
				} {
					step, err := TargetStep(restartingBus{&fakeUnits{members: []string{"a.service"}}, time.Now().Add(tc.away)}, "fleet-serving.target")
					require.NoError(t, err)
					begin := time.Now()
					err = call(step)
					require.Equal(t, tc.ok, err == nil, "%s: %v", what, err)
					require.LessOrEqual(t, time.Since(begin), availableWithin+time.Second)
				}
			})
		})
	}
}
