package fleet

import (
	"fmt"
	"time"
)

// pick chooses the next batch. Its move is empty when there is one, or when all has
// stopped.
func (b *Bringing) pick(set *Set, now time.Time) BringMove {
	if move := b.undrain(set, now); move.Do != "" { // of a batch that was left
		return move
	}
	var stale []*Member
	works := false
	for _, m := range set.running() {
		switch {
		case !m.stale() || m.ProtectSetActions:
		case b.brought[m.Name]:
			b.stop("%s was brought to the model, and is not on it any more: somebody else changed it", m.Name)
			return BringMove{}
		case m.moving():
			works = true
		default:
			stale = append(stale, m)
		}
	}
	if len(stale) == 0 && !works {
		return BringMove{Do: BringDone}
	}
	if mode := set.Model.Upgrade.Mode; mode != Manual && mode != "" {
		b.stop("the upgrade mode is %s, in which the platform picks the members", mode)
		return BringMove{}
	}
	along, target := set.along(stale, b.rules.Definition)
	if len(along) > 0 && !b.rules.WithImage {
		b.stop("it would bring %s along to %s", target.text(), names(along))
		return BringMove{}
	}
	if now.Before(b.next) {
		return BringMove{Do: BringWait, Until: b.next, Why: "the pause between batches"}
	}
	SortForBatch(stale, b.rules.ByZone, (*Member).ill)
	batch := &bringBatch{want: target.Version, versions: make(map[string]string), well: make(map[string]time.Time)}
	size, room, why := b.room(set)
	zone := ""
	for _, m := range stale {
		if len(batch.names) == size || b.rules.ByZone && len(batch.names) > 0 && m.Zone != zone {
			break
		}
		if !m.ill() {
			if room <= 0 {
				continue
			}
			room--
		}
		zone = m.Zone
		batch.names = append(batch.names, m.Name)
		batch.versions[m.Name] = m.Image.ExactVersion
	}
	if len(batch.names) > 0 {
		b.batch, b.stuck = batch, time.Time{}
		return BringMove{}
	}
	return b.wait(works, why, now)
}

// room is how large a batch may be, and how many of its members may be such as serve:
// as many as are missing to the most that may be unhealthy.
func (b *Bringing) room(set *Set) (size, room int, why string) {
	running := set.running()
	var out []string
	for _, m := range running {
		if m.out() {
			out = append(out, m.Name)
		}
	}
	return BatchSize(b.rules.Batch, len(running), b.rules.Drain), b.rules.MaxUnhealthy.Of(len(running)) - len(out),
		fmt.Sprintf("%s are not Healthy, or being worked on, and %d%% may be: %s", of(len(out), len(running)), b.rules.MaxUnhealthy, names(out))
}

// crowded says why a batch that was picked can be upgraded no more: others have become
// unhealthy since, or somebody is at work on them. Empty: it can.
func (b *Bringing) crowded(set *Set, names []string) string {
	well := 0
	for _, name := range names {
		if !set.member(name).out() {
			well++
		}
	}
	if _, room, why := b.room(set); well > max(room, 0) {
		return why
	}
	return ""
}

// wait waits for a member that can be picked, for some time.
func (b *Bringing) wait(works bool, why string, now time.Time) BringMove {
	within := b.rules.Gates.HealthyWithin
	if works {
		why, within = "the platform is at work on those that are left", b.rules.Gates.Stuck
	}
	if b.stuck.IsZero() {
		b.stuck = now
	}
	until := b.stuck.Add(within)
	if now.Before(until) {
		return BringMove{Do: BringWait, Until: until, Why: why}
	}
	b.stop("%s", why)
	return BringMove{}
}

// ill says whether a member does not serve, as far as is known. One on an older model that
// reports nothing may have no health extension yet.
func (m *Member) ill() bool {
	reports := m.Health != "" && m.Health != HealthMissing
	return m.Health != Healthy && (reports || isTrue(m.LatestModel))
}

// out says whether a member does not serve, or may stop at any time: the platform, or
// another apply, is at work on it.
func (m *Member) out() bool { return m.ill() || m.moving() }
