package roll

import (
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// windowAt says whether the window of a file is open, and when it opens next. One that
// cannot be understood is closed.
func windowAt(spec *fleet.Spec, now time.Time) (open bool, opens time.Time) {
	if spec.Rollout == nil || spec.Rollout.Gates.Window == nil {
		return true, time.Time{} // taken out of the file since
	}
	w := spec.Rollout.Gates.Window
	zone, err := time.LoadLocation(w.Timezone)
	if err != nil {
		return false, time.Time{}
	}
	from, err1 := time.Parse("15:04", w.From)
	to, err2 := time.Parse("15:04", w.To)
	if err1 != nil || err2 != nil {
		return false, time.Time{}
	}
	local := now.In(zone)
	// A window that goes over midnight began yesterday; the next one opens within a week.
	for days := -1; days <= 7; days++ {
		begins := at(local, days, from)
		ends := at(local, days, to)
		if !ends.After(begins) {
			ends = at(local, days+1, to)
		}
		if len(w.Days) > 0 && !slices.Contains(w.Days, strings.ToLower(begins.Weekday().String()[:3])) {
			continue
		}
		switch {
		case !now.Before(begins) && now.Before(ends):
			return true, begins
		case begins.After(now):
			return false, begins
		}
	}
	return false, time.Time{}
}

// at is a time of day, some days from the day of local on, by the clock on the wall.
func at(local time.Time, days int, clock time.Time) time.Time {
	return time.Date(local.Year(), local.Month(), local.Day()+days, clock.Hour(), clock.Minute(), 0, 0, local.Location())
}
