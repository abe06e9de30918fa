// Package adopt answers: how does a workload's unit join what a drain stops, and
// how does it leave again?
//
// A unit joins by two files, and they are all that this package ever writes:
//
//	/etc/systemd/system/UNIT.d/50-fleet.conf
//	/etc/systemd/system/fleet-serving.target.wants/UNIT -> the unit's file
//
// The drop-in has PartOf= (the unit stops with the target), After= (the target's
// stop waits for the unit, because systemd stops in reverse order), a condition
// that keeps the unit down while the node drains, and, if asked for, how long and
// by which signal it stops. The link lets the unit start with the target again.
//
// A service brings its triggers: the sockets, paths and timers that start it. Else
// the first connection of a drain would start it against its condition, again and
// again until the socket fails. They get the same two files, without After=. See
// docs/adr/0018-triggers.md.
//
// Everything works on files under a root directory, with or without a running
// systemd, so that the same code serves a node and the build of an image. Names
// are checked before anything is written: a node whose drain stops the bus or the
// Azure agent would never finish it.
//
// The package runs no command, talks to nobody and starts no goroutines.
package adopt

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/systemd"
)

const (
	// Target is the target that drains stop and undrains start.
	Target = "fleet-serving.target"

	unitDir    = "/etc/systemd/system"
	dropInName = "50-fleet.conf"
	wantsDir   = unitDir + "/" + Target + ".wants"
)

// Config says where units are.
type Config struct {
	// Root is the directory that has etc, run and usr: "/", or the tree of an
	// image. Empty means "/".
	Root string
	// RunDir is the agent's run_dir, which has the flag that keeps workloads
	// down while the node drains, as the system in Root will see it.
	RunDir string
	// TargetMax is how long the drain plan lets Target stop; 0 when no step of
	// the plan stops it.
	TargetMax time.Duration
	// Running says whether systemd has a unit up, or has seen it fail; nil
	// where no systemd runs on the tree. A trigger that is not enabled counts
	// as used when it runs.
	Running func(unit string) bool
}

// Workloads adopts and releases units. It keeps nothing in memory; concurrent
// calls for the same unit end with the files of one of them.
type Workloads struct {
	tree      tree
	flag      string // of the run directory
	targetMax time.Duration
	running   func(unit string) bool
}

// New returns the Workloads of a root directory. It reads nothing.
func New(cfg Config) (*Workloads, error) {
	if !filepath.IsAbs(cfg.RunDir) {
		return nil, fmt.Errorf("run directory %q is not absolute", cfg.RunDir)
	}
	if strings.ContainsAny(cfg.RunDir, "\n%\"'\\ ") {
		return nil, fmt.Errorf("run directory %q cannot be written into a unit file", cfg.RunDir)
	}
	return &Workloads{
		tree: tree(cmp.Or(cfg.Root, "/")), flag: filepath.Join(cfg.RunDir, "draining"), targetMax: cfg.TargetMax,
		running: cfg.Running,
	}, nil
}

// A Change is what was done to one file.
type Change struct {
	Path   string `json:"path"`             // without the root directory
	Action string `json:"action"`           // written, linked, removed or unchanged
	Target string `json:"target,omitempty"` // of a link
}

// A Result is what Adopt or Release did.
type Result struct {
	Unit string // the full name; an alias is followed to the unit that it names
	// Triggers are the units that were adopted or released with it, by name.
	Triggers []string
	Changes  []Change
	// Starts are the units that start with the target from now on, in the order
	// in which they can be started by hand, for Adopt only.
	Starts []string
	// Stop is how the unit stops from now on, for Adopt only.
	Stop Stop
	// Warnings are what will go wrong at the first drain, for Adopt only.
	Warnings []Warning
	// Notes are what a drain and a return to service mean for this unit, for
	// Adopt only.
	Notes []Warning
}

// Changed says whether anything was done at all.
func (r Result) Changed() bool {
	for _, c := range r.Changes {
		if c.Action != actionUnchanged {
			return true
		}
	}
	return false
}

// A Warning is something that the operator should know, and what to do about it.
type Warning struct {
	Message string `json:"message"`
	Fix     string `json:"fix,omitempty"` // a command
}

// What can happen to a file.
const (
	actionWritten   = "written"
	actionLinked    = "linked"
	actionRemoved   = "removed"
	actionUnchanged = "unchanged"
)

// ErrEdited says that a drop-in is not as Adopt wrote it.
var ErrEdited = errors.New("was edited by hand, or written by somebody else")

// A member is a unit that joins the target.
type member struct {
	*unit
	dropIn string // its text
	link   bool   // starts with the target
}

