package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/adopt"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// ourDelay is the drop-in with which the delay of logind is set, and which can be
// replaced in /etc.
const ourDelay = "/etc/systemd/logind.conf.d/zz-fleet-agent.conf"

const reloadLogind = "sudo systemctl kill -s HUP systemd-logind"

func judgeShutdown(f *facts, r *findings) {
	if f.plan.err != nil {
		r.note("the drain plan cannot be judged: "+f.plan.err.Error(), "", "fleet-agent config validate")
		return
	}
	written, by := systemd.DefaultInhibitDelay, "no file"
	if n := len(f.delays); n > 0 {
		written, by = f.delays[n-1].Value, f.delays[n-1].File
	}
	delay, source := f.bus.delay, ""
	switch {
	case f.bus.err != nil || f.bus.delayErr != nil:
		r.note("logind cannot be asked: "+errors.Join(f.bus.err, f.bus.delayErr).Error(),
			"A shutdown that Azure has not announced is not held up where logind does not run. What follows is judged by its files.", "systemctl status systemd-logind")
		delay, source = written, " by "+by
	case f.delaysErr != nil:
		r.note("logind's files cannot be read: "+f.delaysErr.Error(), "", "")
	case delay != written:
		r.warn(fmt.Sprintf("logind holds a shutdown for %s, but %s says %s", delay, by, written), "logind has not read its files since they changed.", reloadLogind)
	}
	judgeDelay(f, r, delay, by)
	if f.status != nil && f.bus.err == nil && f.bus.holdErr == nil && !slices.Contains(f.bus.holders, "fleet-agent") {
		r.fail("the agent holds no delay lock of logind", "A shutdown that Azure has not announced does not wait for the drain.", journal)
	}
	r.orFine(fmt.Sprintf("an unannounced shutdown waits up to %s%s, the drain takes up to %s", delay, source, f.plan.total))
}

// judgeDelay judges whether the plan fits into a delay, as the agent will fit it:
// the reserve is at most a quarter.
func judgeDelay(f *facts, r *findings, delay time.Duration, by string) {
	if delay == systemd.Infinite {
		return
	}
	reserve := f.conf.Drain.Reserve.D()
	available := delay - min(reserve, delay/4)
	if available >= f.plan.total {
		return
	}
	preview, err := f.plan.fit(available + min(reserve, available)) // a notice that leaves just that
	if err != nil {
		r.note("the drain plan cannot be judged: "+err.Error(), "", "fleet-agent config validate")
		return
	}
	found := fmt.Sprintf("an unannounced shutdown waits up to %s (set by %s), the drain may take %s", delay, by, f.plan.total)
	const round = 30 * time.Second
	wanted := (f.plan.total + reserve + round - 1) / round * round
	fix := fmt.Sprintf(`printf '[Login]\nInhibitDelayMaxSec=%d\n' | sudo tee %s && %s`, int(wanted/time.Second), ourDelay, reloadLogind)
	// A drop-in that sorts behind ours would win again.
	if name := by[strings.LastIndexByte(by, '/')+1:]; name > ourDelay[strings.LastIndexByte(ourDelay, '/')+1:] {
		fix = fmt.Sprintf("sudo sed -i s/^InhibitDelayMaxSec=.*/InhibitDelayMaxSec=%d/ %s && %s", int(wanted/time.Second), by, reloadLogind)
	}
	if !preview.Enough {
		r.fail(found, "The required steps cannot have their minimum: the drain fails.", fix)
		return
	}
	var shed []string
	for _, s := range preview.Steps {
		if s.Shed {
			shed = append(shed, s.Name)
		}
	}
	consequence := "The steps get less than their max then."
	if len(shed) > 0 {
		consequence = "Left out then: " + strings.Join(shed, ", ") + "."
	}
	r.warn(found, consequence, fix)
}

func judgeRights(f *facts, r *findings) {
	q := f.asked()
	foreign := slices.DeleteFunc(slices.Clone(q.units), func(u string) bool {
		return u == adopt.Target || strings.HasPrefix(u, "fleet-hook@")
	})
	const consequence = "The step fails, and so does the drain."
	switch {
	case len(q.units) == 0:
		r.fine("no step of the drain plan stops or starts a unit")
	case f.agentID != nil && f.agentID.uid == 0:
		r.warn("the agent runs as root", "It may do more than it needs.", "systemctl cat fleet-agent")
	case f.bus.asked && len(f.bus.denied) == 0:
		r.fine("polkit lets the agent stop " + strings.Join(q.units, ", "))
	case f.bridge && len(foreign) > 0:
		r.fail("the bridge does not let the agent stop "+strings.Join(foreign, ", "), consequence, "fleet-agent adopt "+foreign[0])
	case f.bridge:
		r.fine("the bridge lets the agent stop its units (polkit is too old to tell units apart)")
	case f.bus.asked:
		r.fail("polkit does not let the agent stop "+strings.Join(f.bus.denied, ", "), consequence,
			"ls -l /etc/polkit-1/rules.d /usr/share/polkit-1/rules.d; journalctl -u polkit -n 20")
	case f.polkitRule.err == nil && len(foreign) > 0:
		r.note(strings.Join(foreign, ", ")+" needs a rule of its own, besides "+f.polkitRule.path, "Only root can ask polkit whether there is one.", "sudo fleet-agent doctor")
	case f.polkitRule.err == nil:
		r.fine("polkit has the agent's rule: " + f.polkitRule.path)
	case errors.Is(f.polkitRule.err, fs.ErrPermission):
		r.note("polkit's rules cannot be read by this user", "", "sudo fleet-agent doctor")
	default:
		r.fail("there is neither polkit's rule for the agent nor the bridge", "The agent may not stop units. "+consequence, "sudo apt-get install --reinstall fleet-agent")
	}
}

