package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net/netip"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/adopt"
	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/imds"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// moment is when the node is looked at.
var moment = time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)

// healthy is a node with nothing to mend, as root sees it.
func healthy() *facts {
	conf := config.Default()
	conf.Checks = []config.Check{{Name: "web", TCP: &config.TCPCheck{Address: "127.0.0.1:80"}}}
	status := &control.Status{State: control.StateServing}
	status.Health.Live = true
	status.IMDS.State = "ok"
	status.Agent = control.Agent{Version: "1.2.3", PID: 42, ProbeAddress: "127.0.0.1:8080"}
	agent := &account{uid: 990, gid: 990}
	return &facts{
		now: moment, root: "/nonexistent", user: 0, version: "1.2.3",
		conf: conf, configPath: "/etc/fleet-agent/config.yaml",
		plan:   planFacts{total: 70 * time.Second, fit: fits},
		status: status, installed: true, enabled: true,
		instance: imds.Instance{Name: "web_0", VMID: "id", ScaleSet: "web"},
		extension: extensionFacts{
			version: "2.0.29", handler: handlerEnabled, running: "2.0.29", file: "/var/lib/waagent/x/config/0.settings",
			said:     extensionReport{status: "success", state: "Healthy", at: moment.Add(-5 * time.Second)},
			settings: &extensionSettings{Protocol: "http", Port: 8080, RequestPath: "/healthz", GracePeriod: 600},
		},
		answer:    answerFacts{url: "http://localhost:8080/healthz", status: 200, state: "Healthy"},
		localhost: []netip.Addr{netip.MustParseAddr("127.0.0.1")},
		delays:    []systemd.InhibitDelaySetting{{File: "/usr/lib/systemd/logind.conf.d/zz-fleet-agent.conf", Value: 2 * time.Minute}},
		bus: busFacts{
			delay: 2 * time.Minute, holders: []string{"fleet-agent"},
			target:  unitFacts{name: adopt.Target, load: "loaded", active: "active"},
			members: []unitFacts{{name: "web.service", load: "loaded", active: "active", stop: 30 * time.Second}},
			asked:   true,
		},
		polkitRule: fileFacts{path: "/usr/share/polkit-1/rules.d/50-fleet-agent.rules"},
		workloads:  []adopt.Workload{{Unit: "web.service", State: adopt.StateAdopted}},
		listening:  []netip.AddrPort{netip.MustParseAddrPort("127.0.0.1:8080"), netip.MustParseAddrPort("127.0.0.1:9810")},
		agentID:    agent, admins: true,
		files: []fileFacts{
			{path: "/var/lib/fleet-agent", mode: fs.ModeDir | 0o750, uid: 990, gid: 990},
			{path: "/run/fleet-agent", mode: fs.ModeDir | 0o755, uid: 990, gid: 990},
			{path: "/run/fleet-agent/control.sock", mode: fs.ModeSocket | 0o666, uid: 990, gid: 990},
		},
		disk:     diskFacts{path: "/var/lib/fleet-agent", free: 10 << 30, total: 30 << 30, freeInodes: 1e6, totalInodes: 2e6},
		clock:    clockFacts{synchronized: true, offset: time.Millisecond},
		pressure: map[string]float64{"cpu": 5, "memory": 0, "io": 1},
	}
}

// fits is a plan of a required step of 10 s and an optional one of 50 s.
func fits(notice time.Duration) (control.PlanPreview, error) {
	if notice < 0 {
		return control.PlanPreview{}, errors.New("negative")
	}
	return control.PlanPreview{
		Enough: notice >= 10*time.Second,
		Steps:  []control.PlannedStep{{Name: "workloads"}, {Name: "flush", Shed: notice < 20*time.Second}},
	}, nil
}

func TestNothingToMend(t *testing.T) {
	r := judge(healthy())
	seen := make(map[string]bool)
	for _, f := range r.Findings {
		require.Equal(t, OK, f.Severity, "%+v", f)
		require.NotEmpty(t, f.Found)
		seen[f.Check] = true
	}
	require.Equal(t, OK, r.Severity)
	for _, c := range checks {
		require.True(t, seen[c.name], "%s has found nothing", c.name)
	}
}

