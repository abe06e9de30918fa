package arm

import (
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/sim/steer"
)

// A happening is something that the platform does to a scale set now: what a scenario
// says under load, reclaims and platform_upgrades for a time.
type happening struct {
	ScaleSet        string     `json:"scale_set"` // its name
	Load            *float64   `json:"load"`      // Percentage CPU, on average of all members
	Reclaim         int        `json:"reclaim"`   // so many Spot members are evicted
	PlatformUpgrade steer.Span `json:"platform_upgrade"`
}

func (h *happening) check() error {
	n := 0
	for _, given := range []bool{h.Load != nil, h.Reclaim != 0, h.PlatformUpgrade != 0} {
		if given {
			n++
		}
	}
	switch {
	case n != 1:
		return errors.New("it is one of load, reclaim and platform_upgrade")
	case h.Load != nil && !(*h.Load >= 0 && *h.Load <= 100), h.Reclaim < 0, h.PlatformUpgrade < 0:
		return errors.New("load is 0 to 100, and nothing is negative")
	}
	return nil
}

// happen lets it happen.
func (h *happening) happen(tx *txn) error {
	sets := tx.list(setType, "/subscriptions/"+tx.server.cfg.Subscription)
	i := slices.IndexFunc(sets, func(r *resource) bool { return strings.EqualFold(r.name(), h.ScaleSet) })
	if i < 0 {
		return fmt.Errorf("there is no scale set %q", h.ScaleSet)
	}
	id := sets[i].ID
	switch {
	case h.Load != nil:
		args, err := normal(object{"cpu": *h.Load})
		if err != nil {
			return err
		}
		tx.loaded(id, args)
	case h.Reclaim > 0:
		tx.reclaim(id, object{"count": whole(h.Reclaim)})
	default:
		until := stamp(tx.now.Add(time.Duration(h.PlatformUpgrade)))
		tx.editHidden(id, func(hidden object) { hidden["upgrading"] = until })
	}
	return nil
}

func (s *Server) controlHappen(w http.ResponseWriter, r *http.Request) {
	var h happening
	err := steer.Decode(w, r, &h)
	if err == nil {
		err = h.check()
	}
	if err == nil {
		err = s.within(h.happen)
	}
	if err != nil {
		err = fmt.Errorf("let it happen: %w", err)
	}
	replyEmpty(w, err)
}