// Adopt makes a unit a workload, and a service's triggers with it. It may be
// called again, also with other settings. It refuses names that are not those of a
// workload, units that are not there, triggers that others need too and, unless
// forced, to replace a drop-in that it did not write; nothing is written then.
// When it returns another error, units may have their drop-ins already, but not
// their links.
func (w *Workloads) Adopt(name string, s Settings, force bool) (Result, error) {
	u, err := w.find(name)
	if err != nil {
		return Result{}, err
	}
	if err := s.validate(u.name); err != nil {
		return Result{}, err
	}
	members, notes, err := w.members(u, s)
	if err != nil {
		return Result{}, err
	}
	names := make([]string, len(members))
	for i, m := range members {
		names[i] = m.name
	}
	before, err := w.adoptedTriggers(u.name)
	if err != nil {
		return Result{}, fmt.Errorf("adopt %s: %w", u.name, err)
	}
	gone := slices.DeleteFunc(before, func(t string) bool { return slices.Contains(names, t) })
	if err := w.untouched("adopt", slices.Concat(names, gone), force); err != nil {
		return Result{}, err
	}
	res := Result{Unit: u.name, Triggers: names[1:], Notes: notes}
	if err := w.join(members, &res); err != nil {
		return Result{}, fmt.Errorf("adopt %s: %w", u.name, err)
	}
	if err := w.leave(gone, &res); err != nil { // no triggers of it any more
		return Result{}, fmt.Errorf("adopt %s: %w", u.name, err)
	}
	if u, err = w.load(u.name); err != nil { // again, with its new drop-in
		return Result{}, err
	}
	res.Stop, res.Warnings = u.stop(), w.warnings(u)
	return res, nil
}

// members are a unit and its triggers, with what is good to know about them.
func (w *Workloads) members(u *unit, s Settings) ([]member, []Warning, error) {
	known, err := w.survey()
	if err != nil {
		return nil, nil, fmt.Errorf("adopt %s: %w", u.name, err)
	}
	if isTrigger(u.name) {
		service := w.primary(u.starts())
		if why := known.forbids(u, service); why != "" {
			return nil, nil, refusal{u.name, why}
		}
		if !w.tree.exists(dropInPath(service)) {
			service = "" // adopted alone
		}
		return []member{{u, renderTrigger(w.flag, service), true}}, nil, nil
	}
	triggers, err := known.triggers(u)
	if err != nil {
		return nil, nil, err
	}
	list := []member{{u, s.render(w.flag), true}}
	for _, t := range triggers {
		list = append(list, member{t.unit, renderTrigger(w.flag, u.name), t.used})
	}
	return list, w.notes(u, triggers), nil
}

// untouched refuses unless the drop-ins of all units are as Adopt wrote them, or
// not there.
func (w *Workloads) untouched(verb string, names []string, force bool) error {
	for _, name := range names {
		path := dropInPath(name)
		text, err := w.tree.readFile(path)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			return fmt.Errorf("%s %s: %w", verb, name, err)
		case !genuine(text) && !force:
			return fmt.Errorf("%s %s: %s %w", verb, name, path, ErrEdited)
		}
	}
	return nil
}

// join writes the files of units: first all drop-ins, so that what is interrupted
// leaves units that stop with the target, not ones that only start with it.
func (w *Workloads) join(members []member, res *Result) error {
	for _, m := range members {
		c := Change{Path: dropInPath(m.name), Action: actionUnchanged}
		if old, err := w.tree.readFile(c.Path); err != nil || old != m.dropIn {
			if err := w.tree.writeFile(c.Path, m.dropIn); err != nil {
				return err
			}
			c.Action = actionWritten
		}
		res.Changes = append(res.Changes, c)
	}
	for _, m := range members {
		if !m.link {
			continue
		}
		c := Change{Path: linkPath(m.name), Action: actionUnchanged, Target: m.file}
		made, err := w.tree.link(m.file, c.Path)
		if err != nil {
			return err
		}
		if made {
			c.Action = actionLinked
		}
		res.Changes = append(res.Changes, c)
		res.Starts = append(res.Starts, m.name)
	}
	// A socket cannot be started once its service runs.
	slices.SortStableFunc(res.Starts, func(a, b string) int {
		return cmp.Compare(slices.Index(startOrder, path.Ext(a)), slices.Index(startOrder, path.Ext(b)))
	})
	return nil
}

var startOrder = []string{".socket", ".service", ".path", ".timer"}

// Release undoes Adopt and nothing else: it removes the links and the drop-ins of
// the unit and of the triggers that were adopted with it, and the directories that
// are empty then. A unit that was not adopted is left as it is. Unless forced it
// refuses a drop-in that Adopt did not write, and removes nothing then.
func (w *Workloads) Release(name string, force bool) (Result, error) {
	name, err := fullName(name)
	if err != nil {
		return Result{}, err
	}
	if u, err := w.load(name); err == nil { // it may have been uninstalled, which releases nothing
		name = u.name
	}
	triggers, err := w.adoptedTriggers(name)
	if err != nil {
		return Result{}, fmt.Errorf("release %s: %w", name, err)
	}
	names := append([]string{name}, triggers...)
	if err := w.untouched("release", names, force); err != nil {
		return Result{}, err
	}
	res := Result{Unit: name, Triggers: triggers}
	if err := w.leave(names, &res); err != nil {
		return Result{}, fmt.Errorf("release %s: %w", name, err)
	}
	return res, nil
}

