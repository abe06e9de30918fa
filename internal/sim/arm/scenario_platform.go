package arm

import (
	"fmt"
	"path"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/strict"
)

// platformSections are the keys of a scenario that say what the platform does by itself.
type platformSections struct {
	AutoOS           bool          `yaml:"auto_os_on_flexible" doc:"automatic OS upgrade is there for Flexible scale sets; without it, a write that turns it on is refused"`
	AutoOSDelay      age           `yaml:"auto_os_delay" doc:"how long a version is the newest one until automatic OS upgrade begins; 30m when it is not given"`
	Load             []loadSpec    `yaml:"load" doc:"what the members of scale sets have to do; autoscale acts on sets that have a load"`
	Reclaims         []reclaimSpec `yaml:"reclaims" doc:"waves in which the platform evicts Spot members"`
	Halts            []haltSpec    `yaml:"halts" doc:"rolling upgrades that the platform stops for reasons of its own"`
	PlatformUpgrades []windowSpec  `yaml:"platform_upgrades" doc:"times in which the platform upgrades its own agent on members, and refuses writes to them and to their set"`
}

type loadSpec struct {
	ScaleSet string   `yaml:"scale_set" required:"true" doc:"name of a set of this file"`
	At       age      `yaml:"at" doc:"from when on, since the start"`
	CPU      *float64 `yaml:"cpu" doc:"Percentage CPU, on average of all members; without it, there is no metric"`
}

type reclaimSpec struct {
	ScaleSet string `yaml:"scale_set" required:"true" doc:"name of a set of this file"`
	At       age    `yaml:"at" doc:"when, since the start"`
	Count    int    `yaml:"count" required:"true" doc:"how many members"`
}

type windowSpec struct {
	ScaleSet string `yaml:"scale_set" doc:"name of the scale set, such as vmss-*; without it, any"`
	At       age    `yaml:"at" doc:"when it begins, since the start"`
	For      age    `yaml:"for" required:"true" doc:"how long"`
}

type haltSpec struct {
	ScaleSet string `yaml:"scale_set" doc:"name of the scale set, such as vmss-*; without it, any"`
	Error    string `yaml:"error" required:"true" enum:"RollingUpgradeTimeoutError,InternalExecutionError" doc:"code of the error"`
	Batches  int    `yaml:"batches" doc:"after how many batches"`
	Count    int    `yaml:"count" doc:"how many upgrades; without it, all"`
}

// PlatformRules say what the platform does by itself.
type PlatformRules struct {
	// AutoOS says that automatic OS upgrade is there for Flexible scale sets.
	AutoOS bool
	// AutoOSDelay is how long a version is the newest one until it begins: 30 minutes.
	AutoOSDelay time.Duration
	// Upgrades are when the platform upgrades its own agent.
	Upgrades []UpgradeWindow
	Halts    []Halt
}

func (p *platformSections) platformRules() PlatformRules {
	rules := PlatformRules{AutoOS: p.AutoOS, AutoOSDelay: time.Duration(p.AutoOSDelay)}
	for _, w := range p.PlatformUpgrades {
		rules.Upgrades = append(rules.Upgrades, UpgradeWindow{Set: w.ScaleSet, After: time.Duration(w.At), For: time.Duration(w.For)})
	}
	for _, h := range p.Halts {
		rules.Halts = append(rules.Halts, Halt{Set: h.ScaleSet, Code: h.Error, Batches: h.Batches, Count: h.Count})
	}
	return rules
}

// checkPlatform collects what is wrong.
func (f *scenarioFile) checkPlatform(c *strict.Checker) {
	set := func(name string, at ...any) {
		for _, s := range f.ScaleSets {
			if strings.EqualFold(s.Name, name) {
				return
			}
		}
		c.Fail(fmt.Sprintf("there is no scale set %q in this file", name), at...)
	}
	if f.AutoOSDelay < 0 {
		c.Fail("it is not negative", "auto_os_delay")
	}
	for i, l := range f.Load {
		set(l.ScaleSet, "load", i, "scale_set")
		if l.At < 0 || l.CPU != nil && !(*l.CPU >= 0 && *l.CPU <= 100) {
			c.Fail("at is not negative, and cpu is 0 to 100", "load", i)
		}
	}
	for i, r := range f.Reclaims {
		set(r.ScaleSet, "reclaims", i, "scale_set")
		if r.At < 0 || r.Count < 0 {
			c.Fail("at and count are not negative", "reclaims", i)
		}
	}
	pattern := func(value string, at ...any) {
		if _, err := path.Match(value, ""); err != nil {
			c.Fail(fmt.Sprintf("%q is no pattern of names: write a name, or one with *, such as vmss-*", value), at...)
		}
	}
	for i, h := range f.Halts {
		pattern(h.ScaleSet, "halts", i, "scale_set")
		if h.Batches < 0 || h.Count < 0 {
			c.Fail("batches and count are not negative", "halts", i)
		}
	}
	for i, w := range f.PlatformUpgrades {
		pattern(w.ScaleSet, "platform_upgrades", i, "scale_set")
		if w.At < 0 || w.For < 0 {
			c.Fail("at and for are not negative", "platform_upgrades", i)
		}
	}
}

// platform schedules what happens to the scale sets of a file.
func (b *builder) platform() error {
	begin := func(name string, at age, what string, args object) error {
		args, err := normal(args)
		if err != nil {
			return err
		}
		for _, s := range b.file.ScaleSets {
			if strings.EqualFold(s.Name, name) {
				id := b.scope(s.place) + "/providers/" + setType + "/" + s.Name
				b.tx.schedule(b.tx.now.Add(time.Duration(at)), setType, id, what, args)
			}
		}
		return nil
	}
	for _, l := range b.file.Load {
		args := object{}
		given(args, "cpu", l.CPU)
		if err := begin(l.ScaleSet, l.At, "load", args); err != nil {
			return err
		}
	}
	for _, r := range b.file.Reclaims {
		if err := begin(r.ScaleSet, r.At, "reclaim", object{"count": r.Count}); err != nil {
			return err
		}
	}
	return nil
}
