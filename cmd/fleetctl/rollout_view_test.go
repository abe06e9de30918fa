package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/cli"
	"github.com/fleet-agent/fleet-agent/internal/fleet/fleettest"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
)

// shown is when the rollouts of the tests are shown.
var shown = fleettest.Now.Add(2 * time.Second)

func ago(d time.Duration) time.Time { return shown.Add(-d) }

// rollingView is a rollout in its second wave.
func rollingView() rollout.View {
	v := rollout.View{
		Version: 1, ID: "3", Fleet: "pay", Image: "authz", ImageVersion: "1.8.3", Phase: rollout.Rolling, Since: ago(95 * time.Minute), Why: "begun",
		Begun: ago(96 * time.Minute), At: shown, Observed: ago(20 * time.Second), Next: shown.Add(40 * time.Second),
		Lock: "ops on runner-7 (process 4711) has worked on it since 02:10",
		Waves: []rollout.WaveView{
			{
				Name: "canary", Step: rollout.WaveDone, Since: ago(50 * time.Minute), Sets: []string{"vmss-authz"}, Instances: 1, Soak: 30 * time.Minute, Soaked: 30 * time.Minute, Evidence: 1, Foreseen: 1, Worst: 4,
				Batches: []rollout.BatchView{{Set: "vmss-authz", Number: 1, Step: rollout.BatchDone, Members: []string{"vmss-authz_0"}}},
			},
			{
				Name: "east", Step: rollout.Batches, Since: ago(45 * time.Minute), Sets: []string{"vmss-authz"}, Soak: time.Hour, Approve: true, Approved: "ops", Evidence: 4, Foreseen: 4, Worst: 12,
				Batches: []rollout.BatchView{
					{Set: "vmss-authz", Number: 2, Step: rollout.BatchDone, Members: []string{"vmss-authz_1", "vmss-authz_2", "vmss-authz_3"}},
					{Set: "vmss-authz", Number: 3, Step: rollout.Verifying, Members: []string{"vmss-authz_4", "vmss-authz_5"}},
				},
			},
			{Name: "west", Sets: []string{"vmss-authz-west"}, Soak: 24 * time.Hour, Approve: true, Foreseen: 5, Worst: 26},
		},
		Sets: []rollout.SetView{
			{Name: "vmss-authz", Location: "eastus", Driver: "batches", Model: "1.8.3", LastGood: "1.8.2", Members: members("vmss-authz", "VVVVNUoooxd")},
			{Name: "vmss-authz-west", Location: "westus3", Driver: "batches", Model: "1.8.2", LastGood: "1.8.2", Members: members("vmss-authz-west", "oooooooooooooo")},
		},
		Gates: []rollout.GateView{
			{Name: "healthy", Asked: ago(20 * time.Second), Verdict: rollout.Waiting, Why: "4 of 5 verified, 1 not Healthy yet; Healthy within 10m, for 2m"},
			{Name: "vanished", Asked: ago(20 * time.Second), Verdict: rollout.Pass, Why: "nobody on the version left"},
			{Name: "window", Asked: ago(20 * time.Second), Verdict: rollout.Pass, Why: "open"},
			{Name: "approval", Verdict: rollout.Waiting, Why: "wave west is not approved"},
			{Name: "error-rate", Asked: ago(3 * time.Minute), Verdict: rollout.Pass, Why: "0.2 is not above 1"},
			{Name: "latency", Asked: ago(3 * time.Minute), Verdict: rollout.Unknown, Why: "the traffic is 0.01, and less than 1 says nothing"},
		},
		Waits: []rollout.WaitView{
			{For: "the verdict on vmss-authz_4", Until: shown.Add(10 * time.Minute)},
			{For: "the upgrade of vmss-authz_5", Until: shown.Add(25 * time.Minute)},
		},
		Owed: []rollout.Left{
			{Set: "vmss-authz", Member: "vmss-authz_5", Why: "drained by this rollout, at most until 03:40 UTC"},
			{Set: "vmss-authz", Why: "its automatic repairs are suspended by this rollout"},
		},
	}
	v.Sets[0].Members[10].Why = "it is deallocated"
	for i := range 5 {
		v.Ran = append(v.Ran, rollout.Ran{Set: "vmss-authz", Member: fmt.Sprintf("vmss-authz_%d", i), From: ago(time.Hour), Why: "upgraded by wave east"})
	}
	return v
}

