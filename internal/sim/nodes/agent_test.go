package nodes

import (
	"context"
	"flag"
	"fmt"
	"log/slog"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
	"github.com/fleet-agent/fleet-agent/internal/testkit"
)

// built is fleet-agent, which is built once.
var built = sync.OnceValues(func() (string, error) {
	binary := filepath.Join(binaries, "fleet-agent")
	out, err := exec.Command("go", "build", "-o", binary, "../../../cmd/fleet-agent").CombinedOutput()
	if err != nil {
		err = fmt.Errorf("%w: %s", err, out)
	}
	return binary, err
})

// binaries is a directory for what tests build.
var binaries string

func TestMain(m *testing.M) { os.Exit(inBinaries(m)) }

func inBinaries(m *testing.M) int {
	var err error
	if binaries, err = os.MkdirTemp("", "fleet-nodes-*"); err != nil {
		panic(err)
	}
	defer os.RemoveAll(binaries)
	_ = flag.Set("test.parallel", "8") // real agents wait most of the time
	return m.Run()
}

// agents runs a world whose machines are real agents with a configuration. Simulated time
// passes ten times as fast.
func agents(t *testing.T, config string) (*world, *testkit.Buffer) {
	t.Helper()
	binary, err := built()
	require.NoError(t, err)
	dir, log := t.TempDir(), &testkit.Buffer{}
	w := newWorld(t, 10)
	w.agents = dir
	factory := Agents{
		Binary: binary, Configs: &arm.Agents{Config: []byte(config), Versions: map[string][]byte{"1.7.0": []byte("odd: true\n")}},
		Dir: dir, Logger: slog.New(slog.NewTextHandler(log, nil)),
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- Run(ctx, Config{Control: w.server, Make: factory.Make, Logger: factory.Logger}) }()
	t.Cleanup(func() {
		cancel()
		require.NoError(t, <-ended)
		left, err := filepath.Glob(filepath.Join(dir, "vm-*"))
		require.NoError(t, err)
		require.Empty(t, left, "an agent leaves nothing behind")
		if t.Failed() {
			t.Log(log)
		}
	})
	return w, log
}

// patience is for what would hang: agents start slowly on a busy machine.
const patience = 5 * time.Minute

// eventually waits until the health of the members is as it should be.
func (w *world) eventually(health string) {
	w.Helper()
	ctx, cancel := context.WithTimeout(w.Context(), patience)
	defer cancel()
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for got := w.health(); got != health; got = w.health() {
		select {
		case <-tick.C:
		case <-ctx.Done():
			require.Equal(w, health, got)
		}
	}
}

// drains in an instant.
const drain = "drain: {settle: 0s, plan: [{name: nothing, sleep: 10ms}]}\n"

func TestRealAgent(t *testing.T) {
	t.Parallel()
	w, log := agents(t, drain)
	w.put(1, "1.7.1", "8080", true)
	w.eventually("healthy")
	machines, err := w.server.Machines()
	require.NoError(t, err)
	vm := machines[0].ID

	op := at(w.do("POST", vm+"/runCommand", `{"commandId":"RunShellScript","script":[
		"out=$(timeout 30 fleet-agent status -o json 2>&1 </dev/null); code=$?",
		"printf '%s\\n' \"$out\" | head -c 3000",
		"(exit \"$code\")",
		"printf '\\nfleetctl: exit %d\\n' \"$?\"",
		"timeout 120 sudo -n fleet-agent drain --for 45m --wait --reason 'fleetctl: rollout of 1.7.1' </dev/null",
		"printf '\\nfleetctl: exit %d\\n' \"$?\" >&2"
	]}`), "operation")
	var got map[string]any
	require.Eventually(t, func() bool {
		got = w.do("GET", op, "")
		return at(got, "status") == "Succeeded"
	}, patience, 50*time.Millisecond)
	value := got["properties"].(map[string]any)["output"].(map[string]any)["value"].([]any)
	message := at(value[0], "message")
	require.Contains(t, message, `"state": "serving"`)
	require.Contains(t, message, machines[0].Name, "it knows itself from its metadata service")
	require.Contains(t, message, "\nfleetctl: exit 0\n", "the script runs as it is")
	_, stderr, _ := strings.Cut(message, "[stderr]")
	require.Contains(t, stderr, "\nfleetctl: exit 0\n", "it has drained")

	w.noticed(log, 0.05, func() { w.do("POST", vm+"/simulateEviction", "") })
	w.eventually("deallocated")
}

