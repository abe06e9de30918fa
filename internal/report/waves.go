package report

import (
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// steps are those of waves and batches.
var steps = looks{
	{"", look{quiet, "·", "not begun"}},
	{string(rollout.Replicating), look{busy, "…", "replicating"}},
	{string(rollout.Asking), look{busy, "?", "asks for its approval, and the window"}},
	{string(rollout.Batches), look{busy, "↑", "in its batches"}},
	{string(rollout.Soaking), look{busy, "…", "soaking"}},
	{string(rollout.WaveDone), look{good, "✓", "done"}},
	{string(rollout.Skipped), look{quiet, "–", "skipped"}},
	{string(rollout.Picked), look{busy, "…", "picked"}},
	{string(rollout.Upgrading), look{busy, "↑", "upgrading"}},
	{string(rollout.Verifying), look{busy, "…", "verifying"}},
	{string(rollout.BatchDone), look{good, "✓", "done"}},
	{string(rollout.GivenUp), look{warning, "✗", "given up"}},
}

// waveStep writes the step of a wave. A rollout that does not go on leaves its wave where
// it was.
func (r *report) waveStep(s rollout.Step) {
	l, _ := steps.find(string(s))
	if forward := r.v.Phase == rollout.Pending || r.v.Phase == rollout.Rolling; !forward && l.class == busy {
		r.html(`<span class="warning"><span aria-hidden="true">■</span> stopped: `, l.words, "</span>")
		return
	}
	r.step(s)
}

func (r *report) step(s rollout.Step) {
	r.looked(steps, string(s))
}

// looked writes a value as it looks, or as it is when that is not known.
func (r *report) looked(list looks, of string) {
	l, ok := list.find(of)
	if !ok {
		r.text(of)
		return
	}
	r.html(`<span class="`, l.class, `"><span aria-hidden="true">`, l.glyph, "</span> ", l.words, "</span>")
}

func (r *report) waves() {
	t := r.table("The waves, in their order", "Wave", "Step", "Since", "Takes", "Batches", "Soaked", "Evidence", "Approval")
	batches := 0
	for i := range r.v.Waves[:min(len(r.v.Waves), maxBatches)] {
		w := &r.v.Waves[i]
		batches += len(w.Batches)
		t.row("")
		t.cell().text(w.Name)
		t.cell()
		r.waveStep(w.Step)
		t.cell().time(w.Since)
		if t.cell(); w.Instances > 0 {
			r.number(w.Instances)
			r.html(" each of ")
		} else {
			r.html("all of ")
		}
		r.names(w.Sets)
		t.cell().number(forward(w.Batches))
		r.html(" of ")
		r.number(w.Foreseen)
		r.html(" foreseen")
		t.cell().duration(w.Soaked)
		r.html(" of ")
		r.duration(w.Soak)
		t.cell().count(w.Evidence, "member")
		r.html(" verified")
		t.cell()
		switch {
		case w.Approved != "":
			r.html("by ")
			r.text(w.Approved)
		case w.Approve:
			r.html("needed")
		default:
			r.html("not needed")
		}
	}
	t.end()
	r.rest(maxBatches, len(r.v.Waves), "waves")
	if batches > 0 {
		r.batches(batches)
	}
}

// forward counts the batches that are not on the way back.
func forward(list []rollout.BatchView) int {
	n := 0
	for i := range list {
		if !list[i].Back {
			n++
		}
	}
	return n
}

func (r *report) batches(all int) {
	t := r.table("The batches, the way back included", "Batch", "Wave", "Way", "Step", "Members", "Begun", "Took", "Why")
	n := 0
	for i := range r.v.Waves {
		w := &r.v.Waves[i]
		for j := range w.Batches {
			if n++; n > maxBatches {
				break
			}
			b := &w.Batches[j]
			class := markup("")
			if b.Step == rollout.GivenUp {
				class = warning
			}
			t.row(class)
			t.cell().number(b.Number)
			r.html(" of ")
			r.name(b.Set)
			t.cell().text(w.Name)
			if t.cell(); b.Back {
				r.html(`<span aria-hidden="true">↩</span> back`)
			} else {
				r.html(`<span aria-hidden="true">→</span> to the version`)
			}
			t.cell()
			r.step(b.Step)
			t.cell().names(b.Members)
			t.cell().time(b.Begun)
			if t.cell(); !b.Ended.IsZero() {
				r.duration(max(0, b.Ended.Sub(b.Begun)))
			}
			t.cell().text(b.Why)
		}
	}
	t.end()
	r.rest(maxBatches, all, "batches")
}
