package fleet

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// A Hold is what a rollout keeps others from changing until nothing is left for it to
// do: its version, the versions that it goes back to, and its scale sets. A nil Hold
// holds nothing.
type Hold struct {
	ID         string // of the rollout
	Definition ResourceID
	Version    string
	Sets       []HeldSet
	Phase      string    // in the rollout's words: "rolling"
	Since      time.Time // of the phase
	Left       bool      // it has ended, and left something that it takes up when it can
	By         string    // who is at work on it just now; empty: nobody
}

// A HeldSet is a scale set of a rollout.
type HeldSet struct {
	ID       ResourceID
	Location string
	LastGood string // the version that it goes back to; empty: none
}

// String is the rollout as it is told: "rollout 7 of 1.7.0 is rolling since 2026-03-05
// 14:00 UTC".
func (h *Hold) String() string {
	text := fmt.Sprintf("rollout %s of %s is %s since %s", h.ID, h.Version, h.Phase, h.Since.UTC().Format("2006-01-02 15:04 UTC"))
	if h.By != "" {
		text += "; " + h.By
	}
	return text
}

// hint is what to do about a rollout that is in the way.
func (h *Hold) hint() string {
	if h.Left {
		return "fleetctl rollout status lists what is left; fleetctl rollout advance takes it up when it can be reached"
	}
	return "fleetctl rollout status shows it; fleetctl rollout abort ends it and takes its version back"
}

// refuse is a refusal because of the rollout.
func (h *Hold) refuse(reason string) error {
	return &RefusedError{Reasons: []string{h.String(), reason}, Hint: h.hint()}
}

// Release refuses a promotion or a demotion of the rollout's own version, and one that
// changes what is latest for a scale set of the rollout. What has ended and left
// something keeps its version from being promoted, and nothing else.
func (h *Hold) Release(view *ReleaseView) error {
	if h == nil || !h.version(view.ID.Name()).Same(view.ID) { // of another image
		return nil
	}
	promote := view.Action == ActionPromote
	if view.Name == h.Version {
		switch {
		case promote:
			return h.refuse("a rollout promotes its version itself, when its last wave is done")
		case !h.Left:
			return h.refuse("to demote its version would not stop it, nor take any member back")
		}
		return nil
	}
	for i := range view.Regions {
		r := &view.Regions[i]
		if h.Left || r.Before == r.After {
			continue
		}
		if name := h.tracking(r); name != "" {
			return h.refuse(fmt.Sprintf("%s follows what is latest in %s, which this would change", name, r.Name))
		}
	}
	return nil
}

// version is the id of a version of the rollout's image.
func (h *Hold) version(name string) ResourceID {
	return h.Definition + ResourceID("/versions/"+name)
}

// tracking names a scale set of the rollout that follows the latest of a region; empty:
// none does.
func (h *Hold) tracking(r *ReleaseRegion) string {
	for _, s := range h.Sets {
		for _, name := range r.Tracking {
			if strings.EqualFold(name, s.ID.Name()) && NormalLocation(s.Location) == r.Name {
				return name
			}
		}
	}
	return ""
}

// needs says what the rollout needs a version of a definition for; empty: nothing.
func (h *Hold) needs(definition ResourceID, version string) string {
	switch {
	case h == nil || !h.Definition.Same(definition):
		return ""
	case version == h.Version:
		return fmt.Sprintf("rollout %s brings it", h.ID)
	case slices.ContainsFunc(h.Sets, func(s HeldSet) bool { return s.LastGood == version }):
		return fmt.Sprintf("rollout %s goes back to it", h.ID)
	}
	return ""
}

// Holds says whether the rollout holds a resource: one of its scale sets or something
// below one, or its version.
func (h *Hold) Holds(id ResourceID) bool {
	if h == nil {
		return false
	}
	under := func(held ResourceID) bool {
		return len(id) >= len(held) && held.Same(id[:len(held)]) && (len(id) == len(held) || id[len(held)] == '/')
	}
	return under(h.version(h.Version)) || slices.ContainsFunc(h.Sets, func(s HeldSet) bool { return under(s.ID) })
}

// Hold marks the version of a rollout in a view of images.
func (view *ImagesView) Hold(h *Hold) {
	if h == nil {
		return
	}
	for i := range view.Definitions {
		d := &view.Definitions[i]
		for j := range d.Versions {
			if v := &d.Versions[j]; d.ID.Same(h.Definition) && v.Name == h.Version && !h.Left {
				v.Rollout = h.ID
			}
		}
	}
}
