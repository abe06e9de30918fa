package drain

import (
	"cmp"
	"fmt"
	"math/rand/v2"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

const second = time.Second

var nothing = stepFunc{}

func TestNewPlanRefuses(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		steps []StepConfig
		want  string
	}{
		"a name that is missing":  {[]StepConfig{{Kind: "exec", Step: nothing}}, "drain step 1: name is missing"},
		"nothing to run":          {[]StepConfig{{Name: "a"}}, `drain step "a": nothing to run`},
		"a name given twice":      {[]StepConfig{{Name: "a", Step: nothing}, {Name: "a", Step: nothing, AfterSet: true}}, `drain step "a": the name "a" is given twice`},
		"min above max":           {[]StepConfig{{Name: "a", Step: nothing, Min: 3 * second, Max: second}}, `drain step "a": min 3s is more than max 1s`},
		"a negative time":         {[]StepConfig{{Name: "a", Step: nothing, Min: -second}}, `drain step "a": min and max must not be negative`},
		"an endless step":         {[]StepConfig{{Name: "a", Step: nothing, Max: 1000 * time.Hour}}, `drain step "a": max 1000h0m0s is more than 168h0m0s`},
		"an unknown name":         {[]StepConfig{{Name: "flush", Step: nothing}, {Name: "b", Step: nothing, After: []string{"flash"}, AfterSet: true}}, `drain step "b": unknown name "flash", did you mean "flush"?`},
		"a cycle":                 {[]StepConfig{{Name: "a", Step: nothing, After: []string{"b"}, AfterSet: true}, {Name: "b", Step: nothing}}, "dependency cycle"},
		"a step that awaits self": {[]StepConfig{{Name: "a", Step: nothing, After: []string{"a"}, AfterSet: true}}, "dependency cycle: a -> a"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, err := NewPlan(tc.steps)
			require.ErrorContains(t, err, tc.want)
		})
	}
}

func TestNewPlanReportsEveryFault(t *testing.T) {
	t.Parallel()
	_, err := NewPlan([]StepConfig{{Name: "a", Min: -1, Step: nothing}, {Name: "b"}, {Name: "b", Step: nothing, After: []string{"x"}, AfterSet: true}})
	require.EqualError(t, err, `drain step "a": min and max must not be negative
drain step "b": nothing to run
drain step "b": the name "b" is given twice
drain step "b": unknown name "x"`)
}

func TestNewPlanDefaults(t *testing.T) {
	t.Parallel()
	sleep, err := SleepStep(7 * second)
	require.NoError(t, err)
	p, err := NewPlan([]StepConfig{
		{Name: "target", Kind: "target", Step: nothing},
		{Name: "webhook", Kind: "webhook", Step: nothing},
		{Name: "sleep", Kind: "sleep", Step: sleep},
		{Name: "own", Kind: "own", Step: nothing},
		{Name: "long", Kind: "webhook", Step: nothing, Min: 20 * second},
	})
	require.NoError(t, err)
	want := []time.Duration{60 * second, 5 * second, 7 * second, 30 * second, 20 * second}
	for i, s := range p.Fit(0, true).Steps {
		require.Equal(t, want[i], s.Budget, s.Name)
	}
	_, err = NewPlan(nil)
	require.NoError(t, err, "a plan without steps is a plan")
}

