package report

// notes are the plan's, and what a reader who was not there needs to know.
func (r *report) notes() {
	r.html("<ul>\n")
	if r.plan != nil {
		for _, n := range r.plan.Notes[:min(len(r.plan.Notes), maxNotes)] {
			r.el("li", n)
			r.html("\n")
		}
		r.leftOut()
		r.html("<li>A member is verified when it runs the version by its exact number and is Healthy within ")
		r.duration(r.plan.Limits.HealthyWithin)
		r.html(" of its upgrade, for ")
		r.duration(r.plan.Limits.HealthyFor)
		r.html(".</li>\n<li>Azure is read at least every ")
		r.duration(r.plan.Limits.ObserveEvery)
		r.html(": what happened in between is known from the activity log, or not at all.</li>\n")
	}
	r.html("<li>From and To are when fleetctl saw it, or when Azure says that a member was made.</li>\n")
	r.html("<li>All times are UTC. This page is as of ")
	r.time(r.v.At)
	r.html(", Azure was last read at ")
	r.time(r.v.Observed)
	r.html(".</li>\n<li>The page was made by fleetctl from the rollout’s journal. It asks nothing of any network.</li>\n</ul>\n")
}

// leftOut says which members no wave could take.
func (r *report) leftOut() {
	n := 0
	for i := range r.v.Sets {
		for _, l := range r.plan.Sets[r.v.Sets[i].Name].LeftOut {
			if n++; n <= maxNotes {
				r.html("<li>Left out: ")
				r.place(l.Set, l.Member)
				r.html(": ")
				r.text(l.Why)
				r.html("</li>\n")
			}
		}
	}
	if n > maxNotes {
		r.html("<li>Left out: ")
		r.number(n - maxNotes)
		r.html(" more.</li>\n")
	}
}
