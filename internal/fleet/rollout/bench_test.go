package rollout

import (
	"fmt"
	"strconv"
	"syscall"
	"testing"
	"time"
)

// BenchmarkNext shows that a call of Next costs as much a member at 10,000 members as
// at 100: in the middle of a rollout, when half of them run the version.
func BenchmarkNext(b *testing.B) {
	for _, members := range []int{100, 1000, 10000} {
		b.Run(strconv.Itoa(members), func(b *testing.B) {
			sizes := make(map[string]int)
			for i := range 10 {
				sizes[fmt.Sprintf("set%02d", i)] = members / 10
			}
			a := newAzure(sizes)
			r := newRig(planned(a, []Wave{{Name: "all", Sets: sorted(sizes), Soak: 30 * time.Minute}}, nil), a)
			r.lean = true
			for range 3 { // the first batches have the version
				r.tick()
				a.advance(time.Minute)
			}
			if len(r.state.Runs) < members/5 {
				b.Fatalf("only %d members run the version", len(r.state.Runs))
			}
			o := a.observe(r.state.Epoch, nil)
			a.operations(&r.state, &o)
			b.ReportAllocs()
			before := cpu(b)
			for b.Loop() {
				Next(r.plan, r.state, o, a.Now)
			}
			b.ReportMetric(float64(cpu(b)-before)/float64(b.N)/float64(members), "cpu-ns/member")
		})
	}
}

// cpu is the processor time that was used: unlike the time on the wall it does not hang
// on what else the machine does.
func cpu(b *testing.B) time.Duration {
	b.Helper()
	var u syscall.Rusage
	if err := syscall.Getrusage(syscall.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}