// Each row breaks one thing and names the finding that comes of it.
func TestFindings(t *testing.T) {
	settings := func(change func(*extensionSettings)) func(*facts) {
		return func(f *facts) { change(f.extension.settings) }
	}
	old := func(change func(*facts)) func(*facts) {
		return func(f *facts) {
			f.extension.version, f.extension.running, f.extension.settings.GracePeriod = "1.0.7", "1.0.7", 0
			if change != nil {
				change(f)
			}
		}
	}
	gone := func(f *facts) {
		f.status, f.statusErr = nil, &control.UnreachableError{Socket: "/run/fleet-agent/control.sock", Reason: "no such file", Err: fs.ErrNotExist}
	}
	for name, test := range map[string]struct {
		broken       func(*facts)
		check        string
		severity     Severity
		found, fixed string
	}{
		"configuration: not valid": {
			func(f *facts) {
				f.confErr = config.Errors{{File: "config.yaml", Line: 3, Field: "checks", Message: "is odd"}, {Message: "more"}}
			}, "configuration", Error, "config.yaml:3: checks: is odd (and 1 more)", "config validate",
		},
		"configuration: not readable": {
			func(f *facts) { f.confErr, f.confDenied = fs.ErrPermission, true }, "configuration", Note, "cannot be read by this user", "sudo",
		},
		"configuration: not reloaded": {
			func(f *facts) { f.status.Agent.ConfigFiles = []string{"/etc/fleet-agent/config.yaml"} },
			"configuration", Warning, "has read /etc/fleet-agent/config.yaml, now there is no file", "systemctl reload",
		},
		"configuration: no checks": {func(f *facts) { f.conf.Checks = nil }, "configuration", Note, "no checks", "schema"},

		"agent: gone":    {gone, "agent", Error, "does not run", "systemctl start"},
		"agent: denied":  {func(f *facts) { f.status, f.statusErr = nil, &control.Error{Status: 403} }, "agent", Note, "does not answer this user", "sudo"},
		"agent: hangs":   {func(f *facts) { f.status, f.statusErr = nil, errors.New("no answer within 10s") }, "agent", Error, "no answer within 10s", "journalctl"},
		"agent: older":   {func(f *facts) { f.version = "1.3.0" }, "agent", Warning, "is 1.2.3, this program is 1.3.0", "restart"},
		"agent: stalled": {func(f *facts) { f.status.Health.Live = false }, "agent", Error, "stand still", "journalctl"},
		"agent: warns":   {func(f *facts) { f.status.Warnings = []string{"the journal cannot be written"} }, "agent", Warning, "the journal cannot", ""},
		"agent: not at boot": {
			func(f *facts) { f.enabled = false }, "agent", Warning, "not enabled", "enable --now",
		},

		"metadata: agent denied": {
			func(f *facts) { f.status.IMDS = control.IMDS{State: "blind", Class: "denied", Error: "answer 403"} },
			"metadata", Error, "the agent is blind: answer 403; this user gets an answer", "ProxyAgent.Connection.log",
		},
		"metadata: user denied": {
			func(f *facts) { f.instanceErr = &imds.Error{Class: imds.ClassDenied, Status: 403} }, "metadata", Note, "(denied), the agent does", "",
		},
		"metadata: denied, no agent": {
			func(f *facts) { gone(f); f.instanceErr = &imds.Error{Class: imds.ClassDenied, Status: 403} },
			"metadata", Error, "Metadata Security Protocol", "ProxyAgent.Connection.log",
		},
		"metadata: partial": {
			func(f *facts) { f.instanceErr = fmt.Errorf("%w: compute.name is empty", imds.ErrPartial) }, "metadata", Warning, "partial", "",
		},
		"metadata: no scale set": {func(f *facts) { f.instance.ScaleSet = "" }, "metadata", Note, "in no scale set", ""},

		"extension: absent":         {func(f *facts) { f.extension = extensionFacts{} }, "extension", Note, "not installed", "az vmss extension set"},
		"extension: not readable":   {func(f *facts) { f.extension = extensionFacts{err: fs.ErrPermission} }, "extension", Note, "by this user", "sudo"},
		"extension: broken":         {func(f *facts) { f.extension.err = errors.New("odd") }, "extension", Warning, "cannot be read: odd", "ls"},
		"extension: refused":        {func(f *facts) { f.extension.settingsErr = errors.New("unknown field") }, "extension", Error, "refuses", "--settings"},
		"extension: empty settings": {func(f *facts) { f.extension.settings = &extensionSettings{} }, "extension", Error, "no protocol", `"protocol":"http"`},
		"extension: tcp":            {settings(func(s *extensionSettings) { s.Protocol, s.RequestPath = "tcp", "" }), "extension", Warning, "only connects", "--settings"},
		"extension: port":           {settings(func(s *extensionSettings) { s.Port = 0 }), "extension", Error, "asks port 80, the agent answers on port 8080", `"port":8080`},
		"extension: https":          {settings(func(s *extensionSettings) { s.Protocol = "https" }), "extension", Error, "asks by https, the agent answers by http", `"protocol":"http"`},
		"extension: readyz":         {settings(func(s *extensionSettings) { s.RequestPath = "ready" }), "extension", Error, "for load balancers", `"requestPath":"/healthz"`},
		"extension: no path":        {settings(func(s *extensionSettings) { s.RequestPath = "" }), "extension", Error, `requestPath is "", where`, "--settings"},
		"extension: livez":          {settings(func(s *extensionSettings) { s.RequestPath = "/livez" }), "extension", Error, `requestPath is "/livez", where`, "--settings"},
		"extension: query":          {settings(func(s *extensionSettings) { s.RequestPath = "/healthz?x=1" }), "extension", Error, "asks for /healthz%3Fx=1", "--settings"},
		"extension: fragment":       {settings(func(s *extensionSettings) { s.RequestPath = "healthz#x" }), "extension", Error, "asks for /healthz%23x", "--settings"},
		"extension: escape":         {settings(func(s *extensionSettings) { s.RequestPath = "/%68ealthz" }), "extension", Error, "asks for /%2568ealthz", "--settings"},
		"extension: knife edge":     {settings(func(s *extensionSettings) { s.GracePeriod = 0 }), "extension", Warning, "gracePeriod is left out", `"gracePeriod":600`},
		"extension: short grace": {
			func(f *facts) { f.conf.Health.StartGrace = config.Duration(10 * time.Minute) }, "extension", Warning,
			"gracePeriod is 10m0s, but a start may take 10m10s", `"gracePeriod":615`,
		},
		"extension: version 1": {old(nil), "extension", Note, "version 1 of the extension has no grace period", "--version 2.0"},
		"extension: version 1, livez": {
			old(func(f *facts) { f.extension.settings.RequestPath = "/livez" }), "extension", Error, `"/livez", which says whether the agent itself works`, "--settings",
		},
		"extension: version 1, other path": {
			old(func(f *facts) { f.extension.settings.RequestPath = "/x" }), "extension", Error, `"/x", where`, "--settings",
		},
		"extension: version 1, no URL": {
			old(func(f *facts) { f.extension.settings.RequestPath = "/%zz" }), "extension", Error, "can make no URL", "--settings",
		},
		"extension: version 1, 202": {
			old(func(f *facts) { f.answer.status, f.answer.state = 202, "Unhealthy" }), "extension", Warning, "answers 202, which is Unhealthy", "status",
		},
		"extension: version 1, 204": {
			old(func(f *facts) { f.answer.status, f.answer.state = 204, "" }), "extension", Warning, "answers 204, which is Unhealthy", "status",
		},
		"extension: version 1, starting": {
			old(func(f *facts) { f.answer.status, f.answer.state, f.status.Health.State = 503, "", "starting" }), "extension", Note, "while the node starts", "",
		},

		"extension: refused by itself": {
			func(f *facts) {
				f.extension.settings, f.extension.settingsErr = nil, errors.New("what doctor expects")
				f.extension.running, f.extension.said = "", extensionReport{status: "error", message: "Enable failed: port \x1b[2J"}
			}, "extension", Error, `it says "Enable failed: port \x1b[2J"`, "--settings",
		},
		"extension: stopped": {
			func(f *facts) {
				f.extension.running, f.extension.said = "", extensionReport{status: "error", message: "Enable failed: " + terminated, at: moment}
			}, "extension", Error, "the extension does not run, its last report is of 2026-03-05T14:00:00Z", "restart walinuxagent",
		},
		"extension: gone for a week": {
			func(f *facts) { f.extension.running, f.extension.said.at = "", moment.AddDate(0, 0, -7) },
			"extension", Error, "does not run, its last report is of 2026-02-26T14:00:00Z", "handler.log",
		},
		"extension: never": {
			func(f *facts) { f.extension.running, f.extension.said = "", extensionReport{} }, "extension", Error, "does not run, it has reported nothing yet", "handler.log",
		},
		"extension: hangs": {
			func(f *facts) { f.extension.said.at = moment.Add(-71 * time.Second) }, "extension", Error, "has reported nothing for 1m11s", "handler.log",
		},
		"extension: processes hidden, hangs": {
			func(f *facts) {
				f.extension.running, f.extension.runningErr = "", fs.ErrPermission
				f.extension.said.at = moment.Add(-time.Hour)
			}, "extension", Error, "has reported nothing for 1h0m0s", "handler.log",
		},
		"extension: another version runs": {
			func(f *facts) { f.extension.running = "2.0.28" }, "extension", Warning, "version 2.0.28 of the extension runs, version 2.0.29 is in force", "walinuxagent",
		},
		"extension: upgrade failed": {
			func(f *facts) { f.extension.running, f.extension.handler = "", handlerFailedUpgrade }, "extension", Error, "version 2.0.29 of the extension as FailedUpgrade", "waagent.log",
		},
		"extension: localhost": {
			func(f *facts) { f.status.Agent.ProbeAddress = "10.0.0.4:8080" }, "extension", Error, "answers on 10.0.0.4 only, the extension asks localhost, which is 127.0.0.1 in /etc/hosts", "config show",
		},
		"extension: only IPv6 reaches the agent": {
			func(f *facts) { f.status.Agent.ProbeAddress = "[::1]:8080" }, "extension", Error, "answers on ::1 only", "config show",
		},
		"extension: only IPv6 reaches localhost": {
			func(f *facts) { f.localhost = []netip.Addr{netip.IPv6Loopback()} }, "extension", Error, "answers on 127.0.0.1 only", "config show",
		},
		"extension: another loopback address": {
			func(f *facts) { f.status.Agent.ProbeAddress = "127.0.0.2:8080" }, "extension", Error, "answers on 127.0.0.2 only", "config show",
		},
		"extension: says Unknown": {func(f *facts) { f.extension.said.state = "Unknown" }, "extension", Warning, "says Unknown", "handler.log"},
		"extension: no answer":    {func(f *facts) { f.answer = answerFacts{url: "u", err: syscall.ECONNREFUSED} }, "extension", Error, "nobody answers at u", "status"},
		"extension: no agent":     {func(f *facts) { gone(f); f.answer = answerFacts{url: "u", err: syscall.ECONNREFUSED} }, "extension", Note, "nobody answers at u", "status"},
		"extension: unhealthy":    {func(f *facts) { f.answer.status, f.answer.state = 202, "Unhealthy" }, "extension", Warning, "answers 202, which is Unhealthy", "status"},
		"extension: no state":     {func(f *facts) { f.answer.status, f.answer.state = 503, "" }, "extension", Error, "answers 503 and no state", "status"},
		"extension: starting": {
			func(f *facts) { f.answer.status, f.answer.state, f.status.Health.State = 503, "", "starting" }, "extension", Note, "while the node starts", "",
		},

		"shutdown: unattended-upgrades wins": {
			func(f *facts) {
				f.bus.delay = 30 * time.Second
				f.delays = append(f.delays, systemd.InhibitDelaySetting{File: "/etc/systemd/logind.conf.d/zzz-other.conf", Value: 30 * time.Second})
			}, "shutdown", Warning, "waits up to 30s (set by /etc/systemd/logind.conf.d/zzz-other.conf), the drain may take 1m10s", "sed -i s/^InhibitDelayMaxSec=.*/InhibitDelayMaxSec=90/ /etc/systemd/logind.conf.d/zzz-other.conf",
		},
		"shutdown: too short for all": {
			func(f *facts) { f.bus.delay, f.delays = 5*time.Second, nil }, "shutdown", Error, "waits up to 5s (set by no file)", "tee /etc/systemd/logind.conf.d/zz-fleet-agent.conf",
		},
		"shutdown: sheds": {
			func(f *facts) { f.bus.delay, f.delays[0].Value = 15*time.Second, 15*time.Second }, "shutdown", Warning, "waits up to 15s", "InhibitDelayMaxSec=90",
		},
		"shutdown: not reread": {
			func(f *facts) { f.bus.delay = 3 * time.Minute }, "shutdown", Warning, "logind holds a shutdown for 3m0s, but /usr/lib/", "kill -s HUP systemd-logind",
		},
		"shutdown: no lock": {func(f *facts) { f.bus.holders = []string{"other"} }, "shutdown", Error, "no delay lock", "journalctl"},
		"shutdown: no bus":  {func(f *facts) { f.bus = busFacts{err: errors.New("no bus")} }, "shutdown", Note, "cannot be asked: no bus", "logind"},
		"shutdown: no files": {
			func(f *facts) { f.delaysErr = fs.ErrPermission }, "shutdown", Note, "files cannot be read", "",
		},
		"shutdown: no plan": {func(f *facts) { f.plan.err = errors.New("odd step") }, "shutdown", Note, "odd step", "validate"},

		"rights: denied": {func(f *facts) { f.bus.denied = []string{adopt.Target} }, "rights", Error, "polkit does not let the agent stop fleet-serving.target", "rules.d"},
		"rights: bridge, foreign unit": {
			func(f *facts) {
				f.bus.asked, f.bus.denied, f.bridge = true, []string{"db.service"}, true
				f.conf.Drain.Plan = []config.Step{{Name: "db", Unit: "db.service"}}
			}, "rights", Error, "the bridge does not let the agent stop db.service", "adopt db.service",
		},
		"rights: rule, foreign unit": {
			func(f *facts) {
				f.bus.asked = false
				f.conf.Drain.Plan = []config.Step{{Name: "db", Unit: "db.service"}}
			},
			"rights", Note, "db.service needs a rule of its own", "sudo",
		},
		"rights: rule hidden": {func(f *facts) { f.bus.asked, f.polkitRule.err = false, fs.ErrPermission }, "rights", Note, "cannot be read by this user", "sudo"},
		"rights: nothing":     {func(f *facts) { f.bus.asked, f.polkitRule.err = false, fs.ErrNotExist }, "rights", Error, "neither", "reinstall"},
		"rights: root":        {func(f *facts) { f.agentID = &account{} }, "rights", Warning, "runs as root", "systemctl cat"},

		"workloads: none": {func(f *facts) { f.workloads, f.bus.members = nil, nil }, "workloads", Warning, "no unit is adopted", "adopt UNIT"},
		"workloads: slow": {
			func(f *facts) { f.workloads, f.bus.members[0].stop = nil, 2*time.Minute }, "workloads", Warning, "web.service may take 2m0s to stop, drain.plan gives the target 1m0s", "--stop-timeout 1m0s",
		},
		"workloads: for ever": {
			func(f *facts) { f.workloads, f.bus.members[0].stop = nil, systemd.Infinite }, "workloads", Warning, "may take for ever", "adopt web.service",
		},
		"workloads: trap": {
			func(f *facts) { f.workloads[0].Warnings = []adopt.Warning{{Message: "cuts", Fix: "mend"}} }, "workloads", Warning, "web.service: cuts", "mend",
		},
		"workloads: not reloaded": {func(f *facts) { f.bus.members = nil }, "workloads", Warning, "systemd does not know yet", "daemon-reload"},
		"workloads: edited":       {func(f *facts) { f.workloads[0].State = adopt.StateEdited }, "workloads", Note, "edited by hand", "systemctl cat"},
		"workloads: outdated": {func(f *facts) {
			f.workloads[0].State, f.workloads[0].Fix = adopt.StateOutdated, "sudo fleet-agent adopt web.service"
		}, "workloads", Warning, "another run_dir", "adopt web.service"},
		"workloads: no link": {func(f *facts) {
			f.workloads[0].State, f.workloads[0].Fix = adopt.StateNoLink, "sudo fleet-agent adopt web.service"
		}, "workloads", Error, "not linked", "adopt web.service"},
		"workloads: no drop-in": {func(f *facts) {
			f.workloads[0].State, f.workloads[0].Fix = adopt.StateNoDropIn, "sudo fleet-agent adopt web.service"
		}, "workloads", Error, "lost its drop-in", "adopt web.service"},
		"workloads: older version": {
			func(f *facts) { f.workloads[0].State, f.workloads[0].Fix = adopt.StateOlder, "adopt again" }, "workloads", Warning, "of an older version", "adopt again",
		},
		"workloads: no trigger": {
			func(f *facts) {
				f.workloads[0].State, f.workloads[0].Missing, f.workloads[0].Fix = adopt.StateNoTrigger, []string{"web.socket"}, "adopt again"
			}, "workloads", Error, "web.socket can start web.service and is not adopted", "adopt again",
		},
		"workloads: socket failed":  {func(f *facts) { socket(f, "failed") }, "workloads", Error, "web.socket does not listen: it is failed", "start web.socket"},
		"workloads: socket stopped": {func(f *facts) { socket(f, "inactive") }, "workloads", Error, "web.socket does not listen: it is inactive", "start web.socket"},
		"workloads: uninstalled": {func(f *facts) {
			f.workloads[0].State, f.workloads[0].Fix = adopt.StateNoUnit, "sudo fleet-agent release web.service"
		}, "workloads", Warning, "not installed", "release web.service"},
		"workloads: no target":   {func(f *facts) { f.bus.target.load = "not-found" }, "workloads", Error, "fleet-serving.target is not-found", "reinstall"},
		"workloads: target down": {func(f *facts) { f.bus.target.active = "inactive" }, "workloads", Warning, "is inactive", "enable --now"},
		"workloads: unlisted":    {func(f *facts) { f.workloadsErr = fs.ErrPermission }, "workloads", Note, "cannot be listed", "--list"},

		"listeners: two": {
			func(f *facts) { f.listening = append(f.listening, netip.MustParseAddrPort("[::1]:8080")) }, "listeners", Warning, "2 sockets listen on port 8080: 127.0.0.1, ::1", "sport = :8080",
		},
		"listeners: taken": {func(f *facts) { gone(f); f.enabled = false }, "listeners", Error, "another program listens on port 8080", "ss -ltnp"},
		"listeners: none":  {func(f *facts) { f.listening = f.listening[1:] }, "listeners", Error, "nobody listens on port 8080", "restart"},
		"listeners: other address": {
			func(f *facts) { f.status.Agent.ProbeAddress = "0.0.0.0:8080" }, "listeners", Note, "on 0.0.0.0:8080, not on 127.0.0.1:8080", "fleet-agent.socket",
		},
		"listeners: socket failed": {
			func(f *facts) { f.bus.socket = unitFacts{load: "loaded", active: "failed"} }, "listeners", Warning, "fleet-agent.socket is failed", "restart fleet-agent.socket",
		},
		"listeners: unknown": {func(f *facts) { f.listeningErr = errors.New("hidden") }, "listeners", Note, "hidden", "ss"},

		"permissions: no user":        {func(f *facts) { f.agentID = nil }, "permissions", Note, "no user fleet-agent", "sysusers"},
		"permissions: state owner":    {func(f *facts) { f.files[0].uid = 0 }, "permissions", Error, "belongs to uid 0, the agent is uid 990", "chown -R 990"},
		"permissions: state open":     {func(f *facts) { f.files[0].mode |= 0o002 }, "permissions", Error, "(0752)", "chmod go-w /var/lib"},
		"permissions: run open":       {func(f *facts) { f.files[1].mode |= 0o020 }, "permissions", Error, "/run/fleet-agent can be written", "chmod go-w /run"},
		"permissions: state hidden":   {func(f *facts) { f.files[0].err = fs.ErrPermission }, "permissions", Note, "by this user", "sudo"},
		"permissions: state missing":  {func(f *facts) { f.files[0].err = fs.ErrNotExist }, "permissions", Note, "is not there", "tmpfiles"},
		"permissions: socket closed":  {func(f *facts) { f.files[2].mode = 0o660 }, "permissions", Warning, "cannot be reached by everybody", "restart"},
		"permissions: run closed":     {func(f *facts) { f.files[1].mode = 0o750 }, "permissions", Warning, "cannot be reached by everybody", "chmod o+x"},
		"permissions: no admin group": {func(f *facts) { f.admins = false }, "permissions", Note, "no group fleet-admin", "sysusers"},

		"disk: full":      {func(f *facts) { f.disk.free = 4096 }, "disk", Error, "is full", "df"},
		"disk: no inodes": {func(f *facts) { f.disk.freeInodes = 0 }, "disk", Error, "is full", "df"},
		"disk: little":    {func(f *facts) { f.disk.free = 32 << 20 }, "disk", Warning, "32 MiB", "df"},
		"disk: read-only": {func(f *facts) { f.disk.readOnly = true }, "disk", Error, "read-only", "findmnt"},
		"disk: hidden":    {func(f *facts) { f.disk.err = fs.ErrPermission }, "disk", Note, "cannot be looked at", "df"},

		"clock: alone":  {func(f *facts) { f.clock.synchronized = false }, "clock", Warning, "not synchronised", "timedatectl"},
		"clock: off":    {func(f *facts) { f.clock.offset = 3 * time.Second }, "clock", Warning, "off by 3s", "timesync"},
		"clock: hidden": {func(f *facts) { f.clock.err = syscall.EPERM }, "clock", Note, "does not say", "timedatectl"},

		"pressure: memory": {func(f *facts) { f.pressure["memory"] = 35 }, "pressure", Warning, "for 35% of the last minute something waited for memory", "systemd-cgtop"},
		"pressure: absent": {func(f *facts) { f.pressure = nil }, "pressure", Note, "does not count", ""},
		"pressure: wanted": {
			func(f *facts) {
				f.pressure = nil
				f.conf.Checks = []config.Check{{Name: "mem", Pressure: &config.PressureCheck{Resource: "memory"}}}
			}, "pressure", Error, "does not count", "psi",
		},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			test.broken(f)
			r := judge(f)
			var same []Finding
			for _, one := range r.Findings {
				require.NotEmpty(t, one.Found)
				if one.Check == test.check && one.Severity == test.severity {
					same = append(same, one)
				}
			}
			require.NotEmpty(t, same, "of %+v", r.Findings)
			for _, one := range same {
				if matches(one, test.found, test.fixed) {
					return
				}
			}
			require.Contains(t, same[0].Found, test.found)
			require.Contains(t, same[0].Fix, test.fixed)
		})
	}
}

