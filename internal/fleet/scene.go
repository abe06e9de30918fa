package fleet

import (
	"fmt"
	"strings"
	"time"
)

// A scene is evidence as traps look at it: the scale sets of the file joined with
// those of Azure, and builds in one form wherever they stand.
type scene struct {
	now     time.Time
	spec    *Spec
	live    *Fleet
	sets    []*joinedSet
	builds  []build
	catalog catalog
	files   []SourceFile
}

// A joinedSet is a scale set in the file, in Azure or in both.
type joinedSet struct {
	name   string
	spec   *SetSpec
	models []*model // of the file and of Azure, as far as there are
	file   *model   // nil unless the file owns all of the set
	live   *model   // nil when it was not read, or does not exist
}

// A model is a scale set with what decides about it, in the file or in Azure.
// What looks at a ScaleSet alone does not ask which.
type model struct {
	*ScaleSet
	set       *joinedSet
	inAzure   bool
	autoscale *Autoscale
	read      *Set // in Azure only
	target    Target
}

// scene joins the evidence. With a file, sets that are not in it are none of its
// environment and are left out.
func (e *Evidence) scene() *scene {
	s := &scene{now: e.Now, spec: e.Spec, live: e.Live, files: e.Files}
	if e.Live != nil {
		s.catalog = e.Live.catalog()
	}
	if e.Spec != nil {
		s.joinFile()
	} else if e.Live != nil {
		for i := range e.Live.Sets {
			set := &e.Live.Sets[i]
			j := &joinedSet{name: set.Model.ID.Name()}
			j.add(s.liveModel(set))
			s.sets = append(s.sets, j)
		}
	}
	s.builds = builds(e)
	return s
}

func (s *scene) joinFile() {
	declared := Declared(s.spec)
	for _, name := range sortedKeys(s.spec.ScaleSets) {
		set := s.spec.ScaleSets[name]
		j := &joinedSet{name: name, spec: &set}
		if set.Manage == ManageFull { // these are declared, in the same order
			j.add(&model{ScaleSet: &declared[0].Model, autoscale: declared[0].Autoscale})
			declared = declared[1:]
		}
		if live := s.find(s.spec.SetID(name)); live != nil {
			j.add(s.liveModel(live))
		}
		s.sets = append(s.sets, j)
	}
}

// find returns the scale set that was read with this id.
func (s *scene) find(id ResourceID) *Set {
	if s.live == nil {
		return nil
	}
	for i := range s.live.Sets {
		if s.live.Sets[i].Model.ID.Same(id) {
			return &s.live.Sets[i]
		}
	}
	return nil
}

func (s *scene) liveModel(set *Set) *model {
	return &model{
		ScaleSet: &set.Model, inAzure: true, autoscale: set.Autoscale, read: set,
		target: s.catalog.target(&set.Model),
	}
}

func (j *joinedSet) add(m *model) {
	m.set = j
	j.models = append(j.models, m)
	if m.inAzure {
		j.live = m
	} else {
		j.file = m
	}
}

// driver says who upgrades the members, as the file has it; "" without a file.
func (j *joinedSet) driver() Driver {
	if j.spec == nil {
		return ""
	}
	return j.spec.Upgrade.Driver
}

// say makes a finding about the set of the model. The key is a place below the set's
// in the file, and counts where the file is looked at.
func (m *model) say(key, seen, fix string) Finding {
	f := Finding{Resource: Resource{Kind: kindSet, Name: m.set.name, ID: m.ID}, Live: m.inAzure, Seen: seen, Fix: fix}
	if !m.inAzure {
		f.Key = "scale_sets." + m.set.name
		if key != "" {
			f.Key += "." + key
		}
	}
	return f
}

// eachModel looks at every scale set, wherever it stands.
func eachModel(look func(*model) []Finding) func(*scene) []Finding {
	return func(s *scene) []Finding {
		var all []Finding
		for _, j := range s.sets {
			for _, m := range j.models {
				all = append(all, look(m)...)
			}
		}
		return all
	}
}

// eachLive looks at every scale set of Azure.
func eachLive(look func(*scene, *model) []Finding) func(*scene) []Finding {
	return func(s *scene) []Finding {
		var all []Finding
		for _, j := range s.sets {
			if j.live != nil {
				all = append(all, look(s, j.live)...)
			}
		}
		return all
	}
}

// members returns those that pass, of a set that was read.
func (m *model) members(pass func(*Member) bool) []*Member {
	if m.read == nil {
		return nil
	}
	var list []*Member
	for i := range m.read.Members {
		if member := &m.read.Members[i]; pass(member) {
			list = append(list, member)
		}
	}
	return list
}

// running are the members that run, or of which nothing else is known.
func (m *model) running() []*Member { return m.members((*Member).runs) }

func (m *Member) runs() bool { return !m.Vanished && (m.Power == Running || m.Power == "") }

// stale says that Azure calls the member's model old.
func (m *Member) stale() bool { return isFalse(m.LatestModel) }

func (m *Member) protected() bool { return m.ProtectScaleIn || m.ProtectSetActions }

// least is how few members may be judged by a threshold: those that run, or the
// minimum of autoscale; 0 when nobody said.
func (m *model) least() int {
	n := m.Capacity
	if m.read != nil && len(m.read.Members) > 0 {
		n = len(m.running())
	}
	if a := m.autoscale; a != nil && a.Enabled && a.Min > 0 {
		n = min(n, a.Min)
		if m.read == nil {
			n = a.Min // a set that exists keeps its capacity, one that is made gets this soon
		}
	}
	return n
}

// most is how many members there may be.
func (m *model) most() int {
	n := m.Capacity
	if a := m.autoscale; a != nil && a.Enabled {
		n = max(n, a.Max)
	}
	return n
}

// active says whether the platform upgrades the set at this moment.
func (m *model) active() bool { return m.read != nil && m.read.Rolling.Active() }

// one makes a list of one finding, or of none.
func one(f Finding) []Finding { return []Finding{f} }

// less lowers the severity of a finding.
func (f Finding) less(s Severity) Finding {
	f.Severity = s
	return f
}

// count returns "1 member" or "3 members".
func count(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// of returns "2 of 10 running members".
func of(n, all int) string {
	return fmt.Sprintf("%d of %s", n, count(all, "running member"))
}

// maxNames is how many names a message holds.
const maxNames = 3

// names lists the first names, and how many more there are.
func names(list []string) string {
	if len(list) <= maxNames {
		return strings.Join(list, ", ")
	}
	return fmt.Sprintf("%s and %d more", strings.Join(list[:maxNames], ", "), len(list)-maxNames)
}

func memberNames(list []*Member) string {
	all := make([]string, len(list))
	for i, m := range list {
		all[i] = m.Name
	}
	return names(all)
}

// minutes writes a time as Azure does where it is whole: PT30M.
func minutes(d time.Duration) string {
	if d%time.Minute == 0 {
		return fmt.Sprintf("PT%dM", d/time.Minute)
	}
	return fmt.Sprintf("PT%dS", d/time.Second)
}
