package systemd

import (
	"context"
	"fmt"
	"math"
	"path"
	"strings"
	"time"

	"github.com/godbus/dbus/v5"
)

// Infinite stands for a timeout that systemd calls infinity.
const Infinite = time.Duration(math.MaxInt64)

// UnitState is what systemd says about a unit. The words are systemd's own; see
// org.freedesktop.systemd1(5).
type UnitState struct {
	Name        string // the primary name, where an alias was asked for
	LoadState   string // loaded, not-found, masked, error, bad-setting
	ActiveState string // active, reloading, inactive, failed, activating, deactivating
	SubState    string // running, dead, exited, ...; differs by type of unit
	// Result says how the unit last ended: success, timeout, exit-code,
	// signal, watchdog, ... Empty for types that have none, such as targets.
	Result string
	// Job says that a job of the unit is queued or runs.
	Job bool
	// TimeoutStop is how long the unit may take to stop before it is killed;
	// 0 for types that have no such limit, Infinite when it was lifted.
	TimeoutStop time.Duration
}

// UnitState returns the state of a unit. A unit that does not exist is no error:
// its LoadState is not-found.
func (m *Manager) UnitState(ctx context.Context, name string) (UnitState, error) {
	u, err := m.unitState(ctx, name)
	if err != nil {
		return UnitState{}, fmt.Errorf("read the state of %s: %w", name, err)
	}
	return u, nil
}

func (m *Manager) unitState(ctx context.Context, name string) (UnitState, error) {
	object := unitPath(name)
	var u UnitState
	props, err := m.properties(ctx, object, systemdUnit) // one call, so that the states fit together
	if err != nil {
		return u, err
	}
	for key, field := range map[string]*string{
		"Id": &u.Name, "LoadState": &u.LoadState, "ActiveState": &u.ActiveState, "SubState": &u.SubState,
	} {
		text, ok := props[key].Value().(string)
		if !ok {
			return u, fmt.Errorf("property %s is missing", key)
		}
		*field = text
	}
	if job, ok := props["Job"].Value().([]any); ok && len(job) == 2 {
		id, _ := job[0].(uint32) // 0, and the path "/", when there is none
		u.Job = id != 0
	}
	iface, timeout := typeInterface(u.Name)
	if iface == "" || u.LoadState != "loaded" {
		return u, nil
	}
	if err := m.link.property(ctx, object, iface, "Result", &u.Result); err != nil {
		return u, err
	}
	if timeout == "" {
		return u, nil
	}
	var usec uint64
	if err := m.link.property(ctx, object, iface, timeout, &usec); err != nil {
		return u, err
	}
	u.TimeoutStop = duration(usec)
	return u, nil
}

// properties reads all properties of an interface.
func (m *Manager) properties(ctx context.Context, object dbus.ObjectPath, iface string) (map[string]dbus.Variant, error) {
	body, err := m.link.call(ctx, object, propertiesName+".GetAll", iface)
	if err != nil {
		return nil, err
	}
	var props map[string]dbus.Variant
	return props, dbus.Store(body, &props)
}

// typeInterface returns the D-Bus interface that a type of unit has beside Unit,
// when it has the property Result, and its property with the stop timeout.
func typeInterface(name string) (iface, timeout string) {
	switch path.Ext(name) {
	case ".service":
		return "org.freedesktop.systemd1.Service", "TimeoutStopUSec"
	case ".scope":
		return "org.freedesktop.systemd1.Scope", "TimeoutStopUSec"
	case ".socket":
		return "org.freedesktop.systemd1.Socket", "TimeoutUSec"
	case ".mount":
		return "org.freedesktop.systemd1.Mount", "TimeoutUSec"
	case ".swap":
		return "org.freedesktop.systemd1.Swap", "TimeoutUSec"
	case ".automount":
		return "org.freedesktop.systemd1.Automount", ""
	case ".timer":
		return "org.freedesktop.systemd1.Timer", ""
	case ".path":
		return "org.freedesktop.systemd1.Path", ""
	}
	return "", ""
}

// duration converts microseconds as systemd counts them.
func duration(usec uint64) time.Duration {
	if usec > uint64(Infinite/time.Microsecond) {
		return Infinite
	}
	return time.Duration(usec) * time.Microsecond
}

// unitPath returns the object path of a unit: every byte but letters and digits
// is escaped, a leading digit too. systemd loads the unit when the object is
// asked for.
func unitPath(name string) dbus.ObjectPath {
	var b strings.Builder
	b.WriteString(string(systemdPath) + "/unit/")
	for i := range len(name) {
		c := name[i]
		letter := 'a' <= c && c <= 'z' || 'A' <= c && c <= 'Z'
		if digit := '0' <= c && c <= '9'; letter || digit && i > 0 {
			b.WriteByte(c)
		} else {
			fmt.Fprintf(&b, "_%02x", c)
		}
	}
	if name == "" {
		b.WriteByte('_')
	}
	return dbus.ObjectPath(b.String())
}
