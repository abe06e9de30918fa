package fleetfile

import (
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

func (v *validator) rollout(r *fleet.RolloutSpec) {
	if v.Gallery == nil && !v.given("gallery") {
		v.fail("rollout", "add gallery: {name: …, image: {…}}", "has no gallery whose versions it could roll out")
	}
	if len(r.Waves) == 0 && v.given("rollout.waves") {
		v.fail("rollout.waves", "write [{name: all, scale_sets: [NAME], soak: 1h}]", "must not be empty")
	}
	names := uniqueNames{v: v, word: "wave"}
	before := make(map[string]string) // the first wave of a set
	for i := range r.Waves {
		path := item("rollout.waves", i)
		names.add(path, r.Waves[i].Name)
		v.wave(path, &r.Waves[i], before)
	}
	gates := uniqueNames{v: v, word: "gate"}
	for i, p := range r.Gates.Prometheus {
		gates.add(item("rollout.gates.prometheus", i), p.Name)
	}
	if w := r.Gates.Window; w != nil && w.From == w.To && w.From != "" {
		v.fail("rollout.gates.window.to", "write another time, or remove the window", "is the time at which it opens")
	}
}

// wave checks one wave. A set whose members the platform picks stands in one wave,
// whole.
func (v *validator) wave(path string, w *fleet.WaveSpec, before map[string]string) {
	for i, name := range w.ScaleSets {
		at := item(path+".scale_sets", i)
		if name == "" || !v.known(at, name) {
			continue
		}
		set := v.ScaleSets[name]
		driver := set.Upgrade.Driver
		first, again := before[name]
		switch {
		case set.Manage == fleet.ManageObserve:
			v.fail(at, "write manage: image in the set, or leave it out", "%s is only observed", name)
		case again && driver.Platform():
			v.fail(at, "leave one of them out, or use the driver batches", "%s is in the wave %s already, and with the driver %s it goes whole", name, first, driver)
		case w.Instances > 0 && driver.Platform():
			v.fail(path+".instances", "remove it, or use the driver batches", "cannot be chosen for %s: with the driver %s it goes whole", name, driver)
		}
		if !again {
			before[name] = w.Name
		}
	}
}
