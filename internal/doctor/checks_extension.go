package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
)

// The extension is configured where the scale set is, not on the node.
const extensionFix = "az vmss extension set -n ApplicationHealthLinux --publisher Microsoft.ManagedServices --version 2.0 " +
	"-g GROUP --vmss-name SCALESET --settings '%s'"

const replaced = "Azure then counts the node as not healthy, stops rolling upgrades and may replace it."

func judgeExtension(f *facts, r *findings) {
	e := &f.extension
	switch {
	case errors.Is(e.err, fs.ErrPermission):
		r.note(waagentDir+" cannot be read by this user", "The extension's settings are not judged.", "sudo fleet-agent doctor")
	case e.err != nil:
		r.warn("the extension's settings cannot be read: "+e.err.Error(), "", "sudo ls -l "+path.Dir(e.file))
	case e.version == "":
		r.note("the Application Health extension is not installed", "Azure learns nothing of this node's health, unless a load balancer's probe tells it.", f.extensionFix())
	case e.handler != handlerEnabled && e.running == "":
		r.fail(fmt.Sprintf("Azure's agent has version %s of the extension as %s, not as %s", e.version, cmp.Or(e.handler, "unpacked"), handlerEnabled),
			unstarted, "sudo tail -n 50 /var/log/waagent.log")
	case e.said.refused():
		r.fail(fmt.Sprintf("the extension has not started, it says %.300q", e.said.message), unstarted, f.extensionFix())
	case e.settingsErr != nil:
		r.fail("the extension refuses its settings: "+e.settingsErr.Error(), unstarted, f.extensionFix())
	default:
		judgeRunning(f, r)
		judgeSettings(f, r)
		r.orFine(fmt.Sprintf("version %s asks for %s", e.version, f.probeURL()))
	}
	judgeAnswer(f, r)
}

// handlerLog is where the extension says what it does.
const handlerLog = "sudo tail /var/log/azure/applicationhealth-extension/handler.log"

// judgeRunning judges whether the extension does its work, and what it says.
func judgeRunning(f *facts, r *findings) {
	e := &f.extension
	age := f.now.Sub(e.said.at)
	last := "it has reported nothing yet"
	if !e.said.at.IsZero() {
		last = "its last report is of " + e.said.at.Format(time.RFC3339)
	}
	switch {
	case e.running == "" && e.runningErr == nil:
		r.fail("the extension does not run, "+last, "Azure learns nothing of this node's health.",
			"sudo systemctl restart walinuxagent; "+handlerLog)
	case age > e.patience() && !e.said.at.IsZero():
		r.fail(fmt.Sprintf("the extension has reported nothing for %s", age.Round(time.Second)), "Azure goes by a report of old.", handlerLog)
	case e.said.state == "Unknown", e.said.state == "Unhealthy":
		r.warn(fmt.Sprintf("the extension says %s, in its report of %s", e.said.state, e.said.at.Format(time.RFC3339)), replaced, handlerLog)
	}
	if e.running != "" && e.running != e.version {
		r.warn(fmt.Sprintf("version %s of the extension runs, version %s is in force", e.running, e.version),
			"The settings of the one are not those of the other.", "sudo systemctl restart walinuxagent; "+handlerLog)
	}
}

// extensionFix is the command that sets the extension up for this agent.
func (f *facts) extensionFix() string {
	_, port, _ := net.SplitHostPort(f.probeAddress())
	const interval, probes = 5, 2
	settings := fmt.Sprintf(`{"protocol":%q,"port":%s,"requestPath":"/healthz","intervalInSeconds":%d,"numberOfProbes":%d,"gracePeriod":%d}`,
		f.scheme(), port, interval, probes, max(600, int(f.leastGrace(interval, probes)/time.Second)))
	return fmt.Sprintf(extensionFix, settings)
}

// leastGrace is the shortest grace period that a boot fits into: the agent may
// answer "starting" for start_grace, and then the extension needs numberOfProbes
// answers. It throws away the answer that it gets as the period ends.
func (f *facts) leastGrace(interval, probes int) time.Duration {
	return f.conf.Health.StartGrace.D() + time.Duration((probes+1)*interval)*time.Second
}

// unstarted comes of settings that the extension refuses.
const unstarted = "It does not start, and Azure learns nothing of this node's health."

// judgeSettings judges what the extension was told to ask.
func judgeSettings(f *facts, r *findings) {
	s, fix := f.extension.settings, f.extensionFix()
	switch s.Protocol {
	case "http", "https":
		if s.Protocol != f.scheme() {
			r.fail("the extension asks by "+s.Protocol+", the agent answers by "+f.scheme(), replaced, fix)
		}
		judgePath(f, r, fix)
		judgeGrace(f, r, fix)
	case "tcp":
		r.warn("the extension only connects (protocol tcp)", "A node whose checks fail still counts as healthy.", fix)
	default:
		r.fail("the extension has no protocol, so it asks nobody", "Azure counts this node as healthy for ever, whatever happens.", fix)
		return
	}
	host, port, _ := net.SplitHostPort(f.probeAddress())
	if strconv.Itoa(s.port()) != port {
		r.fail(fmt.Sprintf("the extension asks port %d, the agent answers on port %s", s.port(), port), replaced, fix)
	}
	if addr, err := netip.ParseAddr(host); err == nil && !f.localhostReaches(addr) {
		r.fail("the agent answers on "+host+" only, the extension asks localhost"+addressList(f.localhost), replaced, "fleet-agent config show --origin")
	}
}