func matches(f Finding, found, fixed string) bool {
	return strings.Contains(f.Found, found) && strings.Contains(f.Fix, fixed)
}

// socket gives the workload a socket.
func socket(f *facts, active string) {
	f.bus.members = append(f.bus.members, unitFacts{name: "web.socket", load: "loaded", active: active})
	f.bus.wants = []string{"web.service", "web.socket"}
}

// What a rule that does not apply must not say.
func TestQuiet(t *testing.T) {
	for name, test := range map[string]struct {
		mended func(*facts)
		check  string
	}{
		"a drained node's target is down":      {func(f *facts) { f.bus.target.active, f.draining = "inactive", true }, "workloads"},
		"a drained node's socket is down":      {func(f *facts) { socket(f, "inactive"); f.draining = true }, "workloads"},
		"a socket that is not enabled is down": {func(f *facts) { socket(f, "inactive"); f.bus.wants = nil }, "workloads"},
		"a socket that listens":                {func(f *facts) { socket(f, "active") }, "workloads"},
		"a plan without units needs no rights": {func(f *facts) {
			f.conf.Drain.Plan, f.bus.asked, f.polkitRule.err = []config.Step{{Name: "wait", Sleep: 1}}, false, fs.ErrNotExist
		}, "rights"},
		"the bridge does for the target":     {func(f *facts) { f.bus.denied, f.bridge = []string{adopt.Target}, true }, "rights"},
		"the rule does, unasked":             {func(f *facts) { f.bus.asked = false }, "rights"},
		"no limit is enough":                 {func(f *facts) { f.bus.delay, f.delays[0].Value = systemd.Infinite, systemd.Infinite }, "shutdown"},
		"no agent, no lock":                  {func(f *facts) { f.status, f.statusErr, f.bus.holders = nil, fs.ErrNotExist, nil }, "shutdown"},
		"inhibitors hidden":                  {func(f *facts) { f.bus.holders, f.bus.holdErr = nil, errors.New("denied") }, "shutdown"},
		"metrics off":                        {func(f *facts) { f.conf.Listen.Metrics = ""; f.listening = f.listening[:1] }, "listeners"},
		"every address is localhost, too":    {func(f *facts) { f.status.Agent.ProbeAddress = "0.0.0.0:8080" }, "extension"},
		"a file system without inodes":       {func(f *facts) { f.disk.freeInodes, f.disk.totalInodes = 0, 0 }, "disk"},
		"an agent of one's own":              {func(f *facts) { f.agentID, f.user, f.admins = &account{1000, 1000}, 1000, false; f.files[0].uid = 1000 }, "permissions"},
		"https on both sides":                {func(f *facts) { f.conf.Listen.TLS.CertFile = "/c"; f.extension.settings.Protocol = "https" }, "extension"},
		"a slow probe":                       {func(f *facts) { f.extension.said.at = moment.Add(-69 * time.Second) }, "extension"},
		"a report of a clock that was ahead": {func(f *facts) { f.extension.said.at = moment.Add(time.Hour) }, "extension"},
		"IPv6 and IPv4, either will do": {func(f *facts) {
			f.localhost = append(f.localhost, netip.IPv6Loopback())
			f.status.Agent.ProbeAddress = "[::1]:8080"
		}, "extension"},
		"every address of IPv6 is IPv4, too": {func(f *facts) { f.status.Agent.ProbeAddress = "[::]:8080" }, "extension"},
		"a name server knows localhost":      {func(f *facts) { f.localhost = nil }, "extension"},
		"slashes around the path":            {func(f *facts) { f.extension.settings.RequestPath = "healthz/" }, "extension"},
	} {
		t.Run(name, func(t *testing.T) {
			f := healthy()
			test.mended(f)
			for _, one := range judge(f).Findings {
				if one.Check == test.check {
					require.Equal(t, OK, one.Severity, "%+v", one)
				}
			}
		})
	}
}

