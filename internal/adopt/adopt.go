// Package adopt answers: how does a workload's unit join what a drain stops, and
// how does it leave again?
//
// A unit joins by two files, which are all that this package ever writes:
//
//	/etc/systemd/system/UNIT.d/50-fleet.conf
//	/etc/systemd/system/fleet-serving.target.wants/UNIT -> the unit's file
//
// The drop-in has PartOf= (the unit stops with the target), After= (the target's
// stop waits for the unit, because systemd stops in reverse order), a condition
// that keeps the unit down while the node drains, and, if asked for, how long and
// by which signal it stops. The link lets the unit start with the target again.
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
}

// Workloads adopts and releases units. It keeps nothing in memory; concurrent
// calls for the same unit end with the files of one of them.
type Workloads struct {
	tree      tree
	flag      string // of the run directory
	targetMax time.Duration
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
	Unit    string // the full name; an alias is followed to the unit that it names
	Changes []Change
	// Stop is how the unit stops from now on, for Adopt only.
	Stop Stop
	// Warnings are what will go wrong at the first drain, for Adopt only.
	Warnings []Warning
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

// Adopt makes a unit a workload. It may be called again, also with other
// settings. It refuses names that are not those of a workload, units that are
// not there, and, unless forced, to replace a drop-in that it did not write. When it
// returns an error the unit may have its drop-in already, but not the link.
func (w *Workloads) Adopt(name string, s Settings, force bool) (Result, error) {
	u, err := w.find(name)
	if err != nil {
		return Result{}, err
	}
	if err := s.validate(u.name); err != nil {
		return Result{}, err
	}
	res := Result{Unit: u.name}
	text := s.render(w.flag)
	path := dropInPath(u.name)
	old, err := w.tree.readFile(path)
	switch {
	case err == nil && old == text:
		res.Changes = append(res.Changes, Change{Path: path, Action: actionUnchanged})
	case err == nil && !genuine(old) && !force:
		return Result{}, fmt.Errorf("adopt %s: %s %w", u.name, path, ErrEdited)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Result{}, fmt.Errorf("adopt %s: %w", u.name, err)
	default:
		if err := w.tree.writeFile(path, text); err != nil {
			return Result{}, fmt.Errorf("adopt %s: %w", u.name, err)
		}
		res.Changes = append(res.Changes, Change{Path: path, Action: actionWritten})
	}
	link := Change{Path: linkPath(u.name), Action: actionUnchanged, Target: u.file}
	made, err := w.tree.link(u.file, link.Path)
	if err != nil {
		return Result{}, fmt.Errorf("adopt %s: %w", u.name, err)
	}
	if made {
		link.Action = actionLinked
	}
	res.Changes = append(res.Changes, link)
	if u, err = w.load(u.name); err != nil { // again, with its new drop-in
		return Result{}, err
	}
	res.Stop, res.Warnings = u.stop(), w.warnings(u)
	return res, nil
}

// Release undoes Adopt and nothing else: it removes the link and the drop-in,
// and the directories that are empty then. A unit that was not adopted is left as it is. Unless
// forced it refuses a drop-in that Adopt did not write.
func (w *Workloads) Release(name string, force bool) (Result, error) {
	name, err := fullName(name)
	if err != nil {
		return Result{}, err
	}
	if u, err := w.load(name); err == nil { // it may have been uninstalled, which releases nothing
		name = u.name
	}
	res := Result{Unit: name}
	path := dropInPath(name)
	text, err := w.tree.readFile(path)
	switch {
	case err == nil && !genuine(text) && !force:
		return Result{}, fmt.Errorf("release %s: %s %w", name, path, ErrEdited)
	case err != nil && !errors.Is(err, fs.ErrNotExist):
		return Result{}, fmt.Errorf("release %s: %w", name, err)
	}
	// The link first: what is interrupted leaves a unit that stops with the
	// target, not one that only starts with it.
	for _, path := range []string{linkPath(name), path} {
		removed, err := w.tree.remove(path)
		if err != nil {
			return Result{}, fmt.Errorf("release %s: %w", name, err)
		}
		if removed {
			res.Changes = append(res.Changes, Change{Path: path, Action: actionRemoved})
		}
	}
	return res, nil
}

// The states of a Workload.
const (
	StateAdopted  = "adopted"    // both files are there, as they should be
	StateEdited   = "edited"     // the drop-in is not as Adopt wrote it
	StateOutdated = "outdated"   // the drop-in names another run directory
	StateNoLink   = "no-link"    // the unit would not start again after a drain
	StateNoDropIn = "no-drop-in" // the unit would not stop with the target
	StateNoUnit   = "no-unit"    // there is no such unit any more
)

// A Workload is a unit that was adopted, wholly or in part.
type Workload struct {
	Unit  string
	State string // one of the constants
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
	var list []Workload
	for _, name := range slices.Compact(names) {
		if full, err := fullName(name); err == nil && full == name { // not what an editor left behind
			list = append(list, w.look(name))
		}
	}
	return list, nil
}

// look says how far a unit is adopted.
func (w *Workloads) look(name string) Workload {
	one := Workload{Unit: name, State: StateAdopted}
	u, unitErr := w.load(name)
	if unitErr == nil {
		one.Stop, one.Warnings = u.stop(), w.warnings(u)
	}
	text, err := w.tree.readFile(dropInPath(name))
	switch {
	case unitErr != nil:
		one.State = StateNoUnit
	case err != nil:
		one.State = StateNoDropIn
	case !genuine(text):
		one.State = StateEdited
	case !w.tree.exists(linkPath(name)):
		one.State = StateNoLink
	case !strings.Contains(text, conditionLine(w.flag)):
		one.State = StateOutdated
	}
	return one
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
