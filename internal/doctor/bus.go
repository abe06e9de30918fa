package doctor

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"

	"github.com/fleet-agent/fleet-agent/internal/adopt"
	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// busFacts is what systemd, logind and polkit say. It is asked over one plain
// connection, not by internal/systemd, whose Manager subscribes to signals and
// whose Inhibitor takes a lock.
type busFacts struct {
	err error // there is no bus

	delay    time.Duration // InhibitDelayMaxUSec in force
	delayErr error
	holders  []string // who delays a shutdown
	holdErr  error

	target    unitFacts
	targetErr error // systemd is not on the bus
	members   []unitFacts
	wants     []string // what the target starts

	socket    unitFacts // that holds the probe port
	socketErr error

	denied    []string // the units of asked that polkit does not let the agent stop
	polkitErr error    // it could not be asked
	asked     bool
}

type unitFacts struct {
	name, load, active string
	stop               time.Duration // systemd.Infinite without a limit, 0 for types that have none
}

// question is what polkit is asked: may this process stop these units?
type question struct {
	pid   int
	uid   int
	units []string
}

// asked returns what to ask polkit; no process when the agent does not run.
func (f *facts) asked() question {
	q := question{}
	if f.status != nil && f.agentID != nil {
		q.pid, q.uid = f.status.Agent.PID, f.agentID.uid
	}
	for _, s := range f.conf.Drain.Plan {
		switch {
		case s.Target != "":
			q.units = append(q.units, s.Target)
		case s.Unit != "":
			q.units = append(q.units, s.Unit)
		case s.Hook != "":
			q.units = append(q.units, "fleet-hook@"+s.Hook+".service")
		}
	}
	return q
}

type bus struct{ conn *dbus.Conn }

func lookBus(ctx context.Context, address string, q question) busFacts {
	var f busFacts
	opts := []dbus.ConnOption{dbus.WithContext(ctx)}
	var conn *dbus.Conn
	if address == "" {
		conn, f.err = dbus.ConnectSystemBus(opts...)
	} else {
		conn, f.err = dbus.Connect(address, opts...)
	}
	if f.err != nil {
		return f
	}
	defer conn.Close()
	b := bus{conn}
	f.lookLogind(ctx, b)
	f.lookUnits(ctx, b)
	if q.pid != 0 && q.uid != 0 {
		f.lookPolkit(ctx, b, q)
	}
	return f
}

func (f *busFacts) lookLogind(ctx context.Context, b bus) {
	const name, path, manager = "org.freedesktop.login1", "/org/freedesktop/login1", "org.freedesktop.login1.Manager"
	var usec uint64
	f.delayErr = b.property(ctx, name, path, manager, "InhibitDelayMaxUSec", &usec)
	f.delay = span(usec)
	var list []struct {
		What, Who, Why, Mode string
		UID, PID             uint32
	}
	f.holdErr = b.call(ctx, name, path, manager+".ListInhibitors").Store(&list)
	for _, l := range list {
		if l.Mode == "delay" && slices.Contains(strings.Split(l.What, ":"), "shutdown") {
			f.holders = append(f.holders, l.Who)
		}
	}
}

func (f *busFacts) lookUnits(ctx context.Context, b bus) {
	var members []string
	f.target, f.targetErr = b.unit(ctx, adopt.Target, map[string]*[]string{"ConsistsOf": &members, "Wants": &f.wants})
	f.socket, f.socketErr = b.unit(ctx, systemd.AgentSocket, nil)
	slices.Sort(members) // systemd has no order
	for _, name := range members {
		if u, err := b.unit(ctx, name, nil); err == nil {
			f.members = append(f.members, u)
		}
	}
}

// lookPolkit asks polkit what systemd would ask it when the agent stops a unit.
// polkit answers questions about others to root alone.
func (f *busFacts) lookPolkit(ctx context.Context, b bus, q question) {
	subject := struct {
		Kind    string
		Details map[string]dbus.Variant
	}{"unix-process", map[string]dbus.Variant{
		"pid":        dbus.MakeVariant(uint32(q.pid)),
		"start-time": dbus.MakeVariant(uint64(0)), // polkit looks it up
		"uid":        dbus.MakeVariant(int32(q.uid)),
	}}
	for _, unit := range q.units {
		var answer struct {
			Authorized, Challenge bool
			Details               map[string]string
		}
		err := b.call(ctx, "org.freedesktop.PolicyKit1", "/org/freedesktop/PolicyKit1/Authority",
			"org.freedesktop.PolicyKit1.Authority.CheckAuthorization", subject,
			"org.freedesktop.systemd1.manage-units", map[string]string{"unit": unit, "verb": "stop"}, uint32(0), "").Store(&answer)
		if err != nil {
			f.polkitErr = err
			return
		}
		if !answer.Authorized {
			f.denied = append(f.denied, unit)
		}
	}
	f.asked = true
}

const systemdName, unitInterface = "org.freedesktop.systemd1", "org.freedesktop.systemd1.Unit"

// unit reads a unit's state and the properties of relations, which are lists of names.
func (b bus) unit(ctx context.Context, name string, relations map[string]*[]string) (unitFacts, error) {
	u := unitFacts{name: name}
	var path dbus.ObjectPath
	err := b.call(ctx, systemdName, "/org/freedesktop/systemd1", systemdName+".Manager.LoadUnit", name).Store(&path)
	for property, field := range map[string]*string{"LoadState": &u.load, "ActiveState": &u.active} {
		if err == nil {
			err = b.property(ctx, systemdName, path, unitInterface, property, field)
		}
	}
	for property, names := range relations {
		if err == nil {
			err = b.property(ctx, systemdName, path, unitInterface, property, names)
		}
	}
	if err == nil && strings.HasSuffix(name, ".service") {
		var usec uint64
		err = b.property(ctx, systemdName, path, systemdName+".Service", "TimeoutStopUSec", &usec)
		u.stop = span(usec)
	}
	return u, err
}

func (b bus) call(ctx context.Context, name string, path dbus.ObjectPath, method string, args ...any) *dbus.Call {
	return b.conn.Object(name, path).CallWithContext(ctx, method, 0, args...)
}

func (b bus) property(ctx context.Context, name string, path dbus.ObjectPath, iface, property string, value any) error {
	var v dbus.Variant
	err := b.call(ctx, name, path, "org.freedesktop.DBus.Properties.Get", iface, property).Store(&v)
	if err == nil {
		err = v.Store(value)
	}
	if err != nil {
		return fmt.Errorf("read %s of %s: %w", property, name, err)
	}
	return nil
}

// span converts microseconds as systemd counts them.
func span(usec uint64) time.Duration {
	if usec > uint64(systemd.Infinite/time.Microsecond) {
		return systemd.Infinite
	}
	return time.Duration(usec) * time.Microsecond
}
