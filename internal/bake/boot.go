package bake

import (
	"context"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// tester is the boot test of the Runner.
func (r *Runner) tester() *BootTest {
	return &BootTest{
		Azure: r.Azure, Spec: r.Spec, Now: r.now, Wait: r.Wait, Script: r.Content.Smoke, Saw: r.set,
		Tell: func(text string) { r.tell(Event{Kind: Boot, Text: text}) },
	}
}

// bootTest boots the version once.
func (r *Runner) bootTest(ctx context.Context, version string) (fleet.BootVerdict, error) {
	v, err := r.tester().Run(ctx, version)
	if v.Left != "" {
		r.note("%s; the next bake removes it", v.Left)
	}
	return v, err
}

// sweep removes what boot tests of this fleet have left behind. What stays is told, and
// is no reason not to bake.
func (r *Runner) sweep(ctx context.Context) error {
	removed, err := r.tester().Sweep(ctx)
	for _, name := range removed {
		r.note("%s, which a boot test had left, is removed", name)
	}
	if err != nil {
		r.note("a boot test has left what cannot be removed now: %v", err)
	}
	return ctx.Err()
}
