package adopt

import (
	"cmp"
	"fmt"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// A trap is a service that, as packaged, does not finish its work when it is
// stopped. It returns an empty Warning for one that was mended.
var traps = map[string]func(*Workloads, *unit) []Warning{
	"nginx.service":   nginx,
	"haproxy.service": haproxy,
}

// warnings says what will go wrong with a unit at the first drain.
func (w *Workloads) warnings(u *unit) []Warning {
	var list []Warning
	stop := u.stop()
	switch {
	case w.targetMax == 0 && u.with == "":
		list = append(list, Warning{
			Message: "no step of drain.plan stops " + Target + ", so a drain does not stop this unit",
			Fix:     "fleet-agent config show --origin",
		})
	case stop.Timeout > w.targetMax:
		list = append(list, Warning{
			Message: fmt.Sprintf("it may take %s to stop, but drain.plan gives %s %s: a slow stop is cut off and the drain fails",
				spanText(stop.Timeout), Target, spanText(w.targetMax)),
			Fix: w.adoptWith(u, Settings{StopTimeout: w.targetMax}),
		})
	}
	if starts := w.primary(u.starts()); path.Ext(u.name) == ".socket" && !w.tree.exists(dropInPath(starts)) {
		list = append(list, Warning{
			Message: "it starts " + starts + ", which is not adopted: a drain stops the one and not the other",
			Fix:     w.command("adopt", starts),
		})
	}
	if trap := traps[u.name]; trap != nil {
		list = append(list, trap(w, u)...)
	}
	return list
}

// notes says what may surprise about a service and its triggers.
func (w *Workloads) notes(u *unit, triggers []trigger) []Warning {
	var list []Warning
	for _, t := range triggers {
		missed := "is made up for afterwards (Persistent=yes)"
		if !t.on("Timer.Persistent") {
			missed = "is left out, unless it has Persistent=yes"
		}
		switch {
		case !t.used:
			list = append(list, Warning{
				Message: t.name + " is not enabled: a drain stops it if it runs, and nothing starts it again",
			})
		case path.Ext(t.name) == ".timer":
			list = append(list, Warning{
				Message: t.name + " is adopted with it: no run begins while the node drains, and one that was due then " + missed,
			})
		}
	}
	if u.last("Service.Type") == "oneshot" && !u.on("Service.RemainAfterExit") {
		again := Warning{Message: u.name + " is a oneshot that does not stay active: each boot and each return to service runs it again"}
		if i := slices.IndexFunc(triggers, func(t trigger) bool { return t.used && path.Ext(t.name) == ".timer" }); i >= 0 {
			again.Message += "; to leave that to " + triggers[i].name + ", adopt that one alone"
			again.Fix = w.command("release", u.name) + " && " + w.command("adopt", triggers[i].name)
		}
		list = append(list, again)
	}
	return list
}

// nginx as Debian and Ubuntu package it: an ExecStop= that sends SIGQUIT, waits
// five seconds and fails, after which systemd sends SIGTERM; and a
// TimeoutStopSec= of five seconds. nginx finishes its requests on SIGQUIT and
// drops them on SIGTERM (nginx(8)).
func nginx(w *Workloads, u *unit) []Warning {
	var list []Warning
	if strings.Contains(strings.Join(u.values["Service.ExecStop"], "\n"), "--retry") {
		list = append(list, Warning{
			Message: "its ExecStop= gives requests a few seconds and then cuts them off, whatever its stop timeout is",
			Fix: `printf '[Service]\nExecStop=\nKillSignal=SIGQUIT\n' | sudo tee ` +
				filepath.Join(string(w.tree), unitDir, u.name+".d/60-graceful.conf") + " && sudo systemctl daemon-reload",
		})
	} else if s := u.stop(); s.Signal != "SIGQUIT" {
		list = append(list, Warning{
			Message: "nginx drops its requests on " + s.Signal + " and finishes them on SIGQUIT",
			Fix:     w.adoptWith(u, Settings{KillSignal: "SIGQUIT"}),
		})
	}
	if s := u.stop(); s.Timeout <= 5*time.Second {
		list = append(list, Warning{
			Message: "it has " + spanText(s.Timeout) + " to finish its requests",
			Fix:     w.adoptWith(u, Settings{StopTimeout: 30 * time.Second}),
		})
	}
	return list
}

// haproxy finishes its sessions on SIGUSR1 (soft stop) and drops them on
// SIGTERM, which is what systemd sends unless the unit says otherwise.
func haproxy(w *Workloads, u *unit) []Warning {
	if s := u.stop(); s.Signal != "SIGUSR1" {
		return []Warning{{
			Message: "haproxy drops its sessions on " + s.Signal + " and finishes them on SIGUSR1",
			Fix:     w.adoptWith(u, Settings{KillSignal: "SIGUSR1"}),
		}}
	}
	return nil
}

// adoptWith is the command that adopts a unit with other settings and keeps
// those that it was adopted with.
func (w *Workloads) adoptWith(u *unit, s Settings) string {
	command := "fleet-agent adopt " + u.name
	if d := cmp.Or(s.StopTimeout, u.own.StopTimeout); d > 0 {
		command += " --stop-timeout " + spanText(d)
	}
	if name := cmp.Or(s.KillSignal, u.own.KillSignal); name != "" {
		command += " --kill-signal " + name
	}
	return "sudo " + command + w.rootFlag()
}

func (w *Workloads) command(verb, unit string) string {
	return "sudo fleet-agent " + verb + " " + unit + w.rootFlag()
}

func (w *Workloads) rootFlag() string {
	if w.tree == "/" {
		return ""
	}
	return " --root " + string(w.tree)
}
