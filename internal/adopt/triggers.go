package adopt

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path"
	"slices"
	"strings"
)

// triggerTypes are the units that start others, and whose settings name them.
var triggerTypes = []string{".socket", ".path", ".timer"}

func isTrigger(name string) bool { return slices.Contains(triggerTypes, path.Ext(name)) }

// A survey is what the unit files of a tree say about who starts whom. Units that
// cannot be read are left out, as systemd leaves them out.
type survey struct {
	w         *Workloads
	units     map[string]*unit // services and triggers, by primary name
	enabled   map[string]bool  // by primary name: another unit wants it
	templates []string         // of triggers
}

// survey reads every service, socket, path and timer. Instances are known as far
// as a unit wants them.
func (w *Workloads) survey() (*survey, error) {
	s := &survey{w: w, units: make(map[string]*unit), enabled: make(map[string]bool)}
	for _, dir := range unitPath {
		names, err := w.tree.readDir(dir)
		if err != nil {
			return nil, fmt.Errorf("list units: %w", err)
		}
		for _, name := range names {
			switch path.Ext(name) {
			case ".wants", ".requires", ".upholds":
				if err := s.wanted(path.Join(dir, name)); err != nil {
					return nil, err
				}
			default:
				s.add(name)
			}
		}
	}
	return s, nil
}

// wanted adds the units in a directory of links, by which others want them.
func (s *survey) wanted(dir string) error {
	names, err := s.w.tree.readDir(dir)
	if err != nil {
		return fmt.Errorf("list units: %w", err)
	}
	for _, name := range names {
		if u := s.add(name); u != nil && dir != wantsDir {
			s.enabled[u.name] = true
		}
	}
	return nil
}

// add reads a unit, once. It returns nil for what cannot run.
func (s *survey) add(name string) *unit {
	if !isTrigger(name) && path.Ext(name) != ".service" {
		return nil
	}
	if _, instance, ok := cutInstance(name); ok && instance == "" {
		if isTrigger(name) && !slices.Contains(s.templates, name) {
			s.templates = append(s.templates, name)
		}
		return nil
	}
	if u := s.units[name]; u != nil {
		return u
	}
	u, err := s.w.load(name)
	if err != nil {
		return nil
	}
	if known := s.units[u.name]; known != nil { // name is an alias
		return known
	}
	s.units[u.name] = u
	return u
}

// A trigger is a unit that starts a service, or that the service has its sockets
// from.
type trigger struct {
	*unit
	// used says that something starts the trigger: it is enabled, or the
	// service pulls it in. What is installed and left disabled is not.
	used bool
}

// triggers returns the triggers of a service, by name, and none for other types.
// It refuses a trigger that a drain must not stop, because others need it too.
func (s *survey) triggers(u *unit) ([]trigger, error) {
	if path.Ext(u.name) != ".service" {
		return nil, nil
	}
	if _, instance, ok := cutInstance(u.name); ok {
		for _, t := range s.templates {
			s.add(strings.Replace(t, "@", "@"+instance, 1))
		}
	}
	own := s.sockets(u)
	var list []trigger
	for _, t := range s.units {
		if !isTrigger(t.name) || !slices.Contains(own, t.name) && !s.startsUnit(t, u.name) {
			continue
		}
		one := trigger{unit: t, used: s.used(t, u)}
		if t.accepts() && !one.used {
			continue // the other way to run the service, which is not taken
		}
		list = append(list, one)
	}
	slices.SortFunc(list, func(a, b trigger) int { return strings.Compare(a.name, b.name) })
	for _, t := range list {
		if why := s.forbids(t.unit, u.name); why != "" {
			return nil, refuse(u.name, why)
		}
	}
	return list, nil
}

// forbids says why a trigger must not stop with a service; "" when it may.
func (s *survey) forbids(t *unit, service string) string {
	if err := allow(t.name); err != nil {
		return err.Error()
	}
	if t.accepts() {
		return t.name + " starts a service for each connection (Accept=yes), and a drain would not stop those"
	}
	if starts := s.w.primary(t.starts()); starts != service {
		return fmt.Sprintf("%s, in its Sockets=, starts %s: a drain would take that away, too; give each service a socket of its own", t.name, starts)
	}
	for _, name := range slices.Sorted(maps.Keys(s.units)) {
		if name != service && slices.Contains(s.sockets(s.units[name]), t.name) {
			return fmt.Sprintf("%s is in Sockets= of %s, too: a drain would take it away from that one; give each service a socket of its own", t.name, name)
		}
	}
	return ""
}

// startsUnit says whether a trigger starts a service, or instances of it.
func (s *survey) startsUnit(t *unit, service string) bool {
	starts := t.starts()
	if !t.accepts() {
		return s.w.primary(starts) == service
	}
	template, _, ok := cutInstance(service)
	return ok && template == starts || strings.Replace(starts, "@", "", 1) == service
}

