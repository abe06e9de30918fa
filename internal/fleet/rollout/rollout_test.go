package rollout

import (
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// run ticks until the rollout is over, at most for so long.
func (r *rig) run(every, atMost time.Duration) {
	for until := r.azure.Now.Add(atMost); r.azure.Now.Before(until) && len(r.broken) == 0; {
		r.tick()
		r.check()
		if r.state.Phase.Over() && len(r.last.Actions) == 0 {
			return
		}
		r.azure.advance(every)
	}
}

func twoWaves() []Wave {
	return []Wave{
		{Name: "canary", Sets: []string{"a"}, Instances: 1, Soak: 10 * time.Minute},
		{Name: "all", Sets: []string{"a", "b"}, Soak: 20 * time.Minute},
	}
}

func TestAGoodImageIsPromoted(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), nil), a)
	r.run(time.Minute, 24*time.Hour)
	require.Empty(t, r.broken)
	require.Equal(t, Succeeded, r.state.Phase, "%+v %+v", r.last, r.state.Block)
	require.Len(t, Accounting(r.state), 5)
}

// TestKilledAtEveryEntry kills the runner once behind each entry of a rollout that
// halts, and of one that succeeds: the next one ends in the same state.
func TestKilledAtEveryEntry(t *testing.T) {
	for img, end := range map[image]Phase{turnsBad: Halted, good: Succeeded} {
		life := func(dieAt int) *rig {
			a := newAzure(map[string]int{"a": 3, "b": 2})
			a.Image = img
			r := newRig(planned(a, twoWaves(), nil), a)
			r.total, r.dieAt = 0, dieAt
			r.run(time.Minute, 24*time.Hour)
			require.Empty(t, r.broken, "killed after entry %d", dieAt)
			require.Equal(t, end, r.state.Phase, "killed after entry %d", dieAt)
			return r
		}
		whole := life(0)
		t.Logf("%s image: killed after each of %d entries", img, whole.total)
		for i := 1; i <= whole.total; i++ {
			r := life(i)
			require.Len(t, Accounting(r.state), len(Accounting(whole.state)), "killed after entry %d", i)
		}
	}
}

func TestABadImageReachesOneMember(t *testing.T) {
	for _, bad := range []image{neverWell, silent, turnsBad, hangs, broken} {
		t.Run(string(bad), func(t *testing.T) {
			a := newAzure(map[string]int{"a": 3, "b": 2})
			a.Image = bad
			r := newRig(planned(a, twoWaves(), nil), a)
			r.run(time.Minute, 24*time.Hour)
			require.Empty(t, r.broken)
			require.Equal(t, Halted, r.state.Phase, "%+v %+v", r.last, r.state.Block)
			require.Len(t, Accounting(r.state), 1)
			require.True(t, a.Version.Failed)
		})
	}
}

// What gates say counts from when members have run the version without a gap.
func TestReached(t *testing.T) {
	at := func(minute int) time.Time { return start.Add(time.Duration(minute) * time.Minute) }
	ran := func(from, to int) MemberState {
		run := Run{From: at(from)}
		if to > 0 {
			run.To = at(to)
		}
		return MemberState{Runs: []Run{run}}
	}
	for name, c := range map[string]struct {
		runs []MemberState
		want time.Time
	}{
		"nobody ran it":             {},
		"nobody runs it any more":   {runs: []MemberState{ran(1, 5), ran(2, 3)}},
		"one does":                  {runs: []MemberState{ran(4, 0)}, want: at(4)},
		"one after the other":       {runs: []MemberState{ran(5, 0), ran(1, 5)}, want: at(1)},
		"a gap":                     {runs: []MemberState{ran(6, 0), ran(1, 5)}, want: at(6)},
		"a gap in the sight of one": {runs: []MemberState{ran(9, 0), ran(3, 5), ran(1, 9), ran(6, 7)}, want: at(1)},
	} {
		t.Run(name, func(t *testing.T) {
			s := State{Runs: map[string]MemberState{}}
			for i, m := range c.runs {
				s.Runs[strconv.Itoa(i)] = m
			}
			require.Equal(t, c.want, s.Reached())
			require.Equal(t, c.want.IsZero(), s.nobody())
		})
	}
}
