package imds

import (
	"context"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestScenarioErrors(t *testing.T) {
	tests := map[string]struct {
		text string
		want []string
	}{
		"unknown key":         {"vmss: []\n", []string{`s.yaml:1: unknown key "vmss"; known are description, vms, rate_limit, first_call_delay, timeline`}},
		"unknown key of step": {"timeline:\n  - at: 5s\n    publsh: {type: Preempt}\n", []string{`s.yaml:3: unknown key "publsh"; known are at, when, after, publish`}},
		"unknown key of VM":   {"vms:\n  - {nam: web_0}\n", []string{`s.yaml:2: unknown key "nam"; known are name,`}},
		"bare number":         {"timeline:\n  - at: 5\n    clear_faults: true\n", []string{`s.yaml:2: "5" is not a duration: write a number with a unit, like 30s or 5m`}},
		"list for a duration": {"timeline:\n  - at: [5s]\n    clear_faults: true\n", []string{`s.yaml:2: not a duration`}},
		"wrong kind of value": {"rate_limit: many\n", []string{"s.yaml:1: `many` (str) is not the kind of value that belongs here"}},
		"syntax":              {"vms: [\n", []string{`s.yaml:1: did not find expected node content`}},
		"condition":           {"timeline:\n  - when: p1 acked\n    clear_faults: true\n", []string{`s.yaml:2: "p1 acked" is no condition: write "acked ID", "started ID" or "vanished ID"`}},
		"several at once": {
			"rate_limit: x\ntimeline:\n  - at: 5\n    foo: 1\n",
			[]string{"s.yaml:1: ", "s.yaml:3: ", `s.yaml:4: unknown key "foo"`},
		},
		"twins":          {"vms:\n  - {name: web_0}\n  - {name: WEB_0}\n", []string{`s.yaml:3: vms[1]: there are two machines named "WEB_0"`}},
		"negative delay": {"first_call_delay: -1s\n", []string{"s.yaml:1: first_call_delay: it is not negative"}},
		"no action":      {"timeline:\n  - at: 5s\n", []string{"s.yaml:2: timeline[0]: a step does exactly one of publish"}},
		"two actions":    {"timeline:\n  - at: 5s\n    clear_faults: true\n    reset_incarnation: 1\n", []string{"s.yaml:2: timeline[0]: a step does exactly one of"}},
		"out of order": {
			"timeline:\n  - at: 5s\n    clear_faults: true\n  - clear_faults: true\n    at: 4s\n",
			[]string{"s.yaml:5: timeline[1].at: steps happen in the order of the file, and one before this is at 5s"},
		},
		"negative after": {"timeline:\n  - after: -5s\n    clear_faults: true\n", []string{"s.yaml:2: timeline[0].after: it is not negative"}},
		"unknown event": {
			"timeline:\n  - when: acked p1\n    complete: p2\n",
			[]string{`s.yaml:2: timeline[0].when: no step before this publishes "p1"`, `s.yaml:3: timeline[0].complete: no step before this publishes "p2"`},
		},
		"taken id": {
			"timeline:\n  - publish: {id: a, type: Reboot}\n  - publish:\n      type: Reboot\n      id: a\n",
			[]string{`s.yaml:5: timeline[1].publish.id: the id "a" is taken`},
		},
		"bad event":        {"timeline:\n  - publish: {id: a, type: reboot, source: me}\n", []string{`s.yaml:2: timeline[0].publish: type "reboot" is written Reboot`, `s.yaml:2: timeline[0].publish: source "me"`}},
		"bad fault":        {"timeline:\n  - fault: {kind: hang, vm: db_0}\n", []string{`s.yaml:2: timeline[0].fault: there is no machine "db_0"`}},
		"unknown instance": {"timeline:\n  - set_instance: {vm: db_0, to: {name: x}}\n", []string{`s.yaml:2: timeline[0].set_instance: there is no machine "db_0"`}},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			_, err := ParseScenario("s.yaml", []byte(tt.text))
			require.Error(t, err)
			lines := strings.Split(err.Error(), "\n")
			require.Len(t, lines, len(tt.want), err.Error())
			for _, want := range tt.want {
				require.Contains(t, err.Error(), want)
			}
		})
	}
}

func TestLoadScenario(t *testing.T) {
	file := filepath.Join(t.TempDir(), "s.yaml")
	_, err := LoadScenario(file)
	require.ErrorIs(t, err, os.ErrNotExist)
	require.NoError(t, os.WriteFile(file, make([]byte, 1<<20+1), 0o600))
	_, err = LoadScenario(file)
	require.ErrorContains(t, err, "larger than")
	require.NoError(t, os.WriteFile(file, nil, 0o600))
	sc, err := LoadScenario(file)
	require.NoError(t, err, "an empty file is one machine to which nothing happens")
	require.Equal(t, file, sc.Name)
}