// localhostReaches says whether a connection to localhost reaches a socket that is
// bound to addr. The extension tries each address that localhost has.
func (f *facts) localhostReaches(addr netip.Addr) bool {
	if len(f.localhost) == 0 { // then a name server decides
		return addr.IsLoopback() || addr.IsUnspecified()
	}
	return slices.ContainsFunc(f.localhost, func(to netip.Addr) bool {
		// A socket on every address of IPv6 takes IPv4, too.
		return addr.Unmap() == to || addr.IsUnspecified() && (addr.Is6() || to.Is4())
	})
}

// addressList says which addresses localhost has, where it is known.
func addressList(list []netip.Addr) string {
	var names []string
	for _, a := range list {
		names = append(names, a.String())
	}
	if len(names) == 0 {
		return ""
	}
	return ", which is " + strings.Join(names, " and ") + " in /etc/hosts"
}

// judgePath judges what the extension asks for.
func judgePath(f *facts, r *findings, fix string) {
	e := &f.extension
	given := fmt.Sprintf("requestPath is %.80q", e.settings.RequestPath)
	taken := "The state is Unknown. " + replaced
	if !e.rich() {
		taken = "Version 1 takes that for unhealthy. " + replaced
	}
	asked, err := url.Parse(e.url())
	if err != nil {
		r.fail(given+", of which version 1 of the extension can make no URL", "It asks nobody, and reports nothing.", fix)
		return
	}
	switch name := strings.Trim(asked.Path, "/"); {
	case name == "healthz":
	case name == "readyz", name == "ready":
		r.fail(given+", which is for load balancers", "It answers 503 while the node drains, so in the middle of a drain the node is not healthy. "+replaced, fix)
	case name == "livez" && !e.rich():
		r.fail(given+", which says whether the agent itself works", "It answers 200 whatever the checks say, so the node counts as healthy for ever.", fix)
	case e.rich() && strings.ContainsAny(e.settings.RequestPath, "?#%"):
		r.fail(fmt.Sprintf("%s; version 2 of the extension takes ?, # and %% for letters and asks for %.120s", given, asked.EscapedPath()),
			"The answer is 404. "+taken, fix)
	default:
		r.fail(given+", where the agent does not tell the node's health", taken, fix)
	}
}

// judgeGrace judges whether a boot ends before the extension's patience.
func judgeGrace(f *facts, r *findings, fix string) {
	s := f.extension.settings
	least := f.leastGrace(s.interval(), s.probes())
	switch grace := time.Duration(s.GracePeriod) * time.Second; {
	case !f.extension.rich():
		r.note("version 1 of the extension has no grace period",
			fmt.Sprintf("A node that starts for longer than %ds counts as not healthy.", s.interval()*s.probes()), fix)
	case grace == 0:
		r.warn("gracePeriod is left out, so it is as long as the first answers take",
			"The answer that comes as it ends is thrown away: every boot is Unknown for a while. "+replaced, fix)
	case grace < least:
		r.warn(fmt.Sprintf("gracePeriod is %s, but a start may take %s: start_grace, and the answers that count", grace, least),
			"A slow boot is Unknown. "+replaced, fix)
	}
}

// judgeAnswer judges what the extension gets, or would get, when it asks.
func judgeAnswer(f *facts, r *findings) {
	a := &f.answer
	state := a.state
	if e := &f.extension; e.version != "" && !e.rich() { // it knows no other states, and reads no body
		state = "Unhealthy"
		if a.status == http.StatusOK {
			state = "Healthy"
		}
	}
	found := fmt.Sprintf("%s answers %d", a.url, a.status)
	switch {
	case a.err != nil && f.status != nil:
		r.fail("nobody answers at "+a.url+": "+a.err.Error(), replaced, "fleet-agent status")
	case a.err != nil:
		r.note("nobody answers at "+a.url, "The agent does not run, or elsewhere.", "fleet-agent status")
	case state == "Healthy":
		r.fine(found + ", which is " + state)
	case a.state == "" && f.status != nil && f.status.Health.State == "starting":
		r.note(found+" while the node starts", "", "fleet-agent status")
	case state == "Unhealthy":
		r.warn(found+", which is "+state, replaced, "fleet-agent status")
	default:
		r.fail(found+" and no state", "The extension says Unknown. "+replaced, "fleet-agent status")
	}
}
