package rollout

import (
	"testing"

	"github.com/stretchr/testify/require"
)

// A batch of a large set is not larger than can be drained before the first drain ends, and
// the plan counts such batches.
func TestLargeBatches(t *testing.T) {
	for drain, size := range map[bool]int{true: 40, false: 100} {
		a := newAzure(map[string]int{"a": 200})
		r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}}}, func(p *Plan) {
			p.Drain = drain
			set := p.Sets["a"]
			set.ByZone = false
			p.Sets["a"] = set
		}), a)
		r.lean = true
		r.tick()
		require.NotNil(t, r.state.Sets["a"].Batch)
		require.Len(t, r.state.Sets["a"].Batch.Members, size)
		set := r.plan.Sets["a"]
		_, batches := set.batches(&r.plan.Waves[0], 0, drain)
		require.Equal(t, 200/size, batches)
	}
}
