package rollout

import (
	"cmp"
	"slices"
	"time"
)

// A Ran is one time in which a member ran the version of a rollout.
type Ran struct {
	Set    string    `json:"set"`
	Member string    `json:"member"`
	From   time.Time `json:"from"`
	To     time.Time `json:"to,omitzero"` // zero: it still does
	Why    string    `json:"why"`
	Ended  string    `json:"ended,omitempty"`
	Failed string    `json:"failed,omitempty"` // why the member failed
	Node   string    `json:"node,omitempty"`   // what its agent said of it
	// Unseen says that the member was gone before it was seen on the version: it may
	// have run it.
	Unseen bool `json:"unseen,omitempty"`
}

// Accounting lists every member that ever ran the version, in the order in which they
// began to: the blast radius.
func Accounting(s State) []Ran {
	list := []Ran{}
	for _, key := range sorted(s.Runs) {
		m := s.Runs[key]
		for _, run := range m.Runs {
			list = append(list, Ran{
				Set: m.Set, Member: m.Name, From: run.From, To: run.To, Why: run.Why, Ended: run.Ended,
				Failed: m.Failed, Node: s.Told[key].Text, Unseen: run.Unseen,
			})
		}
	}
	slices.SortStableFunc(list, func(a, b Ran) int {
		return cmp.Or(a.From.Compare(b.From), cmp.Compare(a.Set, b.Set), cmp.Compare(a.Member, b.Member))
	})
	return list
}

// Reached counts the members of an accounting: those that ever ran the version, and those
// that run it now.
func Reached(list []Ran) (ever, now int) {
	seen := make(map[[2]string]bool, len(list))
	for i := range list {
		seen[[2]string{list[i].Set, list[i].Member}] = true
		if list[i].To.IsZero() {
			now++
		}
	}
	return len(seen), now
}
