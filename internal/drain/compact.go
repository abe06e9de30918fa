package drain

import (
	"fmt"
	"path/filepath"
)

// compact replaces the file by one with the entries that matter. The old file
// stays in place until the new one is durable.
func (j *Journal) compact() error {
	kept := keep(j.entries, j.state)
	var buf []byte
	var err error
	for _, e := range kept {
		if buf, err = encode(buf, e); err != nil {
			return err
		}
	}
	scratch := filepath.Join(j.cfg.Dir, scratchName)
	if err := j.replace(scratch, buf); err != nil {
		_ = j.files.Remove(scratch) // the next attempt truncates it anyway
		return fmt.Errorf("compact: %w", err)
	}
	// From here the path may name either file after a crash, and the open
	// descriptor is of the old one: nothing is durable until the directory is.
	j.rewrite = true
	_ = j.closeFile() // nothing was written to it that is missing in the new one
	if err := j.files.SyncDir(j.cfg.Dir); err != nil {
		return fmt.Errorf("compact: sync the directory: %w", err)
	}
	j.entries, j.durable = kept, len(kept)
	j.size = int64(len(buf))
	j.limit = max(compactAbove, 2*j.size) // what is left matters: do not try again at once
	if err := j.open(); err != nil {
		return err
	}
	j.rewrite, j.torn = false, false
	return nil
}

// replace writes the scratch file and puts it in the place of the journal.
func (j *Journal) replace(scratch string, data []byte) error {
	f, err := j.files.Create(scratch)
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if err == nil {
		err = f.Sync()
	}
	if cerr := f.Close(); err == nil {
		err = cerr
	}
	if err != nil {
		return err
	}
	return j.files.Rename(scratch, j.path)
}

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
	case VMSeen, BootSeen:
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
