package report

import (
	"cmp"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// cells are how members are drawn. Each has a glyph of its own.
var cells = map[rollout.Cell]look{
	rollout.CellFailed:    {bad, "✗", "failed on the version"},
	rollout.CellGone:      {bad, "○", "ran the version, and is not there or does not run"},
	rollout.CellUpgrading: {busy, "↑", "is being upgraded, or taken back"},
	rollout.CellVerifying: {busy, "…", "on the version, not verified yet"},
	rollout.CellVerified:  {good, "✓", "on the version, verified"},
	rollout.CellUnhealthy: {bad, "!", "on another version, not Healthy"},
	rollout.CellStarting:  {busy, "+", "on another version, being made or started"},
	rollout.CellStopped:   {warning, "■", "on another version, does not run"},
	rollout.CellReturned:  {warning, "↩", "ran the version, and runs another one again, Healthy"},
	rollout.CellOther:     {quiet, "·", "on another version, Healthy"},
	rollout.CellUnknown:   {warning, "?", "not read"},
}

func cellLook(c rollout.Cell) look {
	if l, ok := cells[c]; ok {
		return l
	}
	return cells[rollout.CellUnknown]
}

// members draws every member as a cell, by scale set.
func (r *report) members() {
	all, drawn, remarks := 0, 0, 0
	there := make(map[rollout.Cell]int)
	for i := range r.v.Sets {
		all += len(r.v.Sets[i].Members)
		for j := range r.v.Sets[i].Members {
			m := &r.v.Sets[i].Members[j]
			there[m.Cell]++
			if m.Why != "" || m.Node != "" {
				remarks++
			}
		}
	}
	r.legend(there)
	for i := range r.v.Sets[:min(len(r.v.Sets), maxBatches)] {
		s := &r.v.Sets[i]
		r.html("<h3>")
		r.name(s.Name)
		r.html("</h3>\n<p>")
		r.set(s)
		r.html("</p>\n")
		if n := min(len(s.Members), maxCells-drawn); n > 0 {
			r.cells(s.Members[:n])
			drawn += n
		}
	}
	r.rest(maxBatches, len(r.v.Sets), "scale sets")
	r.rest(drawn, all, "members")
	if remarks > 0 {
		r.remarks(remarks)
	}
}

// legend says what the cells mean, and how many there are of each.
func (r *report) legend(there map[rollout.Cell]int) {
	r.html(`<ul class="legend" aria-label="Legend">` + "\n")
	for _, c := range rollout.Cells {
		if there[c] == 0 {
			continue
		}
		l := cells[c]
		r.html(`<li><span class="cell `, l.class, `" aria-hidden="true">`, l.glyph, "</span> ", l.words, ": ")
		r.number(there[c])
		r.html("</li>\n")
	}
	r.html("</ul>\n")
}

func (r *report) set(s *rollout.SetView) {
	r.text(s.Location)
	r.html(", driver ")
	r.text(s.Driver)
	r.html(", ")
	r.count(len(s.Members)+s.Unnamed, "member")
	if s.Unnamed > 0 {
		r.html(" (")
		r.number(s.Unnamed)
		r.html(" of which were not read, and are not drawn)")
	}
	r.html(", model asks for ")
	if s.Model == "" {
		r.html("the latest, or what is not known")
	} else {
		r.name(s.Model)
	}
	r.html(", last good version ")
	r.name(cmp.Or(s.LastGood, "none"))
	r.html(".")
	if s.Unknown != "" {
		r.html(" <strong>It could not be read</strong>: ")
		r.text(s.Unknown)
	}
	if s.Busy != "" {
		r.html(" <strong>Somebody else is at work on it</strong>: ")
		r.text(s.Busy)
	}
}

// named is how many members a set may have to have their names in their cells.
const named = 40

func (r *report) cells(members []rollout.MemberView) {
	small := len(members) > named
	if small {
		r.html(`<ul class="cells small">` + "\n")
	} else {
		r.html(`<ul class="cells">` + "\n")
	}
	for i := range members {
		m := &members[i]
		l := cellLook(m.Cell)
		r.html(`<li class="cell `, l.class, `" title="`)
		r.text(m.Name + " " + m.Version + " " + m.Health)
		r.html(`"><span aria-hidden="true">`, l.glyph, `</span> `)
		if small {
			r.html(`<span class="hidden">`)
			r.text(m.Name + " " + m.Version)
			r.html(", ", l.words, "</span></li>\n")
			continue
		}
		r.html(`<span class="who">`)
		r.text(m.Name)
		r.html(`<small>`)
		r.text(m.Version + " " + m.Health)
		r.html(`</small></span><span class="hidden">, `, l.words, "</span></li>\n")
	}
	r.html("</ul>\n")
}

// remarks lists the members of which there is something to say.
func (r *report) remarks(all int) {
	t := r.table("What is to be said of some of them", "Member", "Scale set", "Version", "Health", "Zone", "What", "The node’s own words")
	n := 0
	for i := range r.v.Sets {
		s := &r.v.Sets[i]
		for j := range s.Members {
			m := &s.Members[j]
			if m.Why == "" && m.Node == "" {
				continue
			}
			if n++; n > maxRemarks {
				break
			}
			t.row("",
				func() { r.name(m.Name) },
				func() { r.name(s.Name) },
				func() { r.text(m.Version) },
				func() { r.text(m.Health) },
				func() { r.text(m.Zone) },
				func() { r.text(m.Why) },
				optional(m.Node, r.said),
			)
		}
	}
	t.end()
	r.rest(maxRemarks, all, "remarks")
}
