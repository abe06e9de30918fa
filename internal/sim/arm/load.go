package arm

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Autoscale acts on the scale sets that a scenario gives a load. Hidden in a set are
// under
//
//	load      what Percentage CPU was, on average of all members: at, cpu
//	scaledAt  when autoscale has changed the capacity last

// scaleEvery is how often autoscale looks, and maxLoad how many values are remembered.
const (
	scaleEvery = time.Minute
	maxLoad    = 100
)

// loaded gives a scale set another load; without a cpu there is no metric any more.
func (tx *txn) loaded(setID string, args object) {
	if tx.get(setID) == nil {
		return
	}
	value := object{"at": stamp(tx.now)}
	if cpu := args["cpu"]; cpu != nil {
		value["cpu"] = cpu
	}
	tx.editHidden(setID, func(hidden object) {
		list, _ := hidden["load"].([]any)
		list = append(slices.Clone(list), any(value))
		hidden["load"] = list[max(len(list)-maxLoad, 0):]
	})
	tx.watchLoad(setID)
}

// watchLoad begins to look at the load of a set, if it has any.
func (tx *txn) watchLoad(setID string) {
	if r := tx.get(setID); r != nil && r.Hidden["load"] != nil {
		tx.unschedule(setID, "autoscale")
		tx.schedule(tx.now.Add(scaleEvery), setType, setID, "autoscale", nil)
	}
}

// settingOf is the autoscale setting of a set that is on, or nil.
func (tx *txn) settingOf(setID string) *resource {
	for _, r := range tx.list(autoscaleType, "/subscriptions/"+tx.server.cfg.Subscription) {
		if boolean(r.Body, "properties.enabled") && key(str(r.Body, "properties.targetResourceUri")) == key(setID) {
			return r
		}
	}
	return nil
}

// average is the mean of a set's Percentage CPU over a span until now; ok is false when
// nothing was measured.
func average(r *resource, now time.Time, span time.Duration) (mean float64, ok bool) {
	list := items(r.Hidden, "load")
	var sum, weight float64
	until := now
	for _, value := range slices.Backward(list) {
		at, _ := time.Parse(time.RFC3339Nano, str(value, "at")) // we wrote it
		from := at
		if begin := now.Add(-span); from.Before(begin) {
			from = begin
		}
		if d := until.Sub(from).Seconds(); d > 0 {
			if cpu, measured := number(value, "cpu"); measured {
				sum, weight = sum+cpu*d, weight+d
			}
			until = from
		}
	}
	if weight == 0 {
		return 0, false
	}
	return sum / weight, true
}

// autoscale is what autoscale does every minute while something may change: it keeps the
// capacity within its bounds, and follows the first rule that holds. To scale out goes
// before to scale in, as in Azure.
func (tx *txn) autoscale(setID string, _ object) {
	r := tx.get(setID)
	if r == nil {
		return
	}
	setting := tx.settingOf(setID)
	if setting == nil {
		return // whoever writes one begins anew
	}
	profiles := items(setting.Body, "properties.profiles")
	if len(profiles) == 0 {
		return
	}
	p := profiles[0]
	has := capacityOf(r.Body)
	want, again := tx.wanted(r, p, has)
	want = min(max(want, bound(p, "minimum")), bound(p, "maximum"))
	if want != has {
		tx.scaleTo(r, setting, want)
		again = true
	}
	if again && !tx.waits(setID, "autoscale") {
		tx.schedule(tx.now.Add(scaleEvery), setType, setID, "autoscale", nil)
	}
}

// waits says whether something is scheduled for a resource.
func (tx *txn) waits(id, name string) bool {
	return slices.ContainsFunc(tx.store.Agenda, func(d due) bool { return key(d.ID) == key(id) && d.Name == name })
}

func bound(p object, name string) int {
	n, _ := strconv.Atoi(str(p, "capacity."+name)) // it was checked
	return n
}