// TestExamples plays the scenarios that come with the package, once with nodes
// that ack nothing and once with nodes that ack all that is theirs.
func TestExamples(t *testing.T) {
	all, err := Examples()
	require.NoError(t, err)
	require.GreaterOrEqual(t, len(all), 6)
	for _, sc := range all {
		require.NotEmpty(t, sc.Description, sc.Name)
		for _, acks := range []bool{false, true} {
			t.Run(sc.Name, func(t *testing.T) {
				synctest.Test(t, func(t *testing.T) {
					s := New(sc.Config())
					ctx, cancel := context.WithCancel(t.Context())
					done := make(chan struct{})
					if acks {
						go ackAll(ctx, t, s, done)
					} else {
						close(done)
					}
					require.NoError(t, s.Play(ctx, sc))
					time.Sleep(time.Hour)
					cancel()
					<-done
					events := s.Events()
					require.NotEmpty(t, events)
					for _, e := range events {
						require.Contains(t, []Status{Completed, Cancelled}, e.Status, "%s of %v is left over", e.Type, e.Resources)
					}
				})
			})
		}
	}
}

// ackAll is a node that polls once a second and acks what it sees.
func ackAll(ctx context.Context, t *testing.T, s *Server, done chan struct{}) {
	t.Helper()
	defer close(done)
	m := within(t, s, s.VMs()[0])
	acked := map[string]bool{}
	for sleep(ctx, time.Second) {
		r, err := m.do("GET", eventsPath, "")
		if err != nil || r.status != 200 {
			continue
		}
		for _, e := range m.events().Events {
			if e.EventStatus == Scheduled && !acked[e.EventID] && e.EventType != "Freeze" {
				acked[e.EventID] = m.ack(e.EventID) == 200
			}
		}
	}
}

func TestPlay(t *testing.T) {
	sc, err := ParseScenario("s.yaml", []byte(`
vms:
  - &vm {name: web_0, zone: "1"}
timeline:
  - at: 10s
    publish: {id: a, type: Reboot, notice: 1m}
  - when: acked a
    after: 4s
    fault: {kind: status, status: 500, count: 1}
  - complete: a
  - publish: {id: b, type: Preempt}
  - reset_incarnation: 40
  - clear_faults: true
  - set_instance: {vm: web_0, to: {name: web_1}}
  - at: 20s               # has passed
    start: b
  - cancel: b             # too late: left out
  - when: vanished a
    complete: b
  - publish: {id: c, type: Reboot}
  - cancel: c
  - when: acked c         # never: left out
    reset_incarnation: 1
  - publish: {id: d, type: Preempt, started: true}
`))
	require.NoError(t, err)
	synctest.Test(t, func(t *testing.T) {
		cfg := sc.Config()
		cfg.Speed = 2
		s := New(cfg)
		m := within(t, s, "web_0")
		played := make(chan error)
		begin := time.Now()
		go func() { played <- s.Play(t.Context(), sc) }()

		time.Sleep(5*second - 1)
		require.Empty(t, s.Events())
		time.Sleep(time.Nanosecond)
		synctest.Wait()
		a := s.Events()[0]
		require.Equal(t, 35*second, a.NotBefore.Sub(begin), "30 s at double speed")
		time.Sleep(20 * second)
		require.Equal(t, 200, m.ack(a.ID))

		require.NoError(t, <-played)
		require.Equal(t, 27*second, time.Since(begin), "2 s after the ack")
		var got []Status
		for _, e := range s.Events() {
			got = append(got, e.Status)
		}
		require.Equal(t, []Status{Completed, Completed, Cancelled, Started}, got)
		require.Equal(t, "web_1", s.Instance("web_0").Name)
		require.Empty(t, s.Faults())
		require.EqualValues(t, 45, m.events().DocumentIncarnation, "40, then b started and vanished, c came and went, d came")
	})
}

func TestPlayStops(t *testing.T) {
	for _, text := range []string{
		"timeline:\n  - at: 1h\n    clear_faults: true\n",
		"timeline:\n  - after: 1h\n    clear_faults: true\n",
		"timeline:\n  - publish: {id: a, type: Redeploy, notice: 2h}\n  - when: started a\n    complete: a\n",
	} {
		sc, err := ParseScenario("s.yaml", []byte(text))
		require.NoError(t, err)
		synctest.Test(t, func(t *testing.T) {
			ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
			defer cancel()
			begin := time.Now()
			require.NoError(t, New(Config{}).Play(ctx, sc))
			require.Equal(t, time.Minute, time.Since(begin))
		})
	}
}

func FuzzParseScenario(f *testing.F) {
	files, err := filepath.Glob("scenarios/*.yaml")
	require.NoError(f, err)
	for _, file := range files {
		data, err := os.ReadFile(file)
		require.NoError(f, err)
		f.Add(string(data))
	}
	f.Add("timeline:\n  - &a\n    publish: {type: Preempt}\n  - *a\n")
	f.Add("[]")
	f.Add("vms: {}\n---\n")
	f.Fuzz(func(t *testing.T, text string) {
		sc, err := ParseScenario("s.yaml", []byte(text))
		if err != nil {
			for line := range strings.SplitSeq(err.Error(), "\n") {
				require.NotEmpty(t, line)
			}
			return
		}
		require.NotNil(t, New(sc.Config()))
	})
}