func TestFit(t *testing.T) {
	t.Parallel()
	step := func(name string, low, high time.Duration, change ...func(*StepConfig)) StepConfig {
		s := StepConfig{Name: name, Step: nothing, Min: low * second, Max: high * second}
		for _, c := range change {
			c(&s)
		}
		return s
	}
	optional := func(s *StepConfig) { s.Optional = true }
	after := func(names ...string) func(*StepConfig) {
		return func(s *StepConfig) { s.After, s.AfterSet = names, true }
	}
	for name, tc := range map[string]struct {
		steps             []StepConfig
		settle, available time.Duration
		unbounded         bool
		want              string
	}{
		"everything fits":               {[]StepConfig{step("a", 0, 5), step("b", 0, 5)}, 2, 20, false, "settle 2s, a 2s+5s, b 7s+5s, total 12s"},
		"no deadline":                   {[]StepConfig{step("a", 0, 5), step("b", 0, 5)}, 2, 0, true, "settle 2s, a 2s+5s, b 7s+5s, total 12s"},
		"compressed in proportion":      {[]StepConfig{step("a", 0, 60), step("b", 0, 20)}, 0, 8, false, "settle 0s, a 0s+5.538s (cut from 1m0s), b 5.538s+2.462s (cut from 20s), total 8s"},
		"minimums are kept":             {[]StepConfig{step("a", 5, 60), step("b", 2, 20)}, 10, 8, false, "settle 120ms, a 120ms+5.663s (cut from 1m0s), b 5.783s+2.217s (cut from 20s), total 8s"},
		"settling never costs a step":   {[]StepConfig{step("a", 6, 60)}, 10, 6, false, "settle 0s, a 0s+6s (cut from 1m0s), total 6s"},
		"the last optional one goes":    {[]StepConfig{step("o1", 2, 9, optional), step("r", 4, 9), step("o2", 2, 9, optional)}, 0, 7, false, "settle 0s, o1 0s+2.583s (cut from 9s), r 2.583s+4.417s (cut from 9s), o2 7s+0s (shed: its minimum of 2s does not fit), total 7s"},
		"a cheaper later one may stay":  {[]StepConfig{step("o1", 6, 9, optional), step("r", 4, 9), step("o2", 2, 2, optional)}, 0, 7, false, "settle 0s, o1 0s+0s (shed: its minimum of 6s does not fit), r 0s+5s (cut from 9s), o2 5s+2s, total 7s"},
		"a required one is not starved": {[]StepConfig{step("r", 0, 10), step("o", 5, 5, optional)}, 0, 5, false, "settle 0s, r 0s+5s (cut from 10s), o 5s+0s (shed: its minimum of 5s does not fit), total 5s"},
		"but shares what is ample":      {[]StepConfig{step("r", 0, 10), step("o", 5, 5, optional)}, 0, 6, false, "settle 0s, r 0s+1s (cut from 10s), o 1s+5s, total 6s"},
		"first the required ones":       {[]StepConfig{step("o", 0, 5, optional), step("a", 5, 10), step("b", 0, 10)}, 3, 5, false, "settle 0s, o 0s+0s (shed: no time is left for it), a 0s+5s (cut from 10s), b 5s+0s (skipped: no time is left for it), total 5s, not enough"},
		"not even the required fit":     {[]StepConfig{step("a", 5, 9), step("o", 1, 1, optional), step("b", 5, 9)}, 3, 7, false, "settle 0s, a 0s+7s (cut from 9s), o 7s+0s (shed: its minimum of 1s does not fit), b 7s+0s (skipped: its minimum of 5s does not fit), total 7s, not enough"},
		"a later one fits instead":      {[]StepConfig{step("a", 9, 9), step("b", 2, 9), step("c", 0, 10)}, 0, 7, false, "settle 0s, a 0s+0s (skipped: its minimum of 9s does not fit), b 0s+4.059s (cut from 9s), c 4.059s+2.941s (cut from 10s), total 7s, not enough"},
		"the deadline has passed":       {[]StepConfig{step("a", 0, 9), step("o", 0, 9, optional)}, 3, -4, false, "settle 0s, a 0s+0s (skipped: no time is left for it), o 0s+0s (shed: no time is left for it), total 0s, not enough"},
		"parallel steps share the time": {
			[]StepConfig{step("a", 0, 10), step("b", 0, 4, after()), step("c", 0, 10, after("a", "b"))},
			0, 10, false,
			"settle 0s, a 0s+5s (cut from 10s), b 0s+4s, c 5s+5s (cut from 10s), total 10s",
		},
		"an optional one beside the path costs nothing": {
			[]StepConfig{step("a", 8, 8), step("o", 5, 5, optional, after())},
			0, 8, false,
			"settle 0s, a 0s+8s, o 0s+5s, total 8s",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, err := NewPlan(tc.steps)
			require.NoError(t, err)
			s := p.FitAfter(tc.settle*second, tc.available*second, tc.unbounded)
			require.Equal(t, tc.want, show(s))
		})
	}
}

// show prints a schedule to the millisecond.
func show(s Schedule) string {
	ms := func(d time.Duration) time.Duration { return d.Round(time.Millisecond) }
	text := []string{fmt.Sprintf("settle %s", ms(s.Settle))}
	for _, step := range s.Steps {
		line := fmt.Sprintf("%s %s+%s", step.Name, ms(step.Offset), ms(step.Budget))
		if step.Why != "" {
			line += " (" + step.Why + ")"
		}
		text = append(text, line)
	}
	text = append(text, fmt.Sprintf("total %s", ms(s.Total)))
	if !s.Enough {
		text = append(text, "not enough")
	}
	return strings.Join(text, ", ")
}

