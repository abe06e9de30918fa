package doctor

import (
	"errors"
	"fmt"
	"io/fs"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

func judgeListeners(f *facts, r *findings) {
	if f.listeningErr != nil {
		r.note("the listening sockets are not known: "+f.listeningErr.Error(), "", "sudo ss -ltnp")
		return
	}
	if f.status != nil && f.status.Agent.ProbeAddress != f.conf.Listen.Probe {
		r.note(fmt.Sprintf("the agent answers probes on %s, not on %s as listen.probe says", f.status.Agent.ProbeAddress, f.conf.Listen.Probe),
			"A socket unit comes first; otherwise the agent was not restarted since.", "systemctl cat fleet-agent.socket")
	}
	if s := f.bus.socket; f.status != nil && f.bus.socketErr == nil && s.load == "loaded" && s.active != "active" {
		r.warn(fmt.Sprintf("%s is %s: the agent holds the probe port itself", systemd.AgentSocket, s.active),
			"Probes are refused while the agent restarts or is upgraded.", systemd.ApplySocket)
	}
	for _, address := range []string{f.probeAddress(), f.conf.Listen.Metrics} {
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			continue // metrics are off
		}
		var on []string
		for _, l := range f.listening {
			if strconv.Itoa(int(l.Port())) == port {
				on = append(on, l.Addr().String())
			}
		}
		show := "sudo ss -ltnp 'sport = :" + port + "'"
		switch {
		case len(on) > 1:
			r.warn(fmt.Sprintf("%d sockets listen on port %s: %s", len(on), port, strings.Join(on, ", ")),
				"A probe of localhost may reach another program.", show)
		case len(on) == 1 && f.agentGone() && !f.enabled:
			r.fail("another program listens on port "+port, "The agent cannot start.", show)
		case len(on) == 0 && f.status != nil:
			r.fail("nobody listens on port "+port, "Nobody gets an answer there.", systemd.ApplySocket)
		}
	}
	if f.status == nil {
		r.orFine("no port is listened to twice")
		return
	}
	r.orFine("one socket each for " + strings.TrimSuffix(f.probeAddress()+" and "+f.conf.Listen.Metrics, " and "))
}

// agentGone says that the agent certainly does not run.
func (f *facts) agentGone() bool { return f.status == nil && errors.Is(f.statusErr, fs.ErrNotExist) }

func judgePermissions(f *facts, r *findings) {
	state, run, socket := f.files[0], f.files[1], f.files[2]
	if f.agentID == nil {
		r.note("there is no user "+agentUser, "Whether it may read and write its files is not judged.", "sudo systemd-sysusers")
	} else {
		switch {
		case errors.Is(state.err, fs.ErrPermission):
			r.note(state.path+" cannot be looked at by this user", "", "sudo fleet-agent doctor")
		case state.err != nil:
			r.note(state.path+" is not there", "The service makes it as it starts.", "sudo systemd-tmpfiles --create fleet-agent.conf")
		case state.uid != f.agentID.uid && f.agentID.uid != 0:
			r.fail(fmt.Sprintf("%s belongs to uid %d, the agent is uid %d", state.path, state.uid, f.agentID.uid),
				"It cannot write its journal: a restart in the middle of a drain would forget it.", fmt.Sprintf("sudo chown -R %d %s", f.agentID.uid, state.path))
		}
		for _, path := range f.readFiles() {
			if s := f.stat(path); s.err == nil && !f.agentID.reads(s) {
				r.fail("the agent may not read "+path, "It does not start, and does not reload.", fmt.Sprintf("sudo chgrp %d %s && sudo chmod g+r %s", f.agentID.gid, path, path))
			}
		}
	}
	for _, s := range []fileFacts{state, run} {
		if s.err == nil && s.mode.Perm()&0o022 != 0 {
			r.fail(fmt.Sprintf("%s can be written by others (%04o)", s.path, s.mode.Perm()), "They can make the node drain, or forget a drain.", "sudo chmod go-w "+s.path)
		}
	}
	if socket.err == nil && socket.mode.Perm() != 0o666 || run.err == nil && run.mode.Perm()&0o001 == 0 {
		r.warn(socket.path+" cannot be reached by everybody", "The agent decides who may do what. Whoever cannot ask it is not told what to do about that.",
			"sudo chmod o+x "+run.path+" && sudo systemctl restart fleet-agent")
	}
	if key := f.conf.Listen.TLS.KeyFile; key != "" {
		if s := f.stat(key); s.err == nil && s.mode.Perm()&0o007 != 0 {
			r.warn(key+" can be read by everybody", "Anybody on this node can pretend to be it.", "sudo chmod o= "+key)
		}
	}
	if f.agentID != nil && f.agentID.uid != f.user && !f.admins {
		r.note("there is no group "+adminGroup, "Only root can drain and undrain.", "sudo systemd-sysusers")
	}
	r.orFine("files and socket are as they should be")
}

