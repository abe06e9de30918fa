package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/netip"
	"path"
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
	default:
		judgeSettings(f, r)
		r.orFine(fmt.Sprintf("version %s asks for %s", e.version, f.probeURL()))
		if e.state == "Unknown" || e.state == "Unhealthy" {
			r.warn(fmt.Sprintf("the extension says %s, in its report of %s", e.state, e.at.Format(time.RFC3339)), replaced,
				"sudo tail /var/log/azure/applicationhealth-extension/handler.log")
		}
	}
	judgeAnswer(f, r)
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
	e, s, fix := &f.extension, f.extension.settings, f.extensionFix()
	if e.settingsErr != nil {
		r.fail("the extension refuses its settings: "+e.settingsErr.Error(), unstarted, fix)
		return
	}
	limit := 240
	if !e.rich() {
		limit = 120
		if s.GracePeriod != 0 || s.VMWatchSettings != nil {
			r.fail("version 1 of the extension knows no gracePeriod and no vmWatchSettings", unstarted, fix)
		}
	}
	if outside(s.IntervalInSeconds, 5, 60) || outside(s.NumberOfProbes, 1, 24) || outside(s.GracePeriod, 5, 14400) || s.interval()*s.probes() > limit {
		r.fail(fmt.Sprintf("intervalInSeconds %d, numberOfProbes %d, gracePeriod %d are out of range", s.IntervalInSeconds, s.NumberOfProbes, s.GracePeriod), unstarted, fix)
	}
	switch s.Protocol {
	case "http", "https":
		if s.Protocol != f.scheme() {
			r.fail("the extension asks by "+s.Protocol+", the agent answers by "+f.scheme(), replaced, fix)
		}
		judgePath(f, r, fix)
		judgeGrace(f, r, fix)
	case "tcp":
		r.warn("the extension only connects (protocol tcp)", "A node whose checks fail still counts as healthy.", fix)
		if s.Port == 0 || s.RequestPath != "" {
			r.fail("protocol tcp needs a port and no requestPath", unstarted, fix)
		}
	case "":
		r.fail("the extension has no protocol, so it asks nobody", "Azure counts this node as healthy for ever, whatever happens.", fix)
		return
	default:
		r.fail("the extension knows no protocol "+s.Protocol, unstarted, fix)
		return
	}
	host, port, _ := net.SplitHostPort(f.probeAddress())
	if strconv.Itoa(s.port()) != port {
		r.fail(fmt.Sprintf("the extension asks port %d, the agent answers on port %s", s.port(), port), replaced, fix)
	}
	if addr, err := netip.ParseAddr(host); err == nil && !addr.IsLoopback() && !addr.IsUnspecified() {
		r.fail("the agent answers on "+host+" only, the extension asks localhost", replaced, "fleet-agent config show --origin")
	}
}

func outside(v, least, most int) bool { return v != 0 && (v < least || v > most) }

// judgePath judges what the extension asks for.
func judgePath(f *facts, r *findings, fix string) {
	file, query, hasQuery := strings.Cut(f.extension.settings.RequestPath, "?")
	switch name := strings.Trim(file, "/"); {
	case hasQuery && f.extension.rich():
		r.fail("requestPath has a query ("+query+"), which version 2 of the extension sends as a part of the path",
			"The answer is 404 and the state Unknown. "+replaced, fix)
	case name == "readyz" || name == "ready":
		r.fail("requestPath is /"+name+", which is for load balancers", "It answers 503 while the node drains, so in the middle of a drain the node is not healthy. "+replaced, fix)
	case name != "healthz":
		r.fail("requestPath is /"+name+", where the agent does not tell the node's health", "The state is Unknown. "+replaced, fix)
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
	found := fmt.Sprintf("%s answers %d %s", a.url, a.status, a.state)
	switch {
	case a.err != nil && f.status != nil:
		r.fail("nobody answers at "+a.url+": "+a.err.Error(), replaced, "fleet-agent status")
	case a.err != nil:
		r.note("nobody answers at "+a.url, "The agent does not run, or elsewhere.", "fleet-agent status")
	case a.state == "Unhealthy":
		r.warn(found, replaced, "fleet-agent status")
	case a.state != "":
		r.fine(found)
	case f.status != nil && f.status.Health.State == "starting":
		r.note(found+"while the node starts", "", "fleet-agent status")
	default:
		r.fail(found+"and no state", "The extension says Unknown. "+replaced, "fleet-agent status")
	}
}
