package report

import (
	"cmp"

	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// cells are how members are drawn. Each has a glyph of its own.
var cells = looks{
	{string(rollout.CellFailed), look{bad, "✗", "failed on the version"}},
	{string(rollout.CellGone), look{bad, "○", "ran the version, and is not there or does not run"}},
	{string(rollout.CellUpgrading), look{busy, "↑", "is being upgraded, or taken back"}},
	{string(rollout.CellVerifying), look{busy, "…", "on the version, not verified yet"}},
	{string(rollout.CellVerified), look{good, "✓", "on the version, verified"}},
	{string(rollout.CellUnhealthy), look{bad, "!", "on another version, not Healthy"}},
	{string(rollout.CellStarting), look{busy, "+", "on another version, being made or started"}},
	{string(rollout.CellStopped), look{warning, "■", "on another version, does not run"}},
	{string(rollout.CellReturned), look{warning, "↩", "ran the version, and runs another one again, Healthy"}},
	{string(rollout.CellOther), look{quiet, "·", "on another version, Healthy"}},
	{string(rollout.CellUnknown), look{warning, "?", "not read"}},
}

func cellLook(c rollout.Cell) look {
	l, ok := cells.find(string(c))
	if !ok {
		l, _ = cells.find(string(rollout.CellUnknown))
	}
	return l
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
		l := cellLook(c)
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
			t.row("")
			t.cell().name(m.Name)
			t.cell().name(s.Name)
			t.cell().text(m.Version)
			t.cell().text(m.Health)
			t.cell().text(m.Zone)
			t.cell().text(m.Why)
			t.cell().said(m.Node)
		}
	}
	t.end()
	r.rest(maxRemarks, all, "remarks")
}