// used says whether something starts a trigger of u.
func (s *survey) used(t, u *unit) bool {
	if s.enabled[t.name] || slices.Contains(s.sockets(u), t.name) || s.w.tree.exists(linkPath(t.name)) {
		return true
	}
	for _, key := range []string{"Unit.Wants", "Unit.Requires", "Unit.BindsTo", "Unit.Upholds"} {
		for _, name := range u.words(key) {
			if s.w.primary(name) == t.name {
				return true
			}
		}
	}
	// Without these nobody could have enabled it, or disabled it.
	if t.last("Install.WantedBy") == "" && t.last("Install.RequiredBy") == "" && t.last("Install.UpheldBy") == "" {
		return true
	}
	return s.w.running != nil && s.w.running(t.name)
}

// sockets are the sockets that a service is passed besides those that start it.
func (s *survey) sockets(u *unit) []string {
	names := u.words("Service.Sockets")
	for i, name := range names {
		names[i] = s.w.primary(name)
	}
	return names
}

// primary returns the name of the unit that a name stands for: itself, when it is
// no alias, or when there is no such unit.
func (w *Workloads) primary(name string) string {
	for range maxHops {
		_, target, err := w.locate(name)
		if err != nil || target == "" {
			return name
		}
		alias := aliasOf(name, path.Base(target))
		if alias == "" {
			return name
		}
		name = alias
	}
	return name
}

// starts returns the name of the unit that a trigger starts, and for a socket
// that accepts connections itself the template of those.
func (u *unit) starts() string {
	ext := path.Ext(u.name)
	base := strings.TrimSuffix(u.name, ext)
	var names []string
	switch {
	case u.accepts():
		prefix, _, _ := strings.Cut(base, "@")
		return prefix + "@.service"
	case ext == ".socket": // the last one counts
		names = u.words("Socket.Service")
		slices.Reverse(names)
		names = slices.DeleteFunc(names, func(n string) bool { return path.Ext(n) != ".service" })
	case ext == ".path": // the first one counts, whatever a drop-in says
		names = u.words("Path.Unit")
	case ext == ".timer":
		names = u.words("Timer.Unit")
	}
	for _, name := range names {
		if slices.Contains(workloadTypes, path.Ext(name)) || slices.Contains(otherTypes, path.Ext(name)) {
			return name
		}
	}
	return base + ".service"
}

// accepts says whether a socket starts a service for each connection.
func (u *unit) accepts() bool { return path.Ext(u.name) == ".socket" && u.on("Socket.Accept") }

// words are the names in a setting, with their specifiers (systemd.unit(5)). One
// that cannot be told from the files alone, such as the name of the host, is left
// out.
func (u *unit) words(key string) []string {
	var list []string
	for _, value := range u.values[key] {
		for word := range strings.FieldsSeq(value) {
			if name, ok := u.expand(word); ok {
				list = append(list, name)
			}
		}
	}
	return list
}

func (u *unit) expand(text string) (string, bool) {
	full := strings.TrimSuffix(u.name, path.Ext(u.name))
	prefix, instance, _ := strings.Cut(full, "@")
	known := map[byte]string{
		'n': u.name, 'N': full, 'p': prefix, 'P': prefix, 'i': instance, 'I': instance,
		'j': prefix[strings.LastIndexByte(prefix, '-')+1:], '%': "%",
	}
	var b strings.Builder
	for i := 0; i < len(text); i++ {
		if text[i] != '%' {
			b.WriteByte(text[i])
			continue
		}
		i++
		if i == len(text) {
			return "", false
		}
		value, ok := known[text[i]]
		if !ok || strings.IndexByte("PI", text[i]) >= 0 && strings.ContainsAny(value, `-\`) { // unescaped, no name of a unit
			return "", false
		}
		b.WriteString(value)
	}
	return b.String(), true
}

// withLine is the line of a trigger's drop-in that says with which service it was
// adopted, to be released with it, even when both were uninstalled.
const withLine = "# Adopted with "

func adoptedWith(text string) string {
	for line := range strings.Lines(text) {
		if name, ok := strings.CutPrefix(strings.TrimSuffix(line, "\n"), withLine); ok {
			return strings.TrimSuffix(name, ".")
		}
	}
	return ""
}

// adoptedTriggers returns the names of the triggers that were adopted with a service.
func (w *Workloads) adoptedTriggers(service string) ([]string, error) {
	entries, err := w.tree.readDir(unitDir)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, e := range entries {
		name, ok := strings.CutSuffix(e, ".d")
		if !ok || !isTrigger(name) || path.Ext(service) != ".service" {
			continue
		}
		text, err := w.tree.readFile(dropInPath(name))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, err
		}
		if adoptedWith(text) == service {
			names = append(names, name)
		}
	}
	return names, nil
}
