package fleet

import (
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"strconv"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// A bringWorld is a set whose members do what they are told, or not.
type bringWorld struct {
	t        *testing.T
	now      time.Time
	set      Set
	drained  map[string]time.Time // until when
	upgraded []string
	moves    []BringVerb
	sick     map[string]bool // never Healthy once they were upgraded
	strays   map[string]bool // get another image by an upgrade
	refuse   func(BringMove, string) error
	heals    bool   // whoever is brought and is not sick becomes Healthy
	others   func() // what happens meanwhile
}

const bringImage = "/subscriptions/S/resourceGroups/rg/providers/Microsoft.Compute/galleries/g/images/i/versions/1.0.0"

func newBringWorld(t *testing.T, n int) *bringWorld {
	w := &bringWorld{t: t, now: time.Date(2026, 3, 5, 9, 0, 0, 0, time.UTC), drained: map[string]time.Time{}, sick: map[string]bool{}, strays: map[string]bool{}}
	w.set.Model = ScaleSet{Image: ImageReference{ID: bringImage}, Upgrade: UpgradePolicy{Mode: Manual}}
	for i := range n {
		w.set.Members = append(w.set.Members, Member{
			Name: fmt.Sprintf("vm_%02d", i), Zone: strconv.Itoa(i%3 + 1), Provisioning: Succeeded, Power: Running, LatestModel: new(false),
			Health: Healthy, HealthAt: w.now, Image: ImageReference{ID: bringImage, ExactVersion: "1.0.0"},
		})
	}
	return w
}

func bringSpec() *Spec {
	return &Spec{
		ScaleSets: map[string]SetSpec{"a": {Upgrade: UpgradeSpec{Batch: 20, MaxUnhealthy: 35, Pause: 2 * time.Minute, Order: "zone"}}},
		Rollout:   &RolloutSpec{Drain: "run-command", Gates: GatesSpec{HealthyWithin: 10 * time.Minute, HealthyFor: time.Minute, Stuck: 30 * time.Minute}},
	}
}

// run carries out all moves; each must keep to the rules.
func (w *bringWorld) run(b *Bringing) BringMove {
	t := w.t
	for range 2000 {
		for i := range w.set.Members { // the platform looks every minute or so
			m := &w.set.Members[i]
			if m.HealthAt = w.now; isTrue(m.LatestModel) && w.sick[m.Name] {
				m.Health = Unhealthy
			} else if isTrue(m.LatestModel) && w.heals {
				m.Health = Healthy
			}
		}
		if w.others != nil {
			w.others()
		}
		maps.DeleteFunc(w.drained, func(_ string, until time.Time) bool { return !w.now.Before(until) })
		move := b.Next(&w.set, w.now)
		if len(w.moves) == 0 || w.moves[len(w.moves)-1] != move.Do {
			w.moves = append(w.moves, move.Do)
		}
		failed := map[string]error{}
		var err error
		for _, name := range move.Members {
			if w.refuse != nil && move.Do != BringWait {
				if no := w.refuse(move, name); no != nil {
					failed[name], err = no, no
				}
			}
		}
		switch move.Do {
		case BringDone, BringStopped:
			return move
		case BringWait:
			require.True(t, move.Until.After(w.now), "a wait ends later: %s", move.Why)
			require.LessOrEqual(t, move.Until.Sub(w.now), 30*time.Minute)
			w.now = w.now.Add(min(move.Until.Sub(w.now), 30*time.Second))
			continue
		case BringDrain:
			for _, name := range move.Members {
				w.drained[name] = w.now.Add(30 * time.Minute) // also where the answer is lost
			}
		case BringUndrain:
			for _, name := range move.Members {
				if failed[name] == nil {
					delete(w.drained, name)
				}
			}
		case BringUpgrade:
			w.upgrade(b, move, err)
		}
		w.now = w.now.Add(20 * time.Second)
		b.Did(move, w.now, failed, err)
	}
	t.Fatal("no end")
	return BringMove{}
}

func (w *bringWorld) upgrade(b *Bringing, move BringMove, err error) {
	t, before, after, zones := w.t, 0, 0, map[string]bool{}
	for i := range w.set.Members {
		m := &w.set.Members[i]
		taken := slices.Contains(move.Members, m.Name)
		if m.runs() && m.ill() {
			before++
		}
		if m.runs() && (m.ill() || taken) {
			after++
		}
		if !taken {
			continue
		}
		require.True(t, m.runs() && !m.ProtectSetActions && m.stale(), m.Name)
		require.NotContains(t, w.upgraded, m.Name, "each is brought once")
		require.True(t, !b.rules.Drain || w.drained[m.Name].After(w.now))
		zones[m.Zone] = true
		if err != nil {
			continue
		}
		w.upgraded = append(w.upgraded, m.Name)
		if m.LatestModel = new(true); w.strays[m.Name] {
			m.Image.ExactVersion = "2.0.0"
			delete(w.drained, m.Name)
		}
	}
	running := len(w.set.running())
	require.LessOrEqual(t, len(move.Members), b.rules.Batch.Of(running))
	require.LessOrEqual(t, after, max(before, b.rules.MaxUnhealthy.Of(running)), "never more unhealthy than may be")
	require.Len(t, zones, 1)
}

func TestBringing(t *testing.T) {
	no := errors.New("no")
	for name, tt := range map[string]struct {
		change   func(*bringWorld, *OwnOptions)
		end      BringVerb
		why      string
		upgraded int
		moves    []BringVerb
	}{
		"all": {end: BringDone, upgraded: 10},
		"one is sick": {
			change: func(w *bringWorld, _ *OwnOptions) { w.sick["vm_00"] = true }, end: BringStopped, why: "vm_00: it is not Healthy", upgraded: 2,
			moves: []BringVerb{BringDrain, BringUpgrade, BringUndrain, BringWait, BringStopped},
		},
		"nothing to do": {
			change: func(w *bringWorld, _ *OwnOptions) {
				for i := range w.set.Members {
					w.set.Members[i].LatestModel = new(true)
				}
			}, end: BringDone, moves: []BringVerb{BringDone},
		},
		"out of reach": {
			change: func(w *bringWorld, _ *OwnOptions) {
				w.set.Members[0].ProtectSetActions, w.set.Members[1].Power, w.set.Members[2].Vanished = true, Deallocated, true
			}, end: BringDone, upgraded: 7,
		},
		"a drain fails": {
			change: func(w *bringWorld, _ *OwnOptions) {
				w.refuse = func(m BringMove, name string) error {
					if m.Do == BringDrain && name == "vm_03" {
						return no
					}
					return nil
				}
			}, end: BringStopped, why: "vm_03 could not be drained: no", moves: []BringVerb{BringDrain, BringUndrain, BringStopped},
		},
		"an upgrade fails": {
			change: func(w *bringWorld, _ *OwnOptions) {
				w.refuse = func(m BringMove, _ string) error {
					if m.Do == BringUpgrade {
						return no
					}
					return nil
				}
			}, end: BringStopped, why: "could not be upgraded: no", moves: []BringVerb{BringDrain, BringUpgrade, BringUndrain, BringStopped},
		},
		"undrains never work": {
			change: func(w *bringWorld, _ *OwnOptions) {
				w.refuse = func(m BringMove, _ string) error {
					if m.Do == BringUndrain {
						return no
					}
					return nil
				}
			}, end: BringDone, upgraded: 10,
		},
		"an image comes along": {
			change: func(w *bringWorld, _ *OwnOptions) { w.strays["vm_00"] = true }, end: BringStopped, why: "vm_00: it runs 2.0.0, and not 1.0.0", upgraded: 2,
		},
		"an image would come along": {
			change: func(w *bringWorld, _ *OwnOptions) { w.set.Members[4].Image.ExactVersion = "0.9.0" }, end: BringStopped,
			why: "it would bring image version 1.0.0 along to vm_04", moves: []BringVerb{BringStopped},
		},
		"with the image": {
			change: func(w *bringWorld, o *OwnOptions) {
				o.WithImage, w.set.Model.Image.ID = true, bringImage[:len(bringImage)-5]+"2.0.0"
				for i := range w.set.Members {
					w.strays[w.set.Members[i].Name] = true
				}
			}, end: BringDone, upgraded: 10,
		},
		"with the image that does not come": {
			change: func(w *bringWorld, o *OwnOptions) {
				o.WithImage, w.set.Model.Image.ID = true, bringImage[:len(bringImage)-5]+"2.0.0"
			}, end: BringStopped, why: "it runs 1.0.0, and not 2.0.0", upgraded: 2,
		},
		"the mode is not ours": {
			change: func(w *bringWorld, _ *OwnOptions) { w.set.Model.Upgrade.Mode = Rolling }, end: BringStopped, why: "the upgrade mode is Rolling",
		},
		"too many ill that are well without us": {
			change: func(w *bringWorld, _ *OwnOptions) {
				for i := range 4 {
					w.set.Members[i].LatestModel, w.set.Members[i].Health = new(true), Unhealthy
				}
			}, end: BringStopped, why: "4 of 10 running members are not Healthy, or being worked on, and 35% may be: vm_00, vm_01, vm_02 and 1 more", moves: []BringVerb{BringWait, BringStopped},
		},
		"the ill are mended": {
			change: func(w *bringWorld, _ *OwnOptions) {
				for i := range w.set.Members {
					w.set.Members[i].Health = Unhealthy
				}
				w.heals = true
			}, end: BringDone, upgraded: 10,
		},
		"no health yet": {
			change: func(w *bringWorld, _ *OwnOptions) {
				w.heals = true
				for i := range w.set.Members {
					w.set.Members[i].Health = HealthMissing
				}
			}, end: BringDone, upgraded: 10,
		},
		"no health ever": {
			change: func(w *bringWorld, _ *OwnOptions) {
				for i := range w.set.Members {
					w.set.Members[i].Health = HealthMissing
				}
			}, end: BringStopped, why: "it is not Healthy", upgraded: 2,
		},
		"the platform is at work": {
			change: func(w *bringWorld, _ *OwnOptions) {
				for i := range w.set.Members {
					w.set.Members[i].Provisioning = Updating
				}
			}, end: BringStopped, why: "the platform is at work on those that are left", moves: []BringVerb{BringWait, BringStopped},
		},
	} {
		t.Run(name, func(t *testing.T) {
			w, o := newBringWorld(t, 10), &OwnOptions{}
			if tt.change != nil {
				tt.change(w, o)
			}
			move := w.run(NewBringing(bringSpec(), "a", o))
			require.Equal(t, tt.end, move.Do, move.Why)
			require.Contains(t, move.Why, tt.why)
			require.Equal(t, tt.why == "", move.Why == "")
			require.Len(t, w.upgraded, tt.upgraded)
			require.Empty(t, w.drained)
			if tt.moves != nil {
				require.Equal(t, tt.moves, w.moves)
			}
		})
	}
}

// The order is that of zones, then of names; a batch ends with its zone.
func TestBringingOrder(t *testing.T) {
	w := newBringWorld(t, 7)
	s := bringSpec()
	set := s.ScaleSets["a"]
	set.Upgrade.Batch = 30
	s.ScaleSets["a"] = set
	s.Rollout.Drain = "none"
	b := NewBringing(s, "a", &OwnOptions{})
	require.Equal(t, BringDone, w.run(b).Do)
	require.Equal(t, []string{"vm_00", "vm_03", "vm_06", "vm_01", "vm_04", "vm_02", "vm_05"}, w.upgraded)
	require.Len(t, b.Verified(), 7)
	require.NotContains(t, w.moves, BringUndrain)
}

// A member that somebody else is at work on counts as one that does not serve, however
// well it says it is: two applies at once take no more out of service than one may.
func TestBringingBesideAnother(t *testing.T) {
	w := newBringWorld(t, 3)
	b := NewBringing(bringSpec(), "a", &OwnOptions{})
	w.set.Members[0].LatestModel = new(true)
	w.set.Members[1].Provisioning = Updating
	move := b.Next(&w.set, w.now)
	require.Equal(t, BringWait, move.Do, "%v", move.Members)
	require.Equal(t, "the platform is at work on those that are left", move.Why)
	w.set.Members[1].Provisioning, w.set.Members[1].LatestModel = Succeeded, new(true)
	require.Equal(t, []string{"vm_02"}, b.Next(&w.set, w.now).Members)
	w.set.Members[0].Provisioning = Updating // while it is drained
	b.Did(BringMove{Do: BringDrain, Members: []string{"vm_02"}}, w.now, nil, nil)
	move = b.Next(&w.set, w.now)
	require.Equal(t, BringUndrain, move.Do, "it is left before its upgrade")

	w = newBringWorld(t, 1) // the other one was faster
	b = NewBringing(bringSpec(), "a", &OwnOptions{})
	move = b.Next(&w.set, w.now)
	w.set.Members[0].LatestModel = new(true)
	b.Did(move, w.now, nil, nil)
	move = b.Next(&w.set, w.now)
	require.Equal(t, BringUndrain, move.Do, "what is on the model is not upgraded")
	b.Did(move, w.now, nil, nil)
	require.Equal(t, BringDone, b.Next(&w.set, w.now).Do)
}

// An operator's stop pays what is owed.
func TestBringingStop(t *testing.T) {
	w := newBringWorld(t, 3)
	b := NewBringing(bringSpec(), "a", &OwnOptions{})
	move := b.Next(&w.set, w.now)
	require.Equal(t, BringMove{Do: BringDrain, Members: []string{"vm_00"}}, move)
	b.Did(move, w.now, nil, nil)
	w.drained["vm_00"] = w.now.Add(30 * time.Minute)
	b.Stop("interrupted")
	require.Equal(t, BringMove{Do: BringStopped, Why: "interrupted"}, w.run(b))
	require.Empty(t, w.drained)
	require.Equal(t, []BringVerb{BringUndrain, BringStopped}, w.moves)
}

// A batch of a large set is not larger than can be drained before the first drain ends.
func TestBringingLarge(t *testing.T) {
	w := newBringWorld(t, 900)
	require.Len(t, NewBringing(bringSpec(), "a", &OwnOptions{}).Next(&w.set, w.now).Members, 40)
	spec := bringSpec()
	spec.Rollout.Drain = "none"
	require.Len(t, NewBringing(spec, "a", &OwnOptions{}).Next(&w.set, w.now).Members, 180)
}

// Who was brought, and is stale again, was changed by somebody else: that is not gone after.
func TestBringingChangedAgain(t *testing.T) {
	w := newBringWorld(t, 3)
	b := NewBringing(bringSpec(), "a", &OwnOptions{})
	w.others = func() {
		if len(b.Verified()) > 0 {
			w.set.Members[0].LatestModel = new(false)
		}
	}
	move := w.run(b)
	require.Equal(t, BringStopped, move.Do)
	require.Equal(t, "vm_00 was brought to the model, and is not on it any more: somebody else changed it", move.Why)
	require.Empty(t, b.Owed())
}

// A scale-in may take a member that was just drained: nothing more is asked of it, and the
// others are brought.
func TestBringingScaledIn(t *testing.T) {
	w := newBringWorld(t, 2)
	b := NewBringing(bringSpec(), "a", &OwnOptions{})
	move := b.Next(&w.set, w.now)
	require.Equal(t, []string{"vm_00"}, move.Members)
	b.Did(move, w.now, nil, nil)
	w.set.Members[0].Provisioning = "Deleting"
	began := w.now
	w.others = func() { w.set.Members[0].Vanished = w.now.Sub(began) > 5*time.Minute }
	w.now = w.now.Add(time.Minute)
	require.NotEqual(t, BringUpgrade, b.Next(&w.set, w.now).Do)
	require.Empty(t, b.Owed())
	require.Equal(t, BringDone, w.run(b).Do)
	require.Equal(t, []string{"vm_01"}, w.upgraded)
}

// Who waits for an undrain is told whose it is, and why it was not done.
func TestBringingUndrainSays(t *testing.T) {
	w := newBringWorld(t, 1)
	b := NewBringing(bringSpec(), "a", &OwnOptions{})
	b.Did(b.Next(&w.set, w.now), w.now, nil, nil)
	b.Stop("interrupted")
	b.Did(b.Next(&w.set, w.now), w.now, map[string]error{"vm_00": errors.New("no answer")}, nil)
	require.Equal(t, BringMove{Do: BringWait, Until: w.now.Add(30 * time.Second), Why: "an undrain is owed to vm_00: no answer"}, b.Next(&w.set, w.now))
	w.set.Members[0].Provisioning = Updating
	w.now = w.now.Add(time.Minute)
	require.Equal(t, BringWait, b.Next(&w.set, w.now).Do)
	require.Equal(t, []string{"vm_00"}, b.Owed())
}

// Whatever happens, it ends, keeps to its bounds, and leaves nobody drained.
func TestBringingHistories(t *testing.T) {
	ends := map[BringVerb]int{}
	for seed := range uint64(2000) {
		r := rand.New(rand.NewPCG(seed, 3))
		w := newBringWorld(t, 1+r.IntN(12))
		for i := range w.set.Members {
			m := &w.set.Members[i]
			m.LatestModel, m.ProtectSetActions = new(r.IntN(4) == 0), r.IntN(10) == 0
			m.Health = []HealthState{Healthy, Healthy, Healthy, Unhealthy, HealthMissing}[r.IntN(5)]
			w.sick[m.Name], w.strays[m.Name] = r.IntN(20) == 0, r.IntN(40) == 0
		}
		rate := []int{1 << 30, 30, 5}[r.IntN(3)]
		w.heals = r.IntN(2) == 0
		w.others = func() {
			m := &w.set.Members[r.IntN(len(w.set.Members))]
			switch r.IntN(200) { // meanwhile
			case 0:
				m.Power = Deallocated
			case 1:
				m.Vanished = true
			case 2:
				m.Health = Healthy
			}
		}
		w.refuse = func(BringMove, string) error {
			if r.IntN(rate) == 0 {
				return errors.New("no")
			}
			return nil
		}
		move := w.run(NewBringing(bringSpec(), "a", &OwnOptions{}))
		ends[move.Do]++
		for name := range w.drained {
			require.False(t, w.set.member(name).runs(), "seed %d: %s is left drained after %s", seed, name, move.Why)
		}
	}
	require.Greater(t, ends[BringDone], 100)
	require.Greater(t, ends[BringStopped], 100)
}

// A member that became Healthy before the end of its upgrade was seen is verified; one of
// which nothing is known since the upgrade began is not.
func TestBringingHealthTime(t *testing.T) {
	for name, tt := range map[string]struct {
		after time.Duration // when it became Healthy, from the begin of the upgrade on; 0: nobody says
		want  BringVerb
		why   string
	}{
		"since it began": {after: 40 * time.Second, want: BringDone},
		"before it":      {after: -time.Second, want: BringStopped, why: "vm_00: it was Healthy before its upgrade, and nothing is known since"},
		"nobody says":    {want: BringStopped, why: "vm_00: Azure does not say when it saw it Healthy"},
	} {
		t.Run(name, func(t *testing.T) {
			w, spec := newBringWorld(t, 1), bringSpec()
			spec.Rollout.Drain = "none"
			b := NewBringing(spec, "a", &OwnOptions{})
			m := &w.set.Members[0]
			move := b.Next(&w.set, w.now)
			require.Equal(t, BringUpgrade, move.Do)
			if m.LatestModel, m.HealthAt = new(true), w.now.Add(tt.after); tt.after == 0 {
				m.HealthAt = time.Time{}
			}
			w.now = w.now.Add(2 * time.Minute)
			b.Did(move, w.now, nil, nil)
			for move.Do != BringDone && move.Do != BringStopped {
				move = b.Next(&w.set, w.now)
				w.now = w.now.Add(30 * time.Second)
			}
			require.Equal(t, tt.want, move.Do, move.Why)
			require.Equal(t, tt.why, move.Why)
		})
	}
}
