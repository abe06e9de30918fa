package doctor

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"net/http"
	"slices"
	"strings"
	"syscall"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
	"github.com/fleet-agent/fleet-agent/internal/imds"
)

const journal = "journalctl -u fleet-agent -n 50"

func judgeConfiguration(f *facts, r *findings) {
	if f.confErr != nil {
		found, more := f.confErr.Error(), ""
		if faults, ok := errors.AsType[config.Errors](f.confErr); ok && len(faults) > 0 {
			found = faults[0].Error()
			if n := len(faults) - 1; n > 0 {
				more = fmt.Sprintf(" (and %d more)", n)
			}
		}
		if f.confDenied {
			r.note(f.configPath+" cannot be read by this user", "What follows is judged by the defaults.", "sudo fleet-agent doctor")
			return
		}
		r.fail(found+more, "The agent goes on with what it read before, and will not start again. What follows is judged by the defaults.",
			"fleet-agent config validate")
		return
	}
	if f.status != nil && !slices.Equal(f.status.Agent.ConfigFiles, f.conf.Files()) {
		r.warn("the running agent has read "+names(f.status.Agent.ConfigFiles)+", now there is "+names(f.conf.Files()),
			"What was written since is not in force.", "sudo systemctl reload fleet-agent")
	}
	if len(f.conf.Checks) == 0 {
		r.note("no checks are configured", "The node counts as healthy for as long as the agent runs.", "fleet-agent config schema")
	}
	r.orFine(fmt.Sprintf("valid (checks: %d, drain steps: %d), from %s", len(f.conf.Checks), len(f.conf.Drain.Plan), names(f.conf.Files())))
}

// names lists files.
func names(files []string) string {
	return cmp.Or(strings.Join(files, ", "), "no file, so the defaults")
}

func judgeAgent(f *facts, r *findings) {
	if f.installed && !f.enabled {
		r.warn(agentUnit+" is not enabled", "It does not start at the next boot.", "sudo systemctl enable --now fleet-agent")
	}
	s := f.status
	if s == nil {
		r.unreachable(f.statusErr)
		return
	}
	if s.Agent.Version != f.version {
		r.warn(fmt.Sprintf("the running agent is %s, this program is %s", s.Agent.Version, f.version),
			"What was mended in between is not in force. A restart drains nothing.", "sudo systemctl restart fleet-agent")
	}
	if !s.Health.Live {
		r.fail("the agent's own loops stand still", "It sees neither checks nor events.", journal)
	}
	for _, w := range s.Warnings {
		r.warn(w, "", journal)
	}
	r.orFine(fmt.Sprintf("%s runs, and the node is %s", s.Agent.Version, s.State))
}

// unreachable judges why there is no status.
func (r *findings) unreachable(err error) {
	if e, ok := errors.AsType[*control.Error](err); ok && e.Status == http.StatusForbidden || errors.Is(err, fs.ErrPermission) {
		r.note("the agent does not answer this user", "What only it knows is not judged.", "sudo fleet-agent doctor")
		return
	}
	const consequence = "Probes are not answered, so Azure counts the node as not healthy, and nothing drains it."
	if errors.Is(err, fs.ErrNotExist) || errors.Is(err, syscall.ECONNREFUSED) {
		r.fail("the agent does not run: "+err.Error(), consequence, "sudo systemctl start fleet-agent; systemctl status fleet-agent")
		return
	}
	r.fail("the agent does not answer: "+err.Error(), consequence, journal)
}

// imdsFixes says what to look at, by the class of the answer.
var imdsFixes = map[imds.Class]string{
	imds.ClassDenied:      "sudo tail /var/lib/azure-proxy-agent/ProxyAgent.Connection.log",
	imds.ClassThrottled:   "sudo ss -tnp dst 169.254.169.254",
	imds.ClassTimeout:     "ip route get 169.254.169.254",
	imds.ClassUnreachable: "ip route get 169.254.169.254; sudo systemctl show fleet-agent -p IPAddressAllow",
}

func judgeMetadata(f *facts, r *findings) {
	const blind = "Evictions and reboots come without a drain."
	own := imds.Classify(f.instanceErr)
	if s := f.status; s != nil && s.IMDS.State == "blind" {
		class := imds.Class(s.IMDS.Class)
		found := "the agent is blind: " + cmp.Or(s.IMDS.Error, s.IMDS.Class)
		if own == imds.ClassOK {
			found += "; " + "this user gets an answer"
		}
		r.fail(found, blind, cmp.Or(imdsFixes[class], journal))
		return
	}
	agentSees := f.status != nil && f.status.IMDS.State == "ok"
	switch {
	case errors.Is(f.instanceErr, imds.ErrPartial):
		r.warn(f.instanceErr.Error(), "Without its name and id the agent cannot tell which events are its own. Azure's own trouble; it should pass.",
			"fleet-agent status")
	case f.instanceErr != nil && agentSees:
		r.note("this user gets no answer ("+string(own)+"), the agent does", "", "")
	case f.instanceErr != nil:
		r.fail("the metadata service does not answer: "+f.instanceErr.Error(), blind+" The agent's user may be treated in another way than this one.",
			cmp.Or(imdsFixes[own], "fleet-agent config show --origin"))
	case f.instance.ScaleSet == "":
		r.note(f.instance.Name+" is in no scale set", "Events still come, but no rolling upgrade and no repair.", "")
	}
	r.orFine(fmt.Sprintf("it answers: %s in %s", f.instance.Name, f.instance.ScaleSet))
}
