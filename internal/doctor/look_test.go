package doctor

import (
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/testkit"

	"github.com/godbus/dbus/v5"
	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/adopt"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/imds"
	simimds "github.com/fleet-agent/fleet-agent/internal/sim/imds"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
	"github.com/fleet-agent/fleet-agent/internal/systemd/systemdtest"
)

// writeTree makes files below dir.
func writeTree(t *testing.T, dir string, files map[string]string) {
	t.Helper()
	for name, text := range files {
		path := filepath.Join(dir, name)
		require.NoError(t, os.MkdirAll(filepath.Dir(path), 0o755))
		require.NoError(t, os.WriteFile(path, []byte(text), 0o644))
	}
}

// shortDir is a directory whose path is short enough for a socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "doc") //nolint:usetesting // t.TempDir is too long
	require.NoError(t, err)
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	return dir
}

const noBus = "unix:path=/nonexistent/bus"

// A whole node: an agent's socket, its probe answers, the metadata service, a bus
// with systemd, logind and polkit, and files. Everything that is read of it is fine.
func TestExamineWholeNode(t *testing.T) {
	root := shortDir(t)
	service := httptest.NewServer(simimds.New(simimds.Config{VMs: []simimds.Instance{{Name: "web_3"}}}))
	t.Cleanup(service.Close)
	probe := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == "/healthz" {
			_, _ = w.Write([]byte(`{"ApplicationHealthState":"Healthy"}`))
		}
	}))
	t.Cleanup(probe.Close)
	address := probe.Listener.Addr().String()
	_, port, err := net.SplitHostPort(address)
	require.NoError(t, err)

	writeTree(t, root, map[string]string{
		"etc/fleet-agent/config.yaml": "run_dir: /run/fleet-agent\nstate_dir: /var/lib/fleet-agent\n" +
			"listen: {probe: '" + address + "', metrics: ''}\nimds: {endpoint: '" + service.URL + "'}\n" +
			"checks: [{name: web, tcp: {address: '127.0.0.1:80'}}]\n",
		"etc/group": "root:x:0:\nfleet-admin:x:991:\n",
		"usr/lib/systemd/system/fleet-agent.service":                      "[Service]\n",
		"etc/systemd/system/multi-user.target.wants/fleet-agent.service":  "",
		"usr/lib/systemd/system/web.service":                              "[Service]\nTimeoutStopSec=20s\n",
		"usr/lib/systemd/logind.conf.d/zz-fleet-agent.conf":               "[Login]\nInhibitDelayMaxSec=120\n",
		"usr/share/polkit-1/rules.d/50-fleet-agent.rules":                 "",
		"var/lib/fleet-agent/journal":                                     "",
		"proc/pressure/cpu":                                               "some avg10=0.00 avg60=1.50 avg300=0.00 total=1\n",
		"proc/pressure/memory":                                            "some avg10=0.00 avg60=0.00 avg300=0.00 total=1\nfull avg10=0 avg60=99.0 avg300=0 total=0\n",
		"proc/pressure/io":                                                "some avg10=0.00 avg60=2.00 avg300=0.00 total=1\n",
		"proc/net/tcp":                                                    listening(t, address),
		"var/lib/waagent/" + extensionPrefix + "2.0.29/config/1.settings": `{"runtimeSettings":[{"handlerSettings":{"publicSettings":{"protocol":"http","port":` + port + `,"requestPath":"/healthz","gracePeriod":600}}}]}`,
	})
	w, err := adopt.New(adopt.Config{Root: root, RunDir: "/run/fleet-agent"})
	require.NoError(t, err)
	_, err = w.Adopt("web", adopt.Settings{}, false)
	require.NoError(t, err)

	configPath := filepath.Join(root, "etc/fleet-agent/config.yaml")
	status := control.Status{Version: control.Version, State: control.StateServing}
	status.Health.Live, status.IMDS.State = true, "ok"
	status.Agent = control.Agent{Version: "1.2.3", PID: 42, ProbeAddress: address, ConfigFiles: []string{configPath}}
	serveStatus(t, filepath.Join(root, "run/fleet-agent", control.SocketName), status)

	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: adopt.Target, ActiveState: "active"})
	bus.Systemd.Set(systemdtest.Unit{Name: "web.service", PartOf: []string{adopt.Target}, ActiveState: "active", TimeoutStop: 20 * time.Second})
	bus.Logind.Leave()
	newLogind(t, bus.Dial(), 2*time.Minute, inhibitor{"shutdown:sleep", "fleet-agent", "to drain", "delay", 0, 42})

	report, err := Examine(t.Context(), Config{ConfigPath: configPath, Version: "1.2.3", Root: root, BusAddress: bus.Address(), Fit: preview})
	require.NoError(t, err)
	found := make(map[string]Finding)
	for _, f := range report.Findings {
		found[f.Check] = f
		switch f.Check {
		case "clock", "rights": // this machine's own; as root the agent has every right
		default:
			require.Equal(t, OK, f.Severity, "%+v", f)
		}
	}
	require.Equal(t, "it answers: web_3 in web", found["metadata"].Found)
	require.Equal(t, "1.2.3 runs, and the node is serving", found["agent"].Found)
	require.Equal(t, "1 adopted, and each fits into the drain plan", found["workloads"].Found)
	require.Equal(t, "an unannounced shutdown waits up to 2m0s, the drain takes up to 1m10s", found["shutdown"].Found)
	require.Equal(t, "waiting in the last minute: cpu 2%, memory 0%, io 2%", found["pressure"].Found)
	require.Equal(t, "http://localhost:"+port+"/healthz answers 200 Healthy", found["extension"].Found)

	data, err := json.Marshal(report)
	require.NoError(t, err)
	require.Contains(t, string(data), `{"version":1,"severity":"`)
}