// wanted is the capacity that the rules of a profile want, and whether that may be another
// one in a minute though nothing is written.
func (tx *txn) wanted(r *resource, p object, has int) (want int, again bool) {
	known := false
	for _, direction := range []string{"Increase", "Decrease"} {
		for _, rule := range items(p, "rules") {
			if str(rule, "scaleAction.direction") != direction || str(rule, "metricTrigger.metricName") != "Percentage CPU" {
				continue
			}
			window, _ := parseISO(str(rule, "metricTrigger.timeWindow"))
			mean, ok := average(r, tx.now, window)
			known = known || ok
			again = again || moving(r, tx.now, window)
			if !ok || !holdsFor(rule, mean) {
				continue
			}
			to := scaled(rule, has)
			if to = min(max(to, bound(p, "minimum")), bound(p, "maximum")); to == has {
				continue // it is at its bound
			}
			cooldown, _ := parseISO(str(rule, "scaleAction.cooldown"))
			if at, err := time.Parse(time.RFC3339Nano, str(r.Hidden, "scaledAt")); err == nil && tx.now.Before(at.Add(cooldown)) {
				return has, true
			}
			return to, true
		}
	}
	if !known && !again && has < bound(p, "default") {
		return bound(p, "default"), false // no metric
	}
	return has, again
}

// moving says whether a mean still changes because the load has changed within its span.
func moving(r *resource, now time.Time, span time.Duration) bool {
	list := items(r.Hidden, "load")
	at, err := time.Parse(time.RFC3339Nano, str(list[len(list)-1], "at"))
	return err == nil && now.Before(at.Add(span))
}

// holdsFor compares a mean with a rule's threshold.
func holdsFor(rule object, mean float64) bool {
	threshold, _ := number(rule, "metricTrigger.threshold")
	switch str(rule, "metricTrigger.operator") {
	case "GreaterThan":
		return mean > threshold
	case "GreaterThanOrEqual":
		return mean >= threshold
	case "LessThan":
		return mean < threshold
	case "LessThanOrEqual":
		return mean <= threshold
	}
	return false
}

// scaled is the capacity that a rule leads to.
func scaled(rule object, has int) int {
	n, _ := strconv.Atoi(str(rule, "scaleAction.value"))
	switch str(rule, "scaleAction.type") {
	case "ExactCount":
		return n
	case "PercentChangeCount":
		n = max(1, has*n/100)
	}
	if str(rule, "scaleAction.direction") == "Decrease" {
		n = -n
	}
	return has + n
}

// scaleTo writes a set's capacity as autoscale does. A write that is refused is tried
// again with the next look.
func (tx *txn) scaleTo(r, setting *resource, n int) {
	direction := "Scaleup"
	if n < capacityOf(r.Body) {
		direction = "Scaledown"
	}
	c := &call{
		Method: http.MethodPatch, ID: r.ID, Target: mustParse(r.ID), Header: http.Header{}, APIVersion: "2026-04-01",
		Body: object{"sku": object{"capacity": whole(n)}},
	}
	by := tx.by
	tx.by = autoscaler
	defer func() { tx.by = by }()
	err := attempt(tx, func(tx *txn) error {
		if err := tx.blocked(c); err != nil {
			return err
		}
		_, err := tx.server.patchResource(tx, c, tx.server.kind(setType))
		return err
	})
	if err != nil {
		return
	}
	tx.editHidden(r.ID, func(hidden object) { hidden["scaledAt"] = stamp(tx.now) })
	tx.note(event{Operation: "Microsoft.Insights/AutoscaleSettings/" + direction + "/Action", Caller: autoscaler, Resource: setting.ID, Category: "Autoscale"})
	tx.note(event{Operation: setType + "/write", Caller: autoscaler, Resource: r.ID})
}

// targetOf is the scale set that an autoscale setting is for.
func targetOf(setting object) string {
	return strings.TrimSpace(str(setting, "properties.targetResourceUri"))
}