// readFiles are the files that the agent has to read.
func (f *facts) readFiles() []string {
	files := slices.Clone(f.conf.Files())
	for _, name := range []string{f.conf.Listen.TLS.CertFile, f.conf.Listen.TLS.KeyFile} {
		if name != "" {
			files = append(files, name)
		}
	}
	return files
}

// reads says whether an account may read a file by its mode.
func (a *account) reads(s fileFacts) bool {
	switch mode := s.mode.Perm(); {
	case a.uid == 0:
		return true
	case a.uid == s.uid:
		return mode&0o400 != 0
	case a.gid == s.gid:
		return mode&0o040 != 0
	default:
		return mode&0o004 != 0
	}
}

func judgeDisk(f *facts, r *findings) {
	const little, none = 64 << 20, 1 << 20 // the journal and an upgrade of it; an entry
	d := &f.disk
	show := "df -h " + d.path
	const forgets = "The agent cannot write its journal: a restart in the middle of a drain would forget it."
	switch {
	case d.err != nil:
		r.note(d.path+" cannot be looked at: "+d.err.Error(), "", show)
	case d.readOnly:
		r.fail("the file system of "+d.path+" is read-only", forgets, "findmnt -T "+d.path)
	case d.free < none, d.totalInodes > 0 && d.freeInodes == 0:
		r.fail("the file system of "+d.path+" is full", forgets, show)
	case d.free < little, d.totalInodes > 0 && d.freeInodes < 1000:
		r.warn(fmt.Sprintf("the file system of %s has %d MiB and %d inodes left", d.path, d.free>>20, d.freeInodes), "When it is full: "+forgets, show)
	default:
		r.fine(fmt.Sprintf("%d MiB are free for %s", d.free>>20, d.path))
	}
}

func judgeClock(f *facts, r *findings) {
	const late = "Deadlines are told as times of day: a drain would begin too late, or not at all."
	switch c := &f.clock; {
	case c.err != nil:
		r.note("the kernel does not say how it keeps time: "+c.err.Error(), "", "timedatectl")
	case !c.synchronized:
		r.warn("the clock is not synchronised", late, "timedatectl; systemctl status chrony systemd-timesyncd")
	case c.offset > time.Second:
		r.warn(fmt.Sprintf("the clock is off by %s", c.offset.Round(time.Millisecond)), late, "timedatectl timesync-status; chronyc tracking")
	default:
		r.fine(fmt.Sprintf("synchronised, off by %s", c.offset.Round(time.Microsecond)))
	}
}

func judgePressure(f *facts, r *findings) {
	if len(f.pressure) == 0 {
		for _, c := range f.conf.Checks {
			if c.Pressure != nil {
				r.fail("this kernel does not count pressure", "The check "+c.Name+" fails.", "grep -o 'psi=.' /proc/cmdline")
				return
			}
		}
		r.note("this kernel does not count pressure", "Checks of kind pressure would fail.", "")
		return
	}
	limits := []struct {
		resource string
		percent  float64
	}{{"cpu", 80}, {"memory", 20}, {"io", 60}}
	for _, l := range limits {
		if p := f.pressure[l.resource]; p >= l.percent {
			r.warn(fmt.Sprintf("for %.0f%% of the last minute something waited for %s", p, l.resource), "Checks time out, and stops take longer than they should.",
				"systemd-cgtop -n 1")
		}
	}
	r.orFine(fmt.Sprintf("waiting in the last minute: cpu %.0f%%, memory %.0f%%, io %.0f%%", f.pressure["cpu"], f.pressure["memory"], f.pressure["io"]))
}