func judgeWorkloads(f *facts, r *findings) {
	if f.workloadsErr != nil {
		r.note("the adopted units cannot be listed: "+f.workloadsErr.Error(), "", "fleet-agent adopt --list")
		return
	}
	stops := slices.ContainsFunc(f.asked().units, func(u string) bool { return u == adopt.Target })
	asked := f.bus.err == nil && f.bus.targetErr == nil
	if asked {
		judgeTarget(f, r)
		judgeSockets(f, r)
	}
	known := make(map[string]bool)
	for _, w := range f.workloads {
		known[w.Unit] = true
		judgeWorkload(&w, r)
		inForce := slices.ContainsFunc(f.bus.members, func(u unitFacts) bool { return u.name == w.Unit })
		if asked && !inForce && (w.State == adopt.StateAdopted || w.State == adopt.StateEdited) {
			r.warn(w.Unit+" is adopted, but systemd does not know yet", "A drain does not stop it.", "sudo systemctl daemon-reload")
		}
	}
	for _, u := range f.bus.members {
		if limit := f.targetMax(); !known[u.name] && stops && u.stop > limit {
			r.warn(fmt.Sprintf("%s may take %s to stop, drain.plan gives the target %s", u.name, spanText(u.stop), limit), "A slow stop is cut off, and the drain fails.",
				fmt.Sprintf("sudo fleet-agent adopt %s --stop-timeout %s", u.name, limit))
		}
	}
	if total := len(f.workloads) + len(f.bus.members); total == 0 && stops {
		r.warn("no unit is adopted", "A drain stops nothing: the workloads are cut off by the shutdown.", "sudo fleet-agent adopt UNIT")
	}
	r.orFine(fmt.Sprintf("%d adopted, and each fits into the drain plan", len(f.workloads)))
}

// targetMax is how long the plan lets the target stop.
func (f *facts) targetMax() time.Duration {
	for _, s := range f.conf.Drain.Plan {
		if s.Target == adopt.Target {
			return s.Max.D()
		}
	}
	return 0
}

func judgeTarget(f *facts, r *findings) {
	switch t := f.bus.target; {
	case t.load != "loaded":
		r.fail(adopt.Target+" is "+t.load, "A drain stops no workload.", "sudo apt-get install --reinstall fleet-agent")
	case t.active != "active" && !f.draining && (f.status == nil || f.status.Drain == nil):
		r.warn(adopt.Target+" is "+t.active+", and the node does not drain", "What only the target starts is not running.", "sudo systemctl enable --now "+adopt.Target)
	}
}

// judgeSockets looks for the sockets that start with the target and do not listen.
func judgeSockets(f *facts, r *findings) {
	if f.bus.target.active != "active" || f.draining {
		return // the target says enough, and in a drain they are not to listen
	}
	for _, u := range f.bus.members {
		if strings.HasSuffix(u.name, ".socket") && slices.Contains(f.bus.wants, u.name) && (u.active == "failed" || u.active == "inactive") {
			r.fail("the adopted socket "+u.name+" does not listen: it is "+u.active,
				"The node is in service, and its port may refuse. A socket starts only while its service does not run.", "sudo systemctl start "+u.name)
		}
	}
}

func judgeWorkload(w *adopt.Workload, r *findings) {
	switch w.State {
	case adopt.StateEdited:
		r.note("the drop-in of "+w.Unit+" was edited by hand", "Whether it does what it is for is not judged.", "systemctl cat "+w.Unit)
	case adopt.StateOutdated:
		r.warn("the drop-in of "+w.Unit+" is for another run_dir", "Nothing keeps it from starting while the node drains.", w.Fix)
	case adopt.StateOlder:
		r.warn("the drop-in of "+w.Unit+" is of an older version", "It is ordered after the target: a boot may have a cycle, in which systemd leaves it out.", w.Fix)
	case adopt.StateNoLink:
		r.fail(w.Unit+" is not linked to the target", "It does not start again after a drain.", w.Fix)
	case adopt.StateNoDropIn:
		r.fail(w.Unit+" has lost its drop-in", "A drain does not stop it.", w.Fix)
	case adopt.StateNoTrigger:
		r.fail(strings.Join(w.Missing, ", ")+" can start "+w.Unit+" and is not adopted",
			"The first connection of a drain makes a socket fail, and nothing listens after the drain.", w.Fix)
	case adopt.StateNoUnit:
		r.warn(w.Unit+" is adopted, but not installed", "", w.Fix)
	}
	for _, one := range w.Warnings {
		r.warn(w.Unit+": "+one.Message, "", one.Fix)
	}
}

func spanText(d time.Duration) string {
	if d == systemd.Infinite {
		return "for ever"
	}
	return d.String()
}
