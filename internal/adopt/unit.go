package adopt

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

// unitPath is where units are looked for, the first that has one wins
// (systemd.unit(5)). Units that a generator makes at boot are not among them:
// nothing can be linked to them in an image.
var unitPath = []string{
	"/etc/systemd/system", "/run/systemd/system", "/usr/local/lib/systemd/system", "/usr/lib/systemd/system", "/lib/systemd/system",
}

// defaultStop is DefaultTimeoutStopSec= (systemd-system.conf(5)).
const defaultStop = 90 * time.Second

// unit is a unit as its files describe it.
type unit struct {
	name string
	file string // that of the template, for an instance
	// values are the settings by "Section.Key", in the order in which they
	// are given; an empty value has taken back those before it, except for
	// the keys of additive.
	values map[string][]string
	own    Settings // those that it was adopted with
	with   string   // the service that a trigger was adopted with
}

// additive are the settings that an empty value does not take back: systemd
// passes it over (seen on 252).
var additive = []string{
	"Service.Sockets", "Socket.Service", "Socket.Accept", "Path.Unit", "Timer.Unit",
	"Unit.Wants", "Unit.Requires", "Unit.BindsTo", "Unit.Upholds",
}

// ErrNoUnit says that there is no unit of that name.
var ErrNoUnit = errors.New("no such unit")

// find loads a unit that may be a workload.
func (w *Workloads) find(name string) (*unit, error) {
	name, err := fullName(name)
	if err != nil {
		return nil, err
	}
	if err := allow(name); err != nil {
		return nil, err
	}
	u, err := w.load(name)
	if err != nil {
		return nil, err
	}
	if err := allow(u.name); err != nil { // the name was an alias
		return nil, err
	}
	if slice := u.last("Service.Slice"); strings.HasPrefix(slice, "azure") {
		return nil, refuse(u.name, "it is in "+slice+", where Azure's extensions run")
	}
	return u, nil
}

// load reads a unit's file and its drop-ins.
func (w *Workloads) load(name string) (*unit, error) {
	for range maxHops {
		file, target, err := w.locate(name)
		if err != nil {
			return nil, err
		}
		if alias := aliasOf(name, path.Base(target)); target != "" && target != os.DevNull && alias != "" {
			name = alias
			continue
		}
		text, err := w.tree.readFile(file)
		if err != nil {
			return nil, fmt.Errorf("read unit %s: %w", name, err)
		}
		if strings.TrimSpace(text) == "" {
			return nil, fmt.Errorf("%s is masked by %s: it cannot run", name, file)
		}
		u := &unit{name: name, file: file, values: make(map[string][]string)}
		u.parse(text)
		return u, w.dropIns(u)
	}
	return nil, fmt.Errorf("read unit %s: too many links", name)
}

// locate finds the file of a unit, and where it leads if it is a link.
func (w *Workloads) locate(name string) (file, target string, err error) {
	names := []string{name}
	if template, instance, ok := cutInstance(name); ok && instance != "" {
		names = append(names, template)
	}
	for _, n := range names {
		for _, dir := range unitPath {
			file := path.Join(dir, n)
			target, err := w.tree.readLink(file)
			switch {
			case err == nil:
				return file, target, nil
			case !errors.Is(err, fs.ErrNotExist):
				return "", "", fmt.Errorf("look for unit %s: %w", name, err)
			}
		}
	}
	return "", "", fmt.Errorf("%w: %s is not in %s", ErrNoUnit, name, strings.Join(unitPath[:4], ", "))
}

// aliasOf returns the unit that name is an alias of, when its file is a link to
// one that is called target; "" when the link only says where the file is.
func aliasOf(name, target string) string {
	template, instance, isInstance := cutInstance(name)
	if target == name || isInstance && target == template || path.Ext(target) != path.Ext(name) {
		return ""
	}
	if other, inst, ok := cutInstance(target); ok && isInstance && inst == "" {
		return strings.Replace(other, "@", "@"+instance, 1)
	}
	return target
}

// dropIns reads the drop-ins of a unit, its template and its type. They apply in
// the order of their file names, wherever they are; of several with one name the
// more specific counts, then that in the earlier directory.
func (w *Workloads) dropIns(u *unit) error {
	owners := []string{u.name}
	if template, _, ok := cutInstance(u.name); ok {
		owners = append(owners, template)
	}
	owners = append(owners, strings.TrimPrefix(path.Ext(u.name), "."))
	files := make(map[string]string) // by file name
	for _, owner := range owners {
		for _, dir := range unitPath {
			dir = path.Join(dir, owner+".d")
			names, err := w.tree.readDir(dir)
			if err != nil {
				return fmt.Errorf("list drop-ins of %s: %w", u.name, err)
			}
			for _, n := range names {
				if path.Ext(n) == ".conf" && !strings.HasPrefix(n, ".") && files[n] == "" {
					files[n] = path.Join(dir, n)
				}
			}
		}
	}
	var order []string
	for n := range files {
		order = append(order, n)
	}
	slices.Sort(order)
	for _, n := range order {
		text, err := w.tree.readFile(files[n])
		if err != nil {
			return fmt.Errorf("read drop-in of %s: %w", u.name, err)
		}
		u.parse(text)
		if files[n] == dropInPath(u.name) {
			u.with = adoptedWith(text)
			dropIn := &unit{values: make(map[string][]string)}
			dropIn.parse(text)
			u.own.StopTimeout, _ = systemd.ParseTimeSpan(dropIn.last("Service.TimeoutStopSec"))
			u.own.KillSignal = dropIn.last("Service.KillSignal")
		}
	}
	return nil
}

// parse adds the settings of a file (systemd.syntax(7)). TimeoutSec= is both
// timeouts at once.
func (u *unit) parse(text string) {
	section := ""
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		line = strings.TrimSpace(line)
		if strings.HasPrefix(line, "[") {
			section = strings.Trim(line, "[]")
			continue
		}
		key, value, ok := strings.Cut(line, "=")
		if !ok || strings.HasPrefix(key, "#") || strings.HasPrefix(key, ";") {
			continue
		}
		key, value = section+"."+strings.TrimSpace(key), strings.TrimSpace(value)
		if key == "Service.TimeoutSec" {
			key = "Service.TimeoutStopSec"
		}
		switch {
		case value != "":
			u.values[key] = append(u.values[key], value)
		case !slices.Contains(additive, key):
			delete(u.values, key)
		}
	}
}

// last is the value of a setting that has one; "" when it is not set.
func (u *unit) last(key string) string {
	if v := u.values[key]; len(v) > 0 {
		return v[len(v)-1]
	}
	return ""
}

// on is the last boolean of a setting (systemd.syntax(7)); what is none is passed
// over.
func (u *unit) on(key string) bool {
	for _, value := range slices.Backward(u.values[key]) {
		switch strings.ToLower(value) {
		case "1", "yes", "y", "true", "t", "on":
			return true
		case "0", "no", "n", "false", "f", "off":
			return false
		}
	}
	return false
}

// stop says how the unit stops.
func (u *unit) stop() Stop {
	if path.Ext(u.name) != ".service" {
		return Stop{}
	}
	s := Stop{Timeout: defaultStop, Signal: "SIGTERM"}
	if d, err := systemd.ParseTimeSpan(u.last("Service.TimeoutStopSec")); err == nil {
		s.Timeout = d
		if d == 0 {
			s.Timeout = Infinite // systemd.service(5)
		}
	}
	if name := u.last("Service.KillSignal"); name != "" {
		s.Signal = name
	}
	return s
}
