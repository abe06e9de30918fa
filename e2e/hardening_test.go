//go:build e2e

package e2e

import (
	"fmt"
	"maps"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// A forbidden thing is what a directive of the unit forbids. The command does it,
// and fails if it could not; with the directive it must fail, and without it, as
// the control, it must not.
type forbidden struct {
	directives []string // as they stand in the unit, of which the first names the check
	command    string
	user       string // empty: root
}

// forbiddenThings has what can be shown in a container.
var forbiddenThings = []forbidden{
	{directives: []string{"ProtectSystem=strict"}, command: "touch /usr/e2e && rm /usr/e2e"},
	{directives: []string{"ProtectHome=yes"}, command: "ls /root/new.deb"},
	{directives: []string{"PrivateTmp=yes"}, command: "ls /tmp/e2e-mark"},
	{directives: []string{"PrivateDevices=yes"}, command: "test -e /dev/net"},
	{directives: []string{"PrivateMounts=yes"}, command: "mount -t tmpfs e2e /mnt && nsenter -t 1 -m umount /mnt"},
	{directives: []string{"ProtectHostname=yes"}, command: "hostname node"},
	{directives: []string{"ProtectControlGroups=yes"}, command: "mkdir /sys/fs/cgroup/pids/e2e && rmdir /sys/fs/cgroup/pids/e2e"},
	{directives: []string{"ProtectProc=invisible"}, command: "test -e /proc/1", user: "nobody"},
	{directives: []string{"NoNewPrivileges=yes"}, command: "test $(/usr/local/bin/setuid-id -u) = 0", user: "nobody"},
	{directives: []string{"CapabilityBoundingSet="}, command: "touch /run/e2e && chown nobody /run/e2e"},
	{directives: []string{"RestrictNamespaces=yes"}, command: "unshare --uts true"},
	{directives: []string{"RestrictSUIDSGID=yes"}, command: "touch /run/e2e && chmod u+s /run/e2e"},
	{directives: []string{"RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6"}, command: "ip link"},
	{directives: []string{"LockPersonality=yes"}, command: "setarch --addr-no-randomize true"},
	{directives: []string{"MemoryDenyWriteExecute=yes"}, command: fmt.Sprintf("perl -e 'exit(syscall(%d, 0, 4096, 7, 0x22, -1, 0) == -1)'", mmap)},
	{directives: []string{"SystemCallFilter=~@privileged @resources", "SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"}, command: "chroot / true"},
	{directives: []string{"SystemCallFilter=@system-service", "SystemCallErrorNumber=EPERM"}, command: "mount -t tmpfs e2e /mnt && umount /mnt"},
	{directives: []string{"IPAddressDeny=any", "IPAddressAllow=localhost", "IPAddressAllow=169.254.169.254"}, command: "curl -sf -m 2 http://169.254.169.253/"},
	{directives: []string{"TasksMax=512"}, command: "i=0; while [ $i -lt 600 ]; do sleep 20 & i=$((i+1)); done"},
	{directives: []string{"MemoryMax=256M"}, command: hog},
}

// hog holds about 400 MB.
const hog = "head -c 400000000 /dev/zero | tail -c 400000000 | wc -c | grep 400000000"

// unshown are the directives whose effect a container does not show, and why; most
// are shown by vm-guest.sh. Those without a reason forbid nothing: they allow, or
// name a place, a mode or a default.
var unshown = map[string]string{
	"ProtectKernelTunables=yes":      "nspawn protects them already; make e2e-vm shows it",
	"ProtectKernelModules=yes":       "nspawn has no modules; make e2e-vm shows it",
	"ProtectKernelLogs=yes":          "nspawn keeps the kernel's log to itself; make e2e-vm shows it",
	"RestrictRealtime=yes":           "its cgroups have no share of real time; make e2e-vm shows it",
	"DevicePolicy=closed":            "nspawn's own list is as narrow; make e2e-vm shows it",
	"SystemCallArchitectures=native": "not every kernel runs programs of another architecture; make e2e-vm shows it",
	"KeyringMode=private":            "it is the default of a system service",
	"OOMPolicy=continue":             "an OOM kill is no such to systemd on cgroup v1; make e2e-vm shows it",
	"OOMScoreAdjust=-500":            "takes a capability that root may lack; make e2e-vm shows it",

	"AmbientCapabilities=":                    "",
	"IPAddressAllow=168.63.129.16":            "",
	"ProcSubset=all":                          "",
	"RemoveIPC=yes":                           "",
	"RuntimeDirectory=fleet-agent":            "",
	"RuntimeDirectoryMode=0755":               "",
	"RuntimeDirectoryPreserve=yes":            "",
	"StateDirectory=fleet-agent":              "",
	"StateDirectoryMode=0750":                 "",
	"SystemCallFilter=adjtimex clock_adjtime": "",
	"UMask=0077":                              "",
}

// mmap is the number of the system call.
var mmap = map[string]int{"amd64": 9, "arm64": 222}[runtime.GOARCH]

// checkHardening shows that what the unit forbids is forbidden, and that the check
// would notice if it were not.
func checkHardening(g *group) {
	unit := ""
	g.must("the package is installed and serves", func(c *check) {
		g.serve(g.t, "169.254.169.253:80", http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
		g.install(c, "/root/new.deb")
		g.reaches(c, control.StateServing, 20*time.Second)
		unit = g.run(c, "cat", "/usr/lib/systemd/system/fleet-agent.service")
		g.sh(c, "touch /tmp/e2e-mark; cp /usr/bin/id /usr/local/bin/setuid-id; chmod u+s /usr/local/bin/setuid-id")
	})
	for _, f := range forbiddenThings {
		g.check(f.directives[0]+" forbids: "+f.command, func(c *check) {
			for _, directive := range f.directives {
				require.Contains(c, unit, "\n"+directive+"\n", "the unit has it")
			}
			_, err := g.transient(f.user, f.command, nil)
			require.NoError(c, err, "without it, the control")
			_, err = g.transient(f.user, f.command, f.directives)
			require.Error(c, err, "with it")
		})
	}
	g.check("every directive has a control, or a reason why not", func(c *check) {
		_, service, ok := strings.Cut(unit, "\nUser=")
		require.True(c, ok)
		service, _, ok = strings.Cut(service, "\n[Install]")
		require.True(c, ok)
		for line := range strings.Lines(service) {
			line = strings.TrimSpace(line)
			if !strings.Contains(line, "=") || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "Group=") {
				continue
			}
			_, excused := unshown[line]
			shown := slices.ContainsFunc(forbiddenThings, func(f forbidden) bool { return slices.Contains(f.directives, line) })
			require.NotEqual(c, excused, shown, "%s: is it shown (%v), or is there a reason not to (%v)?", line, shown, excused)
		}
		for _, directive := range slices.Sorted(maps.Keys(unshown)) {
			if why := unshown[directive]; why != "" {
				g.skip(directive, why)
			}
		}
	})
	g.check("the address filter of the agent itself blocks another address", func(c *check) {
		g.write(c, "/etc/fleet-agent/conf.d/neighbour.yaml", `
checks:
  - {name: neighbour, http: {url: "http://169.254.169.253/"}, severity: warning, interval: 1s, timeout: 500ms}
`)
		g.run(c, "systemctl", "reload", agentUnit)
		s := g.reaches(c, control.StateDegraded, 10*time.Second)
		require.Contains(c, s.Health.Roots, "neighbour")
	})
	g.check("a drop-in that allows the address lets it through (the control)", func(c *check) {
		g.write(c, "/etc/systemd/system/fleet-agent.service.d/neighbour.conf", "[Service]\nIPAddressAllow=169.254.169.253\n")
		g.sh(c, "systemctl daemon-reload; systemctl restart fleet-agent")
		g.reaches(c, control.StateServing, 10*time.Second)
	})
	// What arrives on the probe port is under the socket's list.
	probe := func(within time.Duration) error {
		resp, err := clientIn(g.name+"-imds", within).Get("http://169.254.0.10:8080/healthz")
		if err != nil {
			return err
		}
		return resp.Body.Close()
	}
	listen := func(c *check, more string) {
		g.write(c, "/etc/systemd/system/fleet-agent.socket.d/listen.conf", "[Socket]\nListenStream=\nListenStream=0.0.0.0:8080\n"+more)
		g.sh(c, "systemctl daemon-reload; "+systemd.ApplySocket)
		g.reaches(c, control.StateServing, 10*time.Second)
	}
	g.check("the address filter of the probe port, opened to the network, blocks another address", func(c *check) {
		listen(c, "")
		require.Error(c, probe(time.Second))
	})
	g.check("a drop-in that allows the address lets its probes through (the control)", func(c *check) {
		listen(c, "IPAddressAllow=169.254.169.254\n")
		require.NoError(c, probe(time.Minute))
	})
}

// transient runs a line of shell as a service of its own, with directives.
func (n *node) transient(user, line string, directives []string) (stdout string, err error) {
	args := []string{"systemd-run", "--quiet", "--wait", "--pipe", "--collect"}
	if user != "" {
		args = append(args, "-p", "User="+user)
	}
	for _, d := range directives {
		args = append(args, "-p", d)
	}
	return n.try(append(args, "sh", "-ec", line)...)
}
