package report

import (
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// steps are those of waves and batches.
var steps = map[rollout.Step]look{
	"":                  {quiet, "·", "not begun"},
	rollout.Replicating: {busy, "…", "replicating"},
	rollout.Asking:      {busy, "?", "asks for its approval, and the window"},
	rollout.Batches:     {busy, "↑", "in its batches"},
	rollout.Soaking:     {busy, "…", "soaking"},
	rollout.WaveDone:    {good, "✓", "done"},
	rollout.Skipped:     {quiet, "–", "skipped"},
	rollout.Picked:      {busy, "…", "picked"},
	rollout.Upgrading:   {busy, "↑", "upgrading"},
	rollout.Verifying:   {busy, "…", "verifying"},
	rollout.BatchDone:   {good, "✓", "done"},
	rollout.GivenUp:     {warning, "✗", "given up"},
}

// waveStep writes the step of a wave. A rollout that does not go on leaves its wave where
// it was.
func (r *report) waveStep(s rollout.Step) {
	l := steps[s]
	if forward := r.v.Phase == rollout.Pending || r.v.Phase == rollout.Rolling; !forward && l.class == busy {
		r.html(`<span class="warning"><span aria-hidden="true">■</span> stopped: `, l.words, "</span>")
		return
	}
	r.step(s)
}

func (r *report) step(s rollout.Step) {
	l, ok := steps[s]
	if !ok {
		r.text(string(s))
		return
	}
	r.look(l)
}

func (r *report) look(l look) {
	r.html(`<span class="`, l.class, `"><span aria-hidden="true">`, l.glyph, "</span> ", l.words, "</span>")
}

func (r *report) waves() {
	t := r.table("The waves, in their order", "Wave", "Step", "Since", "Takes", "Batches", "Soaked", "Evidence", "Approval")
	batches := 0
	for i := range r.v.Waves[:min(len(r.v.Waves), maxBatches)] {
		w := &r.v.Waves[i]
		batches += len(w.Batches)
		t.row("",
			func() { r.text(w.Name) },
			func() { r.waveStep(w.Step) },
			func() { r.time(w.Since) },
			func() {
				if w.Instances > 0 {
					r.number(w.Instances)
					r.html(" each of ")
				} else {
					r.html("all of ")
				}
				r.names(w.Sets)
			},
			func() {
				there := 0
				for j := range w.Batches {
					if !w.Batches[j].Back {
						there++
					}
				}
				r.number(there)
				r.html(" of ")
				r.number(w.Foreseen)
				r.html(" foreseen")
			},
			func() { r.duration(w.Soaked); r.html(" of "); r.duration(w.Soak) },
			func() { r.count(w.Evidence, "member"); r.html(" verified") },
			func() {
				switch {
				case w.Approved != "":
					r.html("by ")
					r.text(w.Approved)
				case w.Approve:
					r.html("needed")
				default:
					r.html("not needed")
				}
			},
		)
	}
	t.end()
	r.rest(maxBatches, len(r.v.Waves), "waves")
	if batches > 0 {
		r.batches(batches)
	}
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
			t.row(class,
				func() { r.number(b.Number); r.html(" of "); r.name(b.Set) },
				func() { r.text(w.Name) },
				func() {
					if b.Back {
						r.html(`<span aria-hidden="true">↩</span> back`)
					} else {
						r.html(`<span aria-hidden="true">→</span> to the version`)
					}
				},
				func() { r.step(b.Step) },
				func() { r.names(b.Members) },
				func() { r.time(b.Begun) },
				func() {
					if !b.Ended.IsZero() {
						r.duration(max(0, b.Ended.Sub(b.Begun)))
					}
				},
				func() { r.text(b.Why) },
			)
		}
	}
	t.end()
	r.rest(maxBatches, all, "batches")
}