// preview is a plan of ten seconds' settling and a minute's work.
func preview(*config.Config, time.Duration) (control.PlanPreview, error) {
	return control.PlanPreview{SettleSeconds: 10, Enough: true, Steps: []control.PlannedStep{{OffsetSeconds: 10, LimitSeconds: 60}}}, nil
}

// listening is /proc/net/tcp with one socket that listens on an address.
func listening(t *testing.T, address string) string {
	t.Helper()
	at := netip.MustParseAddrPort(address)
	require.Equal(t, netip.MustParseAddr("127.0.0.1"), at.Addr())
	const hex = "0123456789ABCDEF"
	p := at.Port()
	return "  sl  local_address rem_address   st\n" +
		"   0: 0100007F:" + string([]byte{hex[p>>12], hex[p>>8&15], hex[p>>4&15], hex[p&15]}) + " 00000000:0000 0A 00000000:00000000\n" +
		"   1: 0100007F:0016 0100007F:D431 01 00000000:00000000\n"
}

// serveStatus stands in for the agent's control socket.
func serveStatus(t *testing.T, socket string, status any) {
	t.Helper()
	require.NoError(t, os.MkdirAll(filepath.Dir(socket), 0o755))
	listener, err := net.Listen("unix", socket)
	require.NoError(t, err)
	require.NoError(t, os.Chmod(socket, 0o666))
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		_ = json.NewEncoder(w).Encode(status)
	}))
	_ = server.Listener.Close()
	server.Listener = listener
	server.Start()
	t.Cleanup(server.Close)
}

// inhibitor is an element of what ListInhibitors returns.
type inhibitor struct {
	What, Who, Why, Mode string
	UID, PID             uint32
}

// logind answers what doctor asks of org.freedesktop.login1.
type logind struct {
	delay time.Duration
	locks []inhibitor
}

func newLogind(t *testing.T, conn *dbus.Conn, delay time.Duration, locks ...inhibitor) {
	t.Helper()
	const name, path = "org.freedesktop.login1", "/org/freedesktop/login1"
	l := &logind{delay, locks}
	require.NoError(t, conn.Export(l, path, name+".Manager"))
	require.NoError(t, conn.Export(l, path, "org.freedesktop.DBus.Properties"))
	own(t, conn, name)
}

