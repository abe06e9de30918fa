package rollout

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// inTheMiddle is a rollout over so many members in ten sets, half of which run the
// version.
func inTheMiddle(tb testing.TB, members int) (*rig, Observation) {
	tb.Helper()
	sizes := make(map[string]int)
	for i := range 10 {
		sizes[fmt.Sprintf("set%02d", i)] = members / 10
	}
	a := newAzure(sizes)
	r := newRig(planned(a, []Wave{{Name: "all", Sets: sorted(sizes), Soak: 30 * time.Minute}}, func(p *Plan) { p.Drain = false }), a)
	r.lean = true
	for range 3 { // the first batches have the version
		r.tick()
		a.advance(time.Minute)
	}
	if len(r.state.Runs) < members/5 {
		tb.Fatalf("only %d members run the version", len(r.state.Runs))
	}
	o := a.observe(r.state.Epoch, nil)
	a.operations(&r.state, &o)
	return r, o
}

// TestNextIsLinear holds the cost of a call of Next to the number of members: on its way
// forward, and when half of all members have to go back, or could not.
func TestNextIsLinear(t *testing.T) {
	const few, many = 500, 10000
	costs := func(members int, halt Phase) time.Duration {
		r, o := inTheMiddle(t, members)
		if halt != "" {
			r.state.Apply(&r.plan, &Event{At: o.At, Kind: PhaseTo, Phase: Halting, Class: Bad})
		}
		if halt == Incomplete {
			var left []Left
			for _, l := range Accounting(r.state) {
				left = append(left, Left{Set: l.Set, Member: l.Member, Why: tooLong})
			}
			r.state.Apply(&r.plan, &Event{At: o.At, Kind: PhaseTo, Phase: Incomplete, Class: Bad, Left: left})
		}
		best := time.Hour
		for range 5 {
			before := cpu(t)
			for range max(1, many/members/4) {
				Next(r.plan, r.state, o, r.azure.Now)
			}
			best = min(best, (cpu(t)-before)/time.Duration(max(1, many/members/4)))
		}
		return best / time.Duration(members)
	}
	for _, phase := range []Phase{"", Halting, Incomplete} {
		one, other := costs(few, phase), costs(many, phase)
		t.Logf("%q: %s a member of %d, %s of %d", phase, one, few, other, many)
		require.Less(t, other, 6*one, "%q: one that is quadratic costs 20 times as much", phase)
	}
}

// BenchmarkNext shows that a call of Next costs as much a member at 10,000 members as
// at 100: in the middle of a rollout, when half of them run the version.
func BenchmarkNext(b *testing.B) {
	for _, members := range []int{100, 1000, 10000} {
		b.Run(strconv.Itoa(members), func(b *testing.B) {
			r, o := inTheMiddle(b, members)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				Next(r.plan, r.state, o, r.azure.Now)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/float64(members), "cpu-ns/member")
		})
	}
}

// cpu is the processor time that was used: unlike the time on the wall it does not hang
// on what else the machine does.
func cpu(tb testing.TB) time.Duration {
	tb.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		tb.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
