package report

import (
	"slices"
	"time"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// who is a member of a set.
type who struct{ set, member string }

// reached counts the members that ever ran the version.
func reached(list []rollout.Ran) int {
	seen := make(map[who]bool, len(list))
	for i := range list {
		seen[who{list[i].Set, list[i].Member}] = true
	}
	return len(seen)
}

// running counts the times that have no end.
func running(list []rollout.Ran) int {
	n := 0
	for i := range list {
		if list[i].To.IsZero() {
			n++
		}
	}
	return n
}

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
	r.count(reached(v.Ran), "member")
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
		row := []func(){
			func() { r.name(ran.Member) },
			func() { r.name(ran.Set) },
			func() { r.time(ran.From) },
			func() { r.to(ran.To) },
			func() { r.duration(max(0, r.end(ran).Sub(ran.From))) },
			func() { r.because(ran) },
		}
		if why {
			row = append(row, func() { r.failed(ran.Failed) })
		}
		if node {
			row = append(row, optional(ran.Node, r.said))
		}
		t.row(class, row...)
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

func (r *report) to(t time.Time) {
	if t.IsZero() {
		r.html("runs it")
		return
	}
	r.time(t)
}

func (r *report) because(ran *rollout.Ran) {
	r.text(ran.Why)
	if ran.Ended != "" {
		r.html("; ")
		r.text(ran.Ended)
	}
	if ran.Unseen {
		r.html(" (gone before it was seen on the version: it may have run it)")
	}
}

func (r *report) failed(why string) {
	if why != "" {
		r.html(`<span aria-hidden="true">✗</span> `)
		r.text(why)
	}
}

// optional writes a text, if there is one.
func optional(text string, write func(string)) func() {
	if text == "" {
		return nil
	}
	return func() { write(text) }
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
	rows := append(failed, others...)
	return slices.Sorted(slices.Values(rows[:min(len(rows), maxRan)]))
}
