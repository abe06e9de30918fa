package rollout

// need is how many members of a set must stand for a wave.
func (m *machine) need(w *Wave, set string) int {
	takeable := 0
	for _, member := range m.members[set] {
		if untakeable(member) == "" {
			takeable++
		}
	}
	if w.partial() {
		return min(w.Instances, takeable)
	}
	return min(1, takeable)
}

// serving are the members of a set that stand for the version, by memberKey.
func (m *machine) serving(set string) []string {
	var list []string
	for _, name := range m.on[set] {
		key := memberKey(set, name)
		if r := m.s.Runs[key]; r.serves() {
			list = append(list, key)
		}
	}
	return list
}

func (m *machine) evidence(w *Wave) []string {
	var list []string
	for _, set := range w.Sets {
		list = append(list, m.serving(set)...)
	}
	return list
}

// empty says whether a wave has nobody to stand for it.
func (m *machine) empty(w *Wave) bool { return len(m.evidence(w)) == 0 }

// evidenceFell says whether a wave that soaks has lost members that it needs.
func (m *machine) evidenceFell(w *Wave) bool {
	for _, set := range w.Sets {
		if m.seen(set) == nil {
			return false // not known
		}
		on := 0
		for _, name := range m.on[set] {
			if r := m.s.Runs[memberKey(set, name)]; r.Failed == "" {
				on++
			}
		}
		if on < m.need(w, set) {
			return true
		}
	}
	return false
}