// members are members by their cells.
func members(set, cells string) []rollout.MemberView {
	by := make(map[string]rollout.Cell)
	for cell, mark := range cellMarks {
		by[mark.ASCII] = cell
	}
	list := []rollout.MemberView{}
	for i, c := range cells {
		list = append(list, rollout.MemberView{Name: fmt.Sprintf("%s_%d", set, i), Cell: by[string(c)], Version: "1.8.2"})
	}
	return list
}

// haltedView is the incident of the article: one member ran it.
func haltedView() rollout.View {
	v := rollingView()
	v.Phase, v.Since, v.Ended, v.Class = rollout.Halted, ago(12*time.Minute), ago(12*time.Minute), rollout.Bad
	v.Why = "vmss-authz_0 of vmss-authz: it is Unhealthy 10m0s after its upgrade (1 of 1 on 1.8.3 failed)"
	v.Lock, v.Next, v.Waits, v.Owed = "", time.Time{}, nil, nil
	v.Waves[0].Step, v.Waves[0].Soaked, v.Waves[0].Evidence = rollout.Soaking, 12*time.Minute, 0
	v.Waves[1] = rollout.WaveView{Name: "east", Sets: []string{"vmss-authz"}, Soak: time.Hour, Foreseen: 4, Worst: 12}
	v.Sets[0].Model = "1.8.2"
	v.Sets[0].Members = members("vmss-authz", "roooooooooo")
	m := &v.Sets[0].Members[0]
	m.Why, m.Node = "it is Unhealthy 10m0s after its upgrade", "NOT READY since 02:58:10\nhsm: dial tcp 10.1.4.9:9002: connection refused\nservice: ok"
	v.Gates[0].Verdict, v.Gates[0].Why = rollout.Fail, "0 of 1 verified, 1 failed; Healthy within 10m, for 2m"
	v.Ran = []rollout.Ran{{Set: "vmss-authz", Member: "vmss-authz_0", From: ago(40 * time.Minute), To: ago(14 * time.Minute), Why: "upgraded by wave canary", Ended: "runs 1.8.2"}}
	return v
}

// rolloutViews are rollouts by the names of their golden files.
func rolloutViews() map[string]rollout.View {
	views := map[string]rollout.View{"rolling": rollingView(), "halted": haltedView()}

	v := rollingView()
	v.Waves[1].Step, v.Waves[1].Approved, v.Waves[1].Batches, v.Lock = rollout.Asking, "", nil, ""
	v.Waves[1].Evidence, v.Owed = 1, nil
	v.Sets[0].Members = members("vmss-authz", "Voooooooood")
	v.Ran = v.Ran[:1]
	v.Waits = []rollout.WaitView{{For: "the approval of wave east", Until: shown.Add(6*24*time.Hour + 23*time.Hour)}}
	v.Asked = []rollout.Request{{ID: "1", Do: rollout.Pause, By: "kim", Why: "the HSM is in maintenance", At: ago(5 * time.Second)}}
	views["asking"] = v

	v = rollingView()
	v.Paused, v.PausedSince, v.Class = "vmss-authz_5: AllocationFailed: We do not have sufficient capacity for the requested VM size in this region. Read more about improving likelihood of allocation success at https://aka.ms/allocation-guidance", ago(18*time.Minute), rollout.NoCapacity
	v.Waits = append(v.Waits, rollout.WaitView{For: "paused (capacity): " + v.Paused, Until: shown.Add(23*time.Hour + 42*time.Minute)})
	v.Sets[1] = rollout.SetView{Name: "vmss-authz-west", Location: "westus3", Driver: "batches", Model: "1.8.2", LastGood: "1.8.2", Unknown: "429 Too Many Requests", Unnamed: 14}
	views["paused"] = v

	v = rollingView()
	v.Overdue, v.Worked, v.Lock = true, ago(3*time.Hour), "" // status itself has read Azure just now
	v.Gates = v.Gates[:2]
	views["overdue"] = v

	v = haltedView()
	v.Phase = rollout.Incomplete
	v.Sets[0].Members = members("vmss-authz", "Xoooooooooo")
	v.Left = []rollout.Left{{Set: "vmss-authz", Member: "vmss-authz_0", Why: "it is protected from scale set actions"}, {Why: "the version is not marked and excluded"}}
	v.Ran[0].To, v.Ran[0].Ended = time.Time{}, ""
	views["incomplete"] = v

	v = rollingView()
	v.Phase, v.Since, v.Why, v.Ended, v.Lock, v.Next, v.Waits, v.Owed = rollout.Succeeded, ago(time.Minute), "every wave is done, and the version is promoted", ago(time.Minute), "", time.Time{}, nil, nil
	for i := range v.Waves {
		v.Waves[i].Step, v.Waves[i].Soaked, v.Waves[i].Evidence = rollout.WaveDone, v.Waves[i].Soak, 11
	}
	v.Sets[0].Members = members("vmss-authz", strings.Repeat("V", 11))
	v.Sets[1].Members = members("vmss-authz-west", strings.Repeat("V", 14))
	v.Sets[1].Model = "1.8.3"
	v.Waves[2].Approved = "kim"
	v.Gates[0].Verdict, v.Gates[0].Why = rollout.Pass, "25 of 25 verified; Healthy within 10m, for 2m"
	v.Gates[3].Verdict, v.Gates[3].Why = rollout.Pass, "wave west was approved by kim"
	views["succeeded"] = v

	v = rollingView()
	v.Sets = nil
	for i := range 3 {
		name := fmt.Sprintf("vmss-%d", i)
		v.Sets = append(v.Sets, rollout.SetView{
			Name: name, Location: "eastus", Driver: "batches", Model: "1.8.3", LastGood: "1.8.2",
			Members: members(name, strings.Repeat("V", 120*i)+strings.Repeat("U", 20)+strings.Repeat("o", 1000-480*i)+"xXG"),
		})
		for j := range v.Sets[i].Members {
			if m := &v.Sets[i].Members[j]; m.Cell == rollout.CellFailed {
				m.Why = "it reports no health 10m0s after its upgrade"
			}
		}
	}
	views["thousand"] = v
	return views
}