// noticed does something of which an agent hears before, and waits until the agent has
// acknowledged it. Until then simulated time passes so slowly that the notice, of ten
// minutes or more, is not over before that, however slow the agent is.
func (w *world) noticed(log *testkit.Buffer, factor float64, do func()) {
	w.Helper()
	usual := w.server.Clock().Factor()
	w.server.Clock().SetFactor(factor)
	do()
	require.Eventually(w, func() bool { return strings.Contains(log.String(), "event acknowledged") }, patience, 50*time.Millisecond)
	w.server.Clock().SetFactor(usual)
}

// TestRealAgentIsDeleted: the notice is fifteen minutes, and the agent lets it go at once.
func TestRealAgentIsDeleted(t *testing.T) {
	t.Parallel()
	w, log := agents(t, drain)
	w.notice = "PT15M"
	w.put(1, "1.7.1", "8080", false)
	w.eventually("healthy")
	began := w.server.Clock().Now()
	w.noticed(log, 1, func() { w.do("PATCH", aSet, `{"sku":{"capacity":0}}`) })
	w.eventually("")
	require.Less(t, w.server.Clock().Now().Sub(began), 14*time.Minute)
}

// TestFleetOfRealAgents: fifteen start at once; each disk's agent has the configuration of
// its version, and a machine that does not run has none.
func TestFleetOfRealAgents(t *testing.T) {
	t.Parallel()
	const most = 15
	w, log := agents(t, drain)
	w.server.Clock().SetFactor(40)
	began := time.Now()
	w.put(most, "1.7.1", "8080", false)
	w.eventually(strings.TrimSpace(strings.Repeat("healthy ", most)))
	t.Logf("%d agents are healthy after %s", most, time.Since(began).Round(time.Millisecond))

	machines, err := w.server.Machines()
	require.NoError(t, err)
	one := machines[0]
	upgrade := func(version string) {
		w.do("PATCH", aSet, `{"properties":{"virtualMachineProfile":{"storageProfile":{"imageReference":{"id":"`+compute+"galleries/galProd/images/ubuntu-app/versions/"+version+`"}}}}}`)
		w.do("POST", aSet+"/manualupgrade", `{"instanceIds":["`+one.Name+`"]}`)
	}
	others := strings.Repeat(" healthy", most-1)
	upgrade("1.7.0")
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "agent has ended") }, patience, 50*time.Millisecond)
	upgrade("1.7.1")
	w.eventually("healthy" + others)
	w.do("POST", one.ID+"/deallocate", "")
	w.eventually("deallocated" + others)
	require.Eventually(t, func() bool {
		dirs, err := filepath.Glob(filepath.Join(w.agents, "vm-*"))
		require.NoError(t, err)
		return len(dirs) == most-1
	}, patience, 50*time.Millisecond)
	w.do("POST", one.ID+"/start", "")
	w.eventually("healthy" + others)
}

func TestRealAgentWithoutItsDependency(t *testing.T) {
	t.Parallel()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	closed := l.Addr().String()
	require.NoError(t, l.Close())
	w, _ := agents(t, drain+"checks: [{name: database, tcp: {address: '"+closed+"'}, interval: 1s}]\n")
	w.put(1, "1.7.1", "8080", false)
	w.eventually("unhealthy")
}