// leave removes the files of units, and the links first: see join.
func (w *Workloads) leave(names []string, res *Result) error {
	for _, where := range []func(string) string{linkPath, dropInPath} {
		for _, name := range names {
			removed, err := w.tree.remove(where(name))
			if err != nil {
				return err
			}
			if removed {
				res.Changes = append(res.Changes, Change{Path: where(name), Action: actionRemoved})
			}
		}
	}
	return nil
}

// The states of a Workload.
const (
	StateAdopted   = "adopted"    // both files are there, as they should be
	StateEdited    = "edited"     // the drop-in is not as Adopt wrote it
	StateOutdated  = "outdated"   // the drop-in names another run directory
	StateOlder     = "older"      // the drop-in of a trigger is ordered after the target
	StateNoLink    = "no-link"    // the unit would not start again after a drain
	StateNoDropIn  = "no-drop-in" // the unit would not stop with the target
	StateNoTrigger = "no-trigger" // a unit that starts this one is not adopted
	StateNoUnit    = "no-unit"    // there is no such unit any more
)

// A Workload is a unit that was adopted, wholly or in part.
type Workload struct {
	Unit  string
	State string // one of the constants
	// With is the service that a trigger was adopted with; empty for others.
	With string
	// Missing are the triggers of StateNoTrigger, by name.
	Missing []string
	// Fix is the command that makes the state StateAdopted, with the settings
	// that the unit was adopted with; empty where it is that, or where somebody
	// has to look first.
	Fix string
	// Stop is how the files say that the unit stops; zero without a unit.
	Stop Stop
	// Warnings are as for Adopt.
	Warnings []Warning
}

// List returns the adopted units, by name. It needs to read /etc/systemd/system
// only, which every user can.
func (w *Workloads) List() ([]Workload, error) {
	entries, err := w.tree.readDir(unitDir)
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	names, err := w.tree.readDir(wantsDir)
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e, ".d"); ok && w.tree.exists(dropInPath(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	known, err := w.survey()
	if err != nil {
		return nil, fmt.Errorf("list workloads: %w", err)
	}
	var list []Workload
	for _, name := range slices.Compact(names) {
		if full, err := fullName(name); err == nil && full == name { // not what an editor left behind
			list = append(list, w.look(name, known))
		}
	}
	return list, nil
}

// look says how far a unit is adopted.
func (w *Workloads) look(name string, known *survey) Workload {
	one := Workload{Unit: name, State: StateAdopted}
	u, unitErr := w.load(name)
	var triggers []trigger
	linked := true // or has to be
	if unitErr == nil {
		one.Stop, one.Warnings = u.stop(), w.warnings(u)
		var err error
		if triggers, err = known.triggers(u); err != nil {
			one.Warnings = append(one.Warnings, Warning{Message: "it was adopted without what starts it, and would be refused now: " + reason(err)})
		}
	}
	text, err := w.tree.readFile(dropInPath(name))
	if isTrigger(name) {
		one.With = adoptedWith(text)
		if service := known.units[one.With]; unitErr == nil && service != nil {
			linked = known.used(u, service)
		}
	}
	for _, t := range triggers {
		if t.used && !w.tree.exists(dropInPath(t.name)) {
			one.Missing = append(one.Missing, t.name)
		}
	}
	switch {
	case unitErr != nil:
		one.State = StateNoUnit
	case err != nil:
		one.State = StateNoDropIn
	case !genuine(text):
		one.State = StateEdited
	case linked && !w.tree.exists(linkPath(name)):
		one.State = StateNoLink
	case !strings.Contains(text, conditionLine(w.flag)):
		one.State = StateOutdated
	case isTrigger(name) && strings.Contains(text, "\nAfter="):
		one.State = StateOlder
	case len(one.Missing) > 0:
		one.State = StateNoTrigger
	}
	one.Fix = w.fix(one, u)
	return one
}

// fix is the command that brings a workload into order.
func (w *Workloads) fix(one Workload, u *unit) string {
	switch one.State {
	case StateAdopted, StateEdited:
		return ""
	case StateNoUnit:
		return w.command("release", one.Unit)
	}
	if one.With != "" {
		if service, err := w.load(one.With); err == nil && w.tree.exists(dropInPath(service.name)) {
			u = service // brings the trigger again
		}
	}
	return w.adoptWith(u, Settings{})
}

func dropInPath(unit string) string { return unitDir + "/" + unit + ".d/" + dropInName }
func linkPath(unit string) string   { return wantsDir + "/" + unit }

// A Stop is how a unit stops, as its files say.
type Stop struct {
	// Timeout is TimeoutStopSec=: systemd's default where no file sets it,
	// Infinite when it was lifted, and 0 for types of unit that have none.
	Timeout time.Duration
	Signal  string // KillSignal=, SIGTERM where no file sets it; empty for types that have none
}

// Infinite is a timeout that was lifted.
const Infinite = systemd.Infinite