// TestFitHolds checks what the planner promises on random plans and notices.
func TestFitHolds(t *testing.T) {
	t.Parallel()
	seed := uint64(time.Now().UnixNano())
	for n := range uint64(10_000) {
		rng := rand.New(rand.NewPCG(seed, n))
		p, err := NewPlan(randomSteps(rng))
		require.NoError(t, err)
		settle := time.Duration(rng.Int64N(int64(20 * second)))
		available := time.Duration(rng.Int64N(int64(upTo(rng, 300*second))))
		switch rng.IntN(10) {
		case 0:
			available = -available
		case 1: // to the nanosecond
			available = p.longest(available, required, atLeast)
		}
		got := p.FitAfter(settle, available, false)
		where := fmt.Sprintf("seed %d plan %d: %s in %s", seed, n, show(got), available)

		require.Equal(t, got, p.FitAfter(settle, available, false), where)
		require.LessOrEqual(t, got.Total, max(0, available), where)
		require.True(t, got.Settle >= 0 && got.Settle <= settle, where)
		optional, starved := false, false
		for i, s := range got.Steps {
			c := p.steps[i]
			if s.Shed {
				require.Zero(t, s.Budget, where)
				require.NotEmpty(t, s.Why, where)
			} else {
				require.True(t, s.Budget >= atLeast(c) && s.Budget > 0 && s.Budget <= s.Max, where)
				require.Equal(t, s.Budget < s.Max, s.Why != "", where)
			}
			optional = optional || s.Optional && !s.Shed
			starved = starved || !s.Optional && s.Budget < fairly(c)
			for _, a := range p.after[i] {
				require.GreaterOrEqual(t, s.Offset, got.Steps[a].Offset+got.Steps[a].Budget, where)
			}
			require.GreaterOrEqual(t, s.Offset, got.Settle, where)
			require.LessOrEqual(t, s.Offset+s.Budget, got.Total, where)
		}
		require.False(t, optional && starved, where)
		require.Equal(t, p.longest(0, required, atLeast) <= max(0, available), got.Enough, where)

		// What is left out did not fit beside what is kept before it.
		kept := map[string]bool{}
		for _, i := range p.order {
			kept[p.steps[i].Name] = got.Enough && !p.steps[i].Optional
		}
		for _, i := range p.order {
			c := p.steps[i]
			switch {
			case got.Enough && !c.Optional:
				require.False(t, got.Steps[i].Shed, where)
			case !got.Enough && c.Optional:
				require.True(t, got.Steps[i].Shed, where)
			default:
				kept[c.Name] = true
				need := p.longest(0, func(c StepConfig) bool { return kept[c.Name] }, fairly)
				if !got.Enough {
					need = p.longest(0, func(c StepConfig) bool { return kept[c.Name] }, atLeast)
				}
				kept[c.Name] = need <= max(0, available)
				require.Equal(t, !kept[c.Name], got.Steps[i].Shed, where)
			}
		}
		if len(got.Steps) == 1 && got.Total < available { // time is left only when nobody can use it
			require.True(t, got.Steps[0].Shed || got.Steps[0].Budget == got.Steps[0].Max, where)
			require.True(t, got.Settle == settle || !got.Enough, where)
		}
	}
}

func required(c StepConfig) bool { return !c.Optional }

// atLeast is the least that a step may be given.
func atLeast(c StepConfig) time.Duration { return max(c.Min, min(c.Max, time.Millisecond)) }

// fairly is what a required step has before an optional one has anything.
func fairly(c StepConfig) time.Duration {
	if c.Optional {
		return atLeast(c)
	}
	return max(atLeast(c), min(c.Max/10, second))
}

// longest returns how long the plan takes when the steps that are in take what
// cost says and others nothing; fallback when nothing is in.
func (p *Plan) longest(fallback time.Duration, in func(StepConfig) bool, cost func(StepConfig) time.Duration) time.Duration {
	ends, total := make([]time.Duration, len(p.steps)), time.Duration(0)
	for _, i := range p.order {
		for _, a := range p.after[i] {
			ends[i] = max(ends[i], ends[a])
		}
		if in(p.steps[i]) {
			ends[i] += cost(p.steps[i])
		}
		total = max(total, ends[i])
	}
	return cmp.Or(total, fallback)
}

// randomSteps returns up to ten steps in a row, beside each other, or both.
func randomSteps(rng *rand.Rand) []StepConfig {
	steps := make([]StepConfig, rng.IntN(10))
	rank := rng.Perm(len(steps)) // a step may come after one that stands below it
	rows := rng.IntN(2) == 0
	for i := range steps {
		s := StepConfig{Name: fmt.Sprint("s", i), Step: nothing, Optional: rng.IntN(2) == 0}
		s.Max = time.Millisecond + time.Duration(rng.Int64N(int64(upTo(rng, 90*second))))
		if rng.IntN(3) > 0 {
			s.Min = time.Duration(rng.Int64N(int64(s.Max)/(1+rng.Int64N(8)) + 1))
		}
		if s.AfterSet = !rows || rng.IntN(4) == 0; s.AfterSet {
			for j := range steps {
				if before := rows && j < i || !rows && rank[j] < rank[i]; before && rng.IntN(3) == 0 {
					s.After = append(s.After, fmt.Sprint("s", j))
				}
			}
		}
		steps[i] = s
	}
	return steps
}

// upTo returns d, or now and then a small part of it.
func upTo(rng *rand.Rand, d time.Duration) time.Duration {
	return d / time.Duration([]int{1, 1, 1, 10, 100, 10_000}[rng.IntN(6)])
}

func BenchmarkFit(b *testing.B) {
	var steps []StepConfig
	for i := range 20 {
		steps = append(steps, StepConfig{Name: strconv.Itoa(i), Step: nothing, Min: second, Max: time.Minute, Optional: i%3 == 0})
	}
	p, err := NewPlan(steps)
	require.NoError(b, err)
	for b.Loop() {
		p.FitAfter(10*second, 30*second, false)
	}
}