func own(t *testing.T, conn *dbus.Conn, name string) {
	t.Helper()
	reply, err := conn.RequestName(name, dbus.NameFlagDoNotQueue)
	require.NoError(t, err)
	require.Equal(t, dbus.RequestNameReplyPrimaryOwner, reply)
}

func (l *logind) Get(_, name string) (dbus.Variant, *dbus.Error) {
	if name != "InhibitDelayMaxUSec" {
		return dbus.Variant{}, dbus.MakeFailedError(errors.New(name))
	}
	return dbus.MakeVariant(uint64(l.delay.Microseconds())), nil
}

func (l *logind) ListInhibitors() ([]inhibitor, *dbus.Error) { return l.locks, nil }

// polkit lets a process of uid 990 stop the fleet's target and nothing else, and
// answers as polkit does only to root.
type polkit struct{ refuse atomic.Bool }

type polkitSubject struct {
	Kind    string
	Details map[string]dbus.Variant
}

type polkitResult struct {
	Authorized, Challenge bool
	Details               map[string]string
}

func (p *polkit) CheckAuthorization(s polkitSubject, action string, details map[string]string, _ uint32, _ string) (polkitResult, *dbus.Error) {
	if p.refuse.Load() {
		return polkitResult{}, dbus.NewError("org.freedesktop.PolicyKit1.Error.NotAuthorized", nil)
	}
	uid, _ := s.Details["uid"].Value().(int32)
	ok := s.Kind == "unix-process" && uid == 990 && action == "org.freedesktop.systemd1.manage-units" &&
		details["unit"] == adopt.Target && details["verb"] == "stop"
	return polkitResult{Authorized: ok}, nil
}

func TestBus(t *testing.T) {
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: adopt.Target, ActiveState: "active"})
	bus.Systemd.Set(systemdtest.Unit{Name: "a.service", PartOf: []string{adopt.Target}, TimeoutStop: 20 * time.Second})
	bus.Systemd.Set(systemdtest.Unit{Name: "b.service", PartOf: []string{adopt.Target}}) // no limit
	bus.Logind.SetMaxDelay(30 * time.Second)
	authority := &polkit{}
	conn := bus.Dial()
	require.NoError(t, conn.Export(authority, "/org/freedesktop/PolicyKit1/Authority", "org.freedesktop.PolicyKit1.Authority"))
	own(t, conn, "org.freedesktop.PolicyKit1")

	q := question{pid: 42, uid: 990, units: []string{adopt.Target, "db.service"}}
	f := lookBus(t.Context(), bus.Address(), q)
	require.NoError(t, errors.Join(f.err, f.delayErr, f.targetErr, f.polkitErr))
	require.Equal(t, 30*time.Second, f.delay)
	require.Error(t, f.holdErr, "the fake knows no ListInhibitors, as some versions may")
	require.Equal(t, unitFacts{name: adopt.Target, load: "loaded", active: "active"}, f.target)
	require.Equal(t, []unitFacts{
		{name: "a.service", load: "loaded", active: "inactive", stop: 20 * time.Second},
		{name: "b.service", load: "loaded", active: "inactive", stop: systemd.Infinite},
	}, f.members)
	require.True(t, f.asked)
	require.Equal(t, []string{"db.service"}, f.denied)
	require.Empty(t, bus.Logind.Locks(), "it only looks")
	require.Empty(t, bus.Systemd.Calls(), "it only looks")

	authority.refuse.Store(true)
	f = lookBus(t.Context(), bus.Address(), q)
	require.ErrorContains(t, f.polkitErr, "NotAuthorized")
	require.False(t, f.asked)

	f = lookBus(t.Context(), bus.Address(), question{units: q.units})
	require.False(t, f.asked, "without an agent there is nobody to ask for")

	bus.Systemd.Leave()
	f = lookBus(t.Context(), bus.Address(), q)
	require.Error(t, f.targetErr)
	bus.Systemd.Return()

	require.Error(t, lookBus(t.Context(), noBus, q).err)

	// A bus that hangs costs the time that there is, and no more.
	thaw := bus.Freeze()
	defer thaw()
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond)
	defer cancel()
	require.Error(t, lookBus(ctx, bus.Address(), q).err)
}

