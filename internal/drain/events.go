package drain

import (
	"maps"
	"slices"
)

// An eventMap remembers events, and in which order they were last mentioned.
type eventMap map[string]*event

type event struct {
	EventState
	age uint64
}

// update changes what is known of an event. An event without an ID is none.
func (m eventMap) update(id string, change func(*EventState)) {
	if id == "" {
		return
	}
	var newest uint64
	oldest := ""
	for other, s := range m {
		newest = max(newest, s.age)
		if oldest == "" || s.age < m[oldest].age {
			oldest = other
		}
	}
	s := m[id]
	if s == nil {
		if len(m) >= maxEvents {
			delete(m, oldest)
		}
		s = &event{}
		m[id] = s
	}
	s.age = newest + 1
	change(&s.EventState)
}

// forget drops what is known of a drain.
func (m eventMap) forget(drainID string) {
	for id, s := range m {
		if s.DrainID != drainID {
			continue
		}
		s.DrainID, s.Drained = "", ResultNone
		if s.EventState == (EventState{}) {
			delete(m, id)
		}
	}
}

// byAge returns the IDs, the longest unmentioned first.
func (m eventMap) byAge() []string {
	return slices.SortedFunc(maps.Keys(m), func(a, b string) int { return int(m[a].age) - int(m[b].age) })
}

func (m eventMap) states() map[string]EventState {
	c := make(map[string]EventState, len(m))
	for id, s := range m {
		c[id] = s.EventState
	}
	return c
}

// merge adds what a later boot knew.
func (s *EventState) merge(newer EventState) {
	if newer.DrainID != "" {
		s.DrainID, s.Drained = newer.DrainID, newer.Drained
	}
	if newer.Ack != "" && s.Ack != Acked {
		s.Ack = newer.Ack
	}
	s.Dismissed = s.Dismissed || newer.Dismissed
}
