package drain

// keep returns the entries that the state still rests on, in order: folding them
// gives the state that all of them gave.
func keep(entries []Entry, state *fold) []Entry {
	drains := make(map[string]bool)
	for _, r := range state.records {
		drains[r.ID] = true
	}
	// Of entries that replace each other, only the last one matters.
	last := make(map[string]int)
	for i, e := range entries {
		if key := replaces(e); key != "" {
			if before, ok := last[key]; !ok || entries[before].Kind != Acked {
				last[key] = i
			}
		}
	}
	var kept []Entry
	for i, e := range entries {
		var matters bool
		switch e.Kind {
		case DrainStarted, CauseJoined, StepStarted, StepFinished, DrainFinished, UndrainStarted, UndrainFinished:
			matters = drains[e.DrainID]
		case AckIntended, Acked, AckFailed, EventDismissed:
			matters = last[replaces(e)] == i && (state.events[e.EventID] != nil || state.previous[e.EventID] != nil)
		case BootSeen:
			matters = last[replaces(e)] == i && state.bootSeen
		case NameSeen:
			matters = last[replaces(e)] == i && state.name != ""
		case MaintenanceOn, VMSeen:
			matters = last[replaces(e)] == i
		case MaintenanceOff: // without the entry that it ends, there is nothing to end
		}
		if matters {
			kept = append(kept, e)
		}
	}
	return kept
}

// replaces names what an entry is the newest word on; empty for an entry that
// replaces none.
func replaces(e Entry) string {
	switch e.Kind {
	case VMSeen, NameSeen, BootSeen:
		return string(e.Kind)
	case MaintenanceOn, MaintenanceOff:
		return "maintenance"
	case AckIntended, Acked, AckFailed:
		return "ack " + e.Boot + " " + e.EventID
	case EventDismissed:
		return "dismissed " + e.Boot + " " + e.EventID
	default:
		return ""
	}
}