func TestMetadata(t *testing.T) {
	for name, test := range map[string]struct {
		fault simimds.Fault
		class imds.Class
	}{
		"denied":  {simimds.Fault{Kind: simimds.FaultStatus, Status: http.StatusForbidden}, imds.ClassDenied},
		"421":     {simimds.Fault{Kind: simimds.FaultStatus, Status: http.StatusMisdirectedRequest}, imds.ClassDenied},
		"moving":  {simimds.Fault{Kind: simimds.FaultStatus, Status: http.StatusGone}, imds.ClassGone},
		"empty":   {simimds.Fault{Kind: simimds.FaultEmpty}, imds.ClassEmpty},
		"partial": {simimds.Fault{Kind: simimds.FaultPartial}, imds.ClassServerError},
		"well":    {class: imds.ClassOK},
	} {
		t.Run(name, func(t *testing.T) {
			sim := simimds.New(simimds.Config{})
			if test.fault.Kind != "" {
				require.NoError(t, sim.SetFault(test.fault))
			}
			server := httptest.NewServer(sim)
			t.Cleanup(server.Close)
			f := &facts{conf: config.Default()}
			f.conf.IMDS.Endpoint = server.URL
			f.lookMetadata(t.Context())
			require.Equal(t, test.class, imds.Classify(f.instanceErr))
			for _, r := range sim.Requests() {
				require.Contains(t, r.Path, "instance", "asking for events would switch them on")
			}
		})
	}
}

func TestAnswer(t *testing.T) {
	answer := func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/healthy":
			_, _ = w.Write([]byte(`{"ApplicationHealthState":"Healthy"}`))
		case "/unhealthy":
			w.WriteHeader(http.StatusAccepted)
			_, _ = w.Write([]byte(`{"applicationHealthState":"Unhealthy","extra":{}}`))
		case "/starting":
			w.WriteHeader(http.StatusServiceUnavailable)
			_, _ = w.Write([]byte(`{"ApplicationHealthState":"Healthy"}`))
		case "/case":
			_, _ = w.Write([]byte(`{"ApplicationHealthState":"healthy"}`))
		case "/metrics-object":
			_, _ = w.Write([]byte(`{"ApplicationHealthState":"Healthy","CustomMetrics":{}}`))
		case "/two":
			_, _ = w.Write([]byte(`{"ApplicationHealthState":"Healthy"}{}`))
		case "/redirect":
			http.Redirect(w, r, "/healthy", http.StatusFound)
		}
	}
	plain, secure := httptest.NewServer(http.HandlerFunc(answer)), httptest.NewTLSServer(http.HandlerFunc(answer))
	t.Cleanup(plain.Close)
	t.Cleanup(secure.Close)
	for path, want := range map[string]string{
		"/healthy": "Healthy", "/unhealthy": "Unhealthy", "/starting": "", "/case": "", "/metrics-object": "", "/two": "", "/redirect": "", "/nothing": "",
	} {
		for _, server := range []*httptest.Server{plain, secure} {
			a := lookAnswer(t.Context(), server.URL+path)
			require.NoError(t, a.err)
			require.Equal(t, want, a.state, path)
		}
	}
	plain.Close()
	require.Error(t, lookAnswer(t.Context(), plain.URL).err)
}