// A query does no harm with version 1, which has other things said of it.
func TestQueryOfVersion1(t *testing.T) {
	f := healthy()
	f.extension.version, f.extension.running = "1.0.7", "1.0.7"
	f.extension.settings = &extensionSettings{Protocol: "http", Port: 8080, RequestPath: "healthz?verbose"}
	var r findings
	judgePath(f, &r, "")
	require.Empty(t, r.list)
}

func TestAccountReads(t *testing.T) {
	agent := &account{uid: 990, gid: 990}
	for _, test := range []struct {
		mode     fs.FileMode
		uid, gid int
		want     bool
	}{
		{0o600, 0, 0, false},
		{0o640, 0, 0, false},
		{0o640, 0, 990, true},
		{0o644, 0, 0, true},
		{0o400, 990, 0, true},
		{0o044, 990, 990, false},
		{0o604, 0, 990, false},
	} {
		require.Equal(t, test.want, agent.reads(fileFacts{mode: test.mode, uid: test.uid, gid: test.gid}), "%+v", test)
	}
	require.True(t, (&account{}).reads(fileFacts{mode: 0}))
}

func TestFilesThatTheAgentMayNotRead(t *testing.T) {
	f := healthy()
	f.root = t.TempDir()
	f.conf.Listen.TLS = config.ListenTLS{CertFile: "/cert.pem", KeyFile: "/key.pem"}
	f.agentID = &account{uid: 123456, gid: 123456}
	require.NoError(t, os.WriteFile(f.in("/cert.pem"), nil, 0o644))
	require.NoError(t, os.WriteFile(f.in("/key.pem"), nil, 0o600))
	var r findings
	judgePermissions(f, &r)
	require.Equal(t, "the agent may not read /key.pem", r.list[1].Found, "%+v", r.list)
	require.NoError(t, os.Chmod(f.in("/key.pem"), 0o644))
	r = findings{}
	judgePermissions(f, &r)
	require.Equal(t, "/key.pem can be read by everybody", r.list[1].Found, "%+v", r.list)
}
