package report

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// who is a member of a set.
type who struct{ set, member string }

// end is when a member ceased to run the version, or the moment that is shown.
func (r *report) end(ran *rollout.Ran) time.Time {
	if ran.To.IsZero() {
		return r.v.At
	}
	return ran.To
}

// blast lists each time that a member ran the version.
func (r *report) blast() {
	v := r.v
	if len(v.Ran) == 0 {
		r.html("<p>No member ever ran the version.</p>\n")
		return
	}
	failed := make(map[who]bool)
	for i := range v.Ran {
		if v.Ran[i].Failed != "" {
			failed[who{v.Ran[i].Set, v.Ran[i].Member}] = true
		}
	}
	r.html("<p>")
	ever, _ := rollout.Reached(v.Ran)
	r.count(ever, "member")
	r.html(" ever ran the version; ")
	if len(failed) == 0 {
		r.html("none failed.</p>\n")
	} else {
		r.number(len(failed))
		r.html(" failed.</p>\n")
	}
	why, node := len(failed) > 0, slices.ContainsFunc(v.Ran, func(ran rollout.Ran) bool { return ran.Node != "" })
	heads := []markup{"Member", "Scale set", "From", "To", "Time", "Why, and how it ended"}
	if why {
		heads = append(heads, "Failed")
	}
	if node {
		heads = append(heads, "The node’s own words")
	}
	t := r.table("Every member that ever ran the version", heads...)
	for _, i := range chosen(v.Ran) {
		ran := &v.Ran[i]
		class := markup("")
		if ran.Failed != "" {
			class = bad
		}
		t.row(class)
		t.cell().name(ran.Member)
		t.cell().name(ran.Set)
		t.cell().time(ran.From)
		if t.cell(); ran.To.IsZero() {
			r.html("runs it")
		} else {
			r.time(ran.To)
		}
		t.cell().duration(max(0, r.end(ran).Sub(ran.From)))
		t.cell().text(ran.Why)
		if ran.Ended != "" {
			r.html("; ")
			r.text(ran.Ended)
		}
		if ran.Unseen {
			r.html(" (gone before it was seen on the version: it may have run it)")
		}
		if why {
			if t.cell(); ran.Failed != "" {
				r.html(`<span aria-hidden="true">✗</span> `)
				r.text(ran.Failed)
			}
		}
		if node {
			t.cell().said(ran.Node)
		}
	}
	t.end()
	if len(v.Ran) > maxRan {
		r.html(`<p class="note">`)
		r.number(maxRan)
		r.html(" of ")
		r.number(len(v.Ran))
		r.html(" rows are shown, those of members that failed before any other; <code>fleetctl rollout show -o json</code> has them all.</p>\n")
	}
}

// chosen are the rows that are shown: all, or those that failed and the first of the
// others, in their order.
func chosen(list []rollout.Ran) []int {
	var failed, others []int
	for i := range list {
		if list[i].Failed != "" {
			failed = append(failed, i)
		} else {
			others = append(others, i)
		}
	}
	rows := slices.Concat(failed, others)
	return slices.Sorted(slices.Values(rows[:min(len(rows), maxRan)]))
}