func TestProbeURL(t *testing.T) {
	f := &facts{conf: config.Default()}
	require.Equal(t, "http://localhost:8080/healthz", f.probeURL())
	f.conf.Listen.TLS.CertFile = "/c"
	f.status = &control.Status{Agent: control.Agent{ProbeAddress: "[::]:8443"}}
	require.Equal(t, "https://localhost:8443/healthz", f.probeURL())
	f.extension.settings = &extensionSettings{Protocol: "https", RequestPath: "readyz"}
	require.Equal(t, "https://localhost:443/readyz", f.probeURL())
	f.extension.settings = &extensionSettings{Protocol: "tcp", Port: 99}
	require.Equal(t, "https://localhost:8443/healthz", f.probeURL())
}

func TestExtension(t *testing.T) {
	settings := func(public string) string {
		return `{"runtimeSettings":[{"handlerSettings":{"protectedSettings":"","publicSettings":` + public + `}}]}`
	}
	const status = `[{"version":1,"timestampUTC":"2026-11-22T22:00:30Z","status":{"operation":"enable","status":"success","substatus":[
		{"name":"AppHealthStatus","status":"error","formattedMessage":{"lang":"en","message":"Application found to be unhealthy"}},
		{"name":"ApplicationHealthState","status":"error","formattedMessage":{"lang":"en","message":"Unknown"}}]}}]`

	t.Run("the newest of everything", func(t *testing.T) {
		dir := t.TempDir()
		writeTree(t, dir, map[string]string{
			extensionPrefix + "2.0.9/config/7.settings":    settings(`{"protocol":"tcp"}`),
			extensionPrefix + "2.0.10/config/9.settings":   settings(`{"protocol":"tcp"}`),
			extensionPrefix + "2.0.10/config/10.settings":  settings(`{"protocol":"https","port":443,"requestPath":"/healthz","intervalInSeconds":10,"numberOfProbes":3,"gracePeriod":60,"vmWatchSettings":{"enabled":true}}`),
			extensionPrefix + "2.0.10/config/HandlerState": "Enabled",
			extensionPrefix + "2.0.10/status/10.status":    status,
			"Microsoft.Azure.Other-9.9/config/1.settings":  "x",
			"waagent.log": "x",
		})
		e := lookExtension(dir)
		require.NoError(t, errors.Join(e.err, e.settingsErr))
		require.Equal(t, "2.0.10", e.version)
		require.True(t, e.rich())
		require.Equal(t, "https", e.settings.Protocol)
		require.Equal(t, 10, e.settings.interval())
		require.Equal(t, 3, e.settings.probes())
		require.Equal(t, "Unknown", e.state)
		require.Equal(t, time.Date(2026, 11, 22, 22, 0, 30, 0, time.UTC), e.at)
	})
	t.Run("nothing", func(t *testing.T) {
		require.Equal(t, extensionFacts{}, lookExtension(filepath.Join(t.TempDir(), "absent")))
		require.Equal(t, extensionFacts{}, lookExtension(t.TempDir()))
	})
	t.Run("no settings yet", func(t *testing.T) {
		dir := t.TempDir()
		require.NoError(t, os.MkdirAll(filepath.Join(dir, extensionPrefix+"1.0.7"), 0o755))
		e := lookExtension(dir)
		require.ErrorIs(t, e.err, fs.ErrNotExist)
		require.False(t, e.rich())
	})
	for public, want := range map[string]string{
		`{}`:                                   "",
		`null`:                                 "",
		`{"port":"80"}`:                        "cannot unmarshal string",
		`{"protocol":"http","timeout":5}`:      `unknown field "timeout"`,
		`[]`:                                   "cannot unmarshal array",
		`{"protocol":"http","port":80}`:        "",
		`{"gracePeriod":99999999999999999999}`: "cannot unmarshal number",
	} {
		t.Run(public, func(t *testing.T) {
			s, err := parseSettings([]byte(settings(public)))
			if want == "" {
				require.NoError(t, err)
				require.NotNil(t, s)
				return
			}
			require.ErrorContains(t, err, want)
		})
	}
	for _, text := range []string{"", "[]", "{", `[{"status":null}]`} {
		state, _ := parseExtensionStatus([]byte(text))
		require.Empty(t, state, text)
	}
	s, err := parseSettings([]byte(`{"runtimeSettings":[]}`))
	require.NoError(t, err)
	require.Equal(t, &extensionSettings{}, s)
}

