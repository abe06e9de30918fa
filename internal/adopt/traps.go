package adopt

import (
	"cmp"
	"fmt"
	"path/filepath"
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
	case w.targetMax == 0:
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
	if trap := traps[u.name]; trap != nil {
		list = append(list, trap(w, u)...)
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
	if w.tree != "/" {
		command += " --root " + string(w.tree)
	}
	return "sudo " + command
}