func TestRealAgentThatIsConfiguredWrong(t *testing.T) {
	t.Parallel()
	w, log := agents(t, "listen: {probe: '127.0.0.1:9000'}\n"+drain)
	w.put(1, "1.7.0", "8080", false)
	require.Eventually(t, func() bool { return strings.Contains(log.String(), "agent has ended") }, patience, 50*time.Millisecond)
	require.Contains(t, log.String(), "odd")
	w.do("DELETE", aSet, "")
	require.Eventually(t, func() bool { return len(w.members()) == 0 }, patience, 50*time.Millisecond)

	w.put(1, "1.7.1", "9000", false)
	w.eventually("healthy")
	machines, err := w.server.Machines()
	require.NoError(t, err)
	a := Agents{Configs: &arm.Agents{Config: []byte("{}")}}.Make(machines[0])
	_, err = a.Probe(t.Context(), arm.HealthExtension{Protocol: "http", Port: 9000})
	require.ErrorContains(t, err, "it listens on 8080")
	_, err = a.Probe(t.Context(), arm.HealthExtension{Protocol: "http", Port: 8080})
	require.Error(t, err, "it was not started")
	require.NoError(t, a.Stop(t.Context()))
}

func TestTail(t *testing.T) {
	b := &tail{most: 4}
	for _, p := range []string{"ab", "cd", "efghij", ""} {
		n, err := b.Write([]byte(p))
		require.NoError(t, err)
		require.Len(t, p, n)
	}
	require.Equal(t, "ghij", b.String())
}

// script writes a program of a test.
func script(t *testing.T, text string) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "machines")
	require.NoError(t, os.WriteFile(file, []byte("#!/bin/sh\n"+text), 0o700)) //nolint:gosec // it is run
	return file
}

func TestProgram(t *testing.T) {
	dir := t.TempDir()
	p := Program{Path: script(t, `cd `+dir+`
echo "$*" >>log
case $1 in
start) [ "$2" != broken ] || { echo first >&2; echo no such image >&2; exit 3; } ;;
run) sh ;;
probe) printf '200\n{"ApplicationHealthState":"Healthy"}' ;;
stop) sleep 60 & wait ;;
esac`)}
	m := p.Make(arm.Machine{Name: "authz_1", Image: "/images/app/versions/1.7.1"})
	require.NoError(t, m.Start(t.Context()))
	out, err := m.Run(t.Context(), "#!/bin/sh -u\necho hello; echo wrong >&2\nexit 7\n")
	require.NoError(t, err)
	require.Equal(t, Output{"hello\n", "wrong\n"}, out)
	a, err := m.Probe(t.Context(), arm.HealthExtension{Protocol: "http", Port: 8080, Path: "/healthz"})
	require.NoError(t, err)
	require.Equal(t, Answer{200, []byte(`{"ApplicationHealthState":"Healthy"}`)}, a)
	_, err = m.Probe(t.Context(), arm.HealthExtension{Protocol: "tcp", Port: 22})
	require.NoError(t, err)
	require.NoError(t, p.Capture(t.Context(), "build:one"))
	read := func() string {
		data, err := os.ReadFile(filepath.Join(dir, "log"))
		require.NoError(t, err)
		return string(data)
	}
	ctx, expire := testkit.Expiring(t.Context())
	stopped := make(chan error, 1)
	go func() { stopped <- m.Stop(ctx) }()
	require.Eventually(t, func() bool { return strings.HasSuffix(read(), "stop authz_1\n") }, patience, time.Millisecond, "it has begun")
	expire()
	require.ErrorIs(t, <-stopped, context.DeadlineExceeded, "a request has its time")
	require.Equal(t, "start authz_1 /images/app/versions/1.7.1\nrun authz_1\nprobe authz_1 8080 /healthz\nprobe authz_1 22 / tcp\ncapture build:one\nstop authz_1\n", read())

	err = p.Make(arm.Machine{Name: "broken", Build: "build:one"}).Start(t.Context())
	require.ErrorContains(t, err, "start: exit status 3: no such image")
	require.ErrorContains(t, Program{Path: "/none"}.Capture(t.Context(), "x"), "start /none: no such file or directory")
	odd := Program{Path: script(t, "echo odd\n")}.Make(arm.Machine{})
	_, err = odd.Probe(t.Context(), arm.HealthExtension{Protocol: "http"})
	require.ErrorContains(t, err, "the first line is no status code")
}