func TestListeners(t *testing.T) {
	f := &facts{root: t.TempDir()}
	_, err := f.lookListeners()
	require.Error(t, err)
	writeTree(t, f.root, map[string]string{
		"proc/net/tcp": "  sl  local_address rem_address   st\n" +
			"   0: 0100007F:1F90 00000000:0000 0A 00000000:00000000 00:00000000 00000000\n" +
			"   1: 0400000A:1F90 0100007F:D431 01 00000000:00000000\n   2: nonsense\n   3: xx:1F90 00000000:0000 0A\n",
		"proc/net/tcp6": "   0: 00000000000000000000000001000000:2652 00000000000000000000000000000000:0000 0A\n" +
			"   1: 0000000000000000FFFF00000100007F:0050 00000000000000000000000000000000:0000 0A\n",
	})
	list, err := f.lookListeners()
	require.NoError(t, err)
	require.Equal(t, []netip.AddrPort{
		netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("[::1]:9810"), netip.MustParseAddrPort("127.0.0.1:80"),
	}, list)
}

func TestAccounts(t *testing.T) {
	f := &facts{root: t.TempDir()}
	f.lookAccounts("/nonexistent/socket")
	require.Nil(t, f.agentID)
	require.False(t, f.admins)
	writeTree(t, f.root, map[string]string{
		"etc/passwd": "root:x:0:0::/root:/bin/sh\nfleet-agent2:x:1:1::/:/bin/sh\nfleet-agent:x:990:985:Fleet agent:/var/lib/fleet-agent:/usr/sbin/nologin\n",
		"etc/group":  "fleet-admin:x:986:ops\n",
		"socket":     "",
	})
	f.lookAccounts("/nonexistent/socket")
	require.Equal(t, &account{990, 985}, f.agentID)
	require.True(t, f.admins)
	f.lookAccounts(f.in("socket"))
	require.Equal(t, &account{os.Geteuid(), os.Getegid()}, f.agentID, "whom the socket belongs to comes first")
}

// TestConfigOfTheAgentsUser is one that the agent takes, and so does doctor.
func TestConfigOfTheAgentsUser(t *testing.T) {
	testkit.Root(t)
	f := &facts{root: t.TempDir()}
	writeTree(t, f.root, map[string]string{"config.yaml": "state_dir: /x\n"})
	require.NoError(t, os.Chown(f.in("config.yaml"), 990, 985))
	cfg := Config{ConfigPath: f.in("config.yaml"), Fit: preview}
	f.lookConfig(cfg)
	require.ErrorContains(t, f.confErr, "belongs to uid 990", "there is no user of the agent's")
	writeTree(t, f.root, map[string]string{"etc/passwd": "fleet-agent:x:990:985::/:/bin/false\n"})
	f.lookConfig(cfg)
	require.NoError(t, f.confErr)
	require.Equal(t, "/x", f.conf.StateDir)
}

func TestDiskOfADirectoryThatIsNotThere(t *testing.T) {
	dir := t.TempDir()
	d := lookDisk(filepath.Join(dir, "var/lib/fleet-agent"))
	require.NoError(t, d.err)
	require.Equal(t, dir, d.path)
	require.NotZero(t, d.total)
}

