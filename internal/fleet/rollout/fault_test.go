package rollout

import (
	"slices"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A member that failed to provision condemns the version only when the cause is known to
// be the image: quota is not, and what nobody knows is not.
func TestWhyAMemberFailedToProvision(t *testing.T) {
	for class, failing := range map[Class]bool{Bad: true, NoCapacity: false, Inconclusive: false} {
		a := newAzure(map[string]int{"a": 3, "b": 2})
		r := newRig(planned(a, twoWaves(), nil), a)
		for range 600 {
			if batchIs("a", Verifying)(r) {
				break
			}
			r.tick()
			a.advance(time.Second)
		}
		name := onVersion(r, "a")
		require.NotEmpty(t, name)

		o := a.observe(r.state.Epoch, nil)
		seen := o.Sets["a"]
		i := slices.IndexFunc(seen.Members, func(m fleet.Member) bool { return m.Name == name })
		seen.Members[i].Provisioning = fleet.Failed
		seen.Faults = map[string]Fault{name: {Class: class, Text: "Azure's words"}}
		o.Sets["a"] = seen
		move := Next(r.plan, r.state, o, a.Now)
		has := func(kind Kind, class Class) bool {
			return slices.ContainsFunc(move.Events, func(e Event) bool { return e.Kind == kind && (class == "" || e.Class == class) })
		}
		require.Equal(t, failing, has(Failing, ""), class)
		if !failing {
			require.True(t, has(Blocked, class), "%s: %+v", class, move.Events)
		}
	}
}

// Health that was told before the new disk began says nothing of it.
func TestTheOldDisksHealthIsNoEvidence(t *testing.T) {
	a := newAzure(map[string]int{"a": 3, "b": 2})
	r := newRig(planned(a, twoWaves(), func(p *Plan) { p.Drain = false }), a)
	for range 60 {
		if batchIs("a", Verifying)(r) {
			break
		}
		r.tick()
		a.advance(time.Minute)
	}
	name := onVersion(r, "a")
	require.NotEmpty(t, name)
	for _, c := range []struct {
		told time.Time
		want bool
	}{
		{start.Add(-time.Hour), false},
		{time.Time{}, false},
		{a.Now.Add(time.Hour), true},
	} {
		o := a.observe(r.state.Epoch, nil)
		seen := o.Sets["a"]
		i := slices.IndexFunc(seen.Members, func(m fleet.Member) bool { return m.Name == name })
		seen.Members[i].Health, seen.Members[i].HealthAt = fleet.Healthy, c.told
		move := Next(r.plan, r.state, o, a.Now)
		require.Equal(t, c.want, slices.ContainsFunc(move.Events, func(e Event) bool { return e.Kind == Well && e.Member == name }), "%s", c.told)
	}
}

// On the way back the next batch does not begin on the health of disks that are no more.
func TestTheWayBackIsNotVerifiedByTheOldDisksHealth(t *testing.T) {
	a := newAzure(map[string]int{"a": 4})
	r := newRig(planned(a, []Wave{{Name: "all", Sets: []string{"a"}, Soak: time.Hour}}, nil), a)
	until := func(happens func(*rig) bool) {
		for i := 0; !happens(r); i++ {
			require.Less(t, i, 600)
			r.tick()
			a.advance(10 * time.Second)
		}
	}
	until(step(0, Soaking))
	ask(Abort, false)(r)
	until(batchIs("a", Upgrading))
	until(batchIs("a", Verifying))
	for told, want := range map[time.Time]bool{a.Now.Add(-5 * time.Minute): false, a.Now: true} {
		o := a.observe(r.state.Epoch, nil)
		seen := o.Sets["a"]
		for i := range seen.Members {
			seen.Members[i].Health, seen.Members[i].HealthAt = fleet.Healthy, told
		}
		move := Next(r.plan, r.state, o, a.Now)
		require.Equal(t, want, slices.ContainsFunc(move.Events, func(e Event) bool { return e.Kind == BatchTo && e.Step == BatchDone }), "%s", told)
	}
}