// TestRolloutPages: the pages as they are, with Unicode and without.
func TestRolloutPages(t *testing.T) {
	views := rolloutViews()
	for _, name := range slices.Sorted(maps.Keys(views)) {
		t.Run(name, func(t *testing.T) {
			var text strings.Builder
			v := views[name]
			for _, style := range []cli.Style{{Unicode: true}, {}} {
				g, _ := seeing(t, style, 80, nil)
				fmt.Fprintf(&text, "== 80 columns, %s\n%s", map[bool]string{true: "Unicode", false: "ASCII"}[style.Unicode], pageText(g.rolloutPage(&v)))
			}
			golden(t, "rollout/"+name, text.String())
		})
	}
}

// TestRolloutPagesKeepTheirWidth: no line is wider than the terminal, and nothing of a
// stranger's text moves a cursor.
func TestRolloutPagesKeepTheirWidth(t *testing.T) {
	sgr := regexp.MustCompile("\x1b\\[[0-9;]*m")
	views := rolloutViews()
	odd := rollingView()
	odd.Image, odd.Why, odd.Lock = strings.Repeat("long", 50), "\x1b[2J\u202e"+strings.Repeat("x", 300), "\x1b]0;title\a"
	odd.Phase = rollout.Halted
	odd.Sets[0].Name = strings.Repeat("name", 40)
	odd.Sets[0].Members[0] = rollout.MemberView{Name: strings.Repeat("m", 200) + "\n\x1b[A", Cell: rollout.CellFailed, Node: "\x1b[31mred\r\n" + strings.Repeat("word ", 400)}
	odd.Sets[0].Members[1].Cell = "no such cell"
	odd.Gates[0].Name = strings.Repeat("gate", 40)
	odd.Left = []rollout.Left{{Set: "\x1b", Member: "\u202e", Why: strings.Repeat("y", 500)}}
	views["odd"] = odd
	for name, v := range views {
		for _, columns := range []int{40, 60, 80, 120} {
			for _, unicode := range []bool{false, true} {
				g, _ := seeing(t, cli.Style{Unicode: unicode}, columns, nil)
				text := pageText(g.rolloutPage(&v))
				for line := range strings.Lines(text) {
					require.LessOrEqual(t, utf8.RuneCountInString(strings.TrimSuffix(line, "\n")), columns, "%s at %d: %s", name, columns, line)
				}
				require.Equal(t, -1, strings.IndexFunc(text, func(r rune) bool { return r != '\n' && (r < ' ' || r >= 0x7f && r < 0xa0 || r == 0x202e) }), name)
				g.out.Style.Color = true
				require.Equal(t, text, sgr.ReplaceAllString(pageText(g.rolloutPage(&v)), ""), name)
			}
		}
	}
}

// TestCellsTellApart: every cell has a character of its own, and a meaning.
func TestCellsTellApart(t *testing.T) {
	seen := make(map[string]bool)
	for _, c := range rollout.Cells {
		mark := cellMarks[c]
		require.Len(t, mark.ASCII, 1, c)
		require.False(t, seen[mark.ASCII], c)
		require.NotEmpty(t, cellTexts[c], c)
		seen[mark.ASCII] = true
	}
}