// Without agent, bus, metadata service or files the report is still whole.
func TestExamineBareMachine(t *testing.T) {
	root := t.TempDir()
	writeTree(t, root, map[string]string{"config.yaml": "imds: {endpoint: 'http://127.0.0.1:1'}\nlisten: {probe: '127.0.0.1:1'}\n"})
	cfg := Config{ConfigPath: filepath.Join(root, "config.yaml"), Root: root, BusAddress: noBus, Fit: preview}
	report, err := Examine(t.Context(), cfg)
	require.NoError(t, err)
	require.Equal(t, Error, report.Severity)
	seen := make(map[string]bool)
	for _, f := range report.Findings {
		seen[f.Check] = true
	}
	require.Len(t, seen, len(checks))

	// A configuration that is not valid does not stop the rest.
	writeTree(t, root, map[string]string{"config.yaml": "imds: {endpoint: 'http://127.0.0.1:1'}\nlistn: {}\n"})
	f := &facts{}
	f.lookConfig(cfg)
	require.Error(t, f.confErr)
	require.False(t, f.confDenied)
	require.Equal(t, "127.0.0.1:8080", f.conf.Listen.Probe)

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("enough"))
	_, err = Examine(ctx, cfg)
	require.ErrorContains(t, err, "enough")
}

func FuzzSettings(f *testing.F) {
	f.Add([]byte(`{"runtimeSettings":[{"handlerSettings":{"publicSettings":{"protocol":"http","port":8080}}}]}`))
	f.Add([]byte(`{"runtimeSettings":[{}]}`))
	f.Fuzz(func(t *testing.T, text []byte) {
		s, err := parseSettings(text)
		if (s == nil) == (err == nil) {
			t.Fatalf("%v and %v", s, err)
		}
		node := healthy()
		node.extension.settings, node.extension.settingsErr = s, err
		if len(judge(node).Findings) < len(checks) {
			t.Fatal("a check has found nothing")
		}
	})
}

// A node whose service was adopted by a version that knew no triggers, and one
// whose socket failed.
func TestExamineTriggers(t *testing.T) {
	root := shortDir(t)
	writeTree(t, root, map[string]string{
		"usr/lib/systemd/system/web.service": "[Service]\nTimeoutStopSec=20s\n",
		"usr/lib/systemd/system/web.socket":  "[Socket]\nListenStream=80\n",
		"usr/lib/systemd/system/api.service": "[Service]\nTimeoutStopSec=20s\n",
		"usr/lib/systemd/system/api.socket":  "[Socket]\nListenStream=81\n",
	})
	w, err := adopt.New(adopt.Config{Root: root, RunDir: "/run/fleet-agent", TargetMax: time.Minute})
	require.NoError(t, err)
	for _, unit := range []string{"web", "api"} {
		_, err = w.Adopt(unit, adopt.Settings{}, false)
		require.NoError(t, err)
	}
	for _, gone := range []string{"web.socket.d", adopt.Target + ".wants/web.socket"} {
		require.NoError(t, os.RemoveAll(filepath.Join(root, "etc/systemd/system", gone)))
	}
	bus := systemdtest.Start(t)
	bus.Systemd.Set(systemdtest.Unit{Name: adopt.Target, ActiveState: "active"})
	for _, unit := range []string{"web.service", "api.service"} {
		bus.Systemd.Set(systemdtest.Unit{Name: unit, PartOf: []string{adopt.Target}, ActiveState: "active", TimeoutStop: 20 * time.Second})
	}
	bus.Systemd.Set(systemdtest.Unit{Name: "api.socket", PartOf: []string{adopt.Target}, ActiveState: "failed", Result: "trigger-limit-hit"})
	report, err := Examine(t.Context(), Config{ConfigPath: filepath.Join(root, "none.yaml"), Root: root, BusAddress: bus.Address(), Fit: preview})
	require.NoError(t, err)
	var found, fixes []string
	for _, f := range report.Findings {
		if f.Check == "workloads" {
			require.Equal(t, Error, f.Severity, "%+v", f)
			found, fixes = append(found, f.Found), append(fixes, f.Fix)
		}
	}
	require.Equal(t, []string{
		"the adopted socket api.socket does not listen: it is failed", "web.socket can start web.service and is not adopted",
	}, found)
	require.Equal(t, []string{"sudo systemctl start api.socket", "sudo fleet-agent adopt web.service --root " + root}, fixes)
}
