package roll_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet/rollout"
	"github.com/fleet-agent/fleet-agent/internal/journal"
	"github.com/fleet-agent/fleet-agent/internal/roll"
	"github.com/fleet-agent/fleet-agent/internal/testkit/azurite"
)

func TestMain(m *testing.M) {
	code := m.Run()
	azurite.Stop()
	os.Exit(code)
}

// A site is a world with a place for real journals.
type site struct {
	*world

	address func() string
}

// onSites runs a test with journals in a directory, in the simulator's blobs, and in
// Azurite's when that is asked for.
func onSites(t *testing.T, s setup, test func(t *testing.T, s *site)) {
	t.Helper()
	t.Run("directory", func(t *testing.T) {
		dir := t.TempDir()
		test(t, &site{newWorld(t, s), func() string { return dir }})
	})
	t.Run("simulator", func(t *testing.T) { test(t, blobSite(t, s, nil)) })
	t.Run("azurite", func(t *testing.T) { test(t, blobSite(t, s, azurite.Service(t))) })
}

// blobSite is a world whose journals are blobs: of the simulator, unless of another
// service.
func blobSite(t *testing.T, s setup, service http.Handler) *site {
	t.Helper()
	s.scenario += "storage_accounts: [{name: " + azurite.Account + "}]\n"
	w := newWorld(t, s)
	if service != nil {
		w.blobs = service
	}
	container := fmt.Sprintf("rollouts-%d", time.Now().UnixNano())
	rec := httptest.NewRecorder()
	req := httptest.NewRequestWithContext(t.Context(), http.MethodPut, "/blob/"+azurite.Account+"/"+container+"?restype=container", http.NoBody)
	req.Header.Set("X-Ms-Version", "2024-11-04")
	w.blobs.ServeHTTP(rec, req)
	require.Equal(t, http.StatusCreated, rec.Code, rec.Body.String())
	return &site{w, func() string { return "https://" + azurite.Account + ".blob.core.windows.net/" + container + "/pay" }}
}

// A process is one that works on the site's rollout.
type process struct {
	*run

	site    *site
	client  *azure.Client
	host    string // that its client asks
	place   *journal.Place
	journal *journal.Journal
	lock    *journal.Lock
}

// process starts one with a client of its own.
func (s *site) process() *process {
	s.t.Helper()
	client, host := s.clientAt()
	place, err := journal.At(s.address(), client, nil)
	require.NoError(s.t, err)
	j, err := place.Journal("1")
	require.NoError(s.t, err)
	return &process{site: s, client: client, host: host, place: place, journal: j, run: &run{}}
}

// take takes the lock.
func (p *process) take(ctx context.Context, who string) error {
	var err error
	if p.lock, err = p.journal.Acquire(ctx, journal.Owner{Name: who, Host: "build-7", PID: 812}); err != nil {
		return err
	}
	p.site.t.Cleanup(func() { _ = p.lock.Release(context.Background()) }) // of one that is lost, too
	told := p.told
	p.run = p.site.runnerOn(p.lock, p.client)
	p.told = told
	return nil
}

// begins takes the lock and begins the rollout.
func (p *process) begins(ctx context.Context, who string) {
	t := p.site.t
	t.Helper()
	require.NoError(t, p.take(ctx, who))
	_, refusals, err := p.Start(ctx, version, rollout.Options{})
	require.NoError(t, err)
	require.Empty(t, refusals)
}

// writes are what a process has written to Azure, and how often to the journal.
func (p *process) writes() (azure []string, journal int) {
	p.site.mu.Lock()
	defer p.site.mu.Unlock()
	for i, line := range p.site.served {
		switch {
		case p.site.from[i] != p.host || strings.HasPrefix(line, "GET ") || strings.HasPrefix(line, "HEAD "):
		case !strings.Contains(line, " /blob/"):
			azure = append(azure, line)
		case strings.Contains(line, "/1/journal 201"):
			journal++
		}
	}
	return azure, journal
}

// A schedule that takes the lock for each tick, with a real journal, comes to the same
// end of a bad version as one process; and whoever looks sees the same.
func TestRealJournal(t *testing.T) {
	t.Parallel()
	onSites(t, setup{health: "Unhealthy", rollout: quickly}, func(t *testing.T, s *site) {
		first := s.process()
		first.begins(t.Context(), "pipeline 1")
		require.NoError(t, first.lock.Release(t.Context()))
		var status roll.Status
		for n := 0; !status.State.Phase.Over(); n++ {
			require.Less(t, n, 60)
			p := s.process()
			require.NoError(t, p.take(t.Context(), fmt.Sprint("pipeline ", n+2)))
			var err error
			status, err = p.Advance(t.Context())
			require.NoError(t, err, p.log())
			require.NoError(t, p.lock.Release(t.Context()))
			s.server.Advance(status.Again.Sub(s.clock.Now()))
		}
		s.halted(&status, "")
		looker := s.process()
		seen, err := looker.status()
		require.NoError(t, err)
		require.Equal(t, status.State.Why, seen.State.Why)
		require.Len(t, seen.Events, len(status.Events))
		all, err := looker.place.List(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1)
	})
}

// Of two runners that want the same rollout at once one works, and the other one says
// who does, and does nothing.
func TestTwoRunners(t *testing.T) {
	t.Parallel()
	onSites(t, setup{rollout: quickly}, func(t *testing.T, s *site) {
		both := []*process{s.process(), s.process()}
		errs := make([]error, 2)
		var group sync.WaitGroup
		for i, p := range both {
			group.Go(func() {
				lock, err := p.journal.Acquire(t.Context(), journal.Owner{Name: fmt.Sprint("runner-", i), Host: "build-7", PID: 800 + i})
				if errs[i] = err; err == nil {
					p.lock = lock
				}
			})
		}
		group.Wait()
		works := 0
		if errs[0] != nil {
			works = 1
		}
		require.NoError(t, errs[works])
		held, ok := errors.AsType[*journal.HeldError](errs[1-works])
		require.True(t, ok, errs[1-works])
		require.True(t, held.Name == "" || held.Name == fmt.Sprint("runner-", works), "who has just taken it may not have said so yet")

		worker, other := both[works], both[1-works]
		t.Cleanup(func() { _ = worker.lock.Release(context.Background()) })
		worker.run, other.run = s.runnerOn(worker.lock, worker.client), s.runnerOn(other.journal, other.client)
		_, refusals, err := worker.Start(t.Context(), version, rollout.Options{})
		require.NoError(t, err)
		require.Empty(t, refusals)
		_, err = other.journal.Acquire(t.Context(), journal.Owner{Name: "late"})
		held, ok = errors.AsType[*journal.HeldError](err)
		require.True(t, ok, err)
		require.Contains(t, held.Error(), fmt.Sprintf("at work on this rollout: runner-%d on build-7 (process %d), since ", works, 800+works))

		_, err = worker.Advance(t.Context())
		require.NoError(t, err)
		s.server.Advance(time.Minute)
		_, err = other.Advance(t.Context())
		require.ErrorIs(t, err, journal.ErrLost, "it has no lock")
		look, err := other.Look(t.Context())
		require.NoError(t, err)
		require.Equal(t, rollout.Rolling, look.State.Phase)
		name, err := other.journal.Ask(t.Context(), []byte(`{"do":"pause","by":"bob"}`))
		require.NoError(t, err)
		look, err = other.Status(t.Context())
		require.NoError(t, err)
		require.Equal(t, name, look.Asked[0].ID)
		require.NoError(t, other.journal.Drop(t.Context(), name))

		status, err := worker.Run(t.Context())
		require.NoError(t, err, worker.log())
		require.Equal(t, rollout.Succeeded, status.State.Phase)
		wrote, entries := other.writes()
		require.Empty(t, wrote)
		require.Zero(t, entries)
	})
}

// What an operator asks, who has no lock, is taken up within one look of who has it.
func TestAskedOfAHolder(t *testing.T) {
	t.Parallel()
	const slow = `  waves:
    - {name: canary, scale_sets: [vmss-authz], instances: 1, soak: 2h}
    - {name: all, scale_sets: [vmss-authz], soak: 5m}
`
	onSites(t, setup{rollout: slow}, func(t *testing.T, s *site) {
		worker, operator := s.process(), s.process()
		worker.begins(t.Context(), "pipeline")
		type question struct {
			when, ask, id string
			at            time.Time
		}
		questions := []*question{
			{when: " wave soaking", ask: `{"do":"pause","by":"ops"}`},
			{when: " blocked operator", ask: `{"do":"abort","by":"ops","why":"enough"}`},
		}
		asked := 0
		s.ticks = append(s.ticks, func() {
			if asked == len(questions) || !strings.Contains(worker.log(), questions[asked].when) {
				return
			}
			q := questions[asked]
			asked++
			name, err := operator.journal.Ask(t.Context(), []byte(q.ask))
			require.NoError(t, err)
			q.id, q.at = name, s.clock.Now()
		})
		status, err := worker.Run(t.Context())
		require.NoError(t, err, worker.log())
		require.Equal(t, rollout.Aborted, status.State.Phase, worker.log())
		require.Equal(t, len(questions), asked, worker.log())
		taken := 0
		for _, e := range status.Events {
			for _, q := range questions {
				if e.Kind == rollout.Requested && e.Request.ID == q.id {
					taken++
					require.LessOrEqual(t, e.At.Sub(q.at), 20*time.Second, q.ask)
				}
			}
		}
		require.Equal(t, len(questions), taken, worker.log())
		left, err := operator.journal.Requests(t.Context())
		require.NoError(t, err)
		require.Empty(t, left)
	})
}

var stallStep = flag.Int("stall-step", 9*rarer, "TestStalledHolder stalls a holder at every such write; 1: at each")

// A holder that stalls past its lease, after any write to Azure or to the journal, finds
// when it wakes that another one has taken over and come to the end: it writes nothing
// more, to neither.
func TestStalledHolder(t *testing.T) {
	t.Parallel()
	stalls := 0
	for n := 1; stalledAt(t, n); n += *stallStep {
		stalls++
	}
	require.GreaterOrEqual(t, stalls, 40 / *stallStep)
	t.Logf("%d stalls", stalls)
}

// stalledAt stalls a holder after its n-th write. It is false when there were fewer.
func stalledAt(t *testing.T, n int) bool {
	t.Helper()
	s := blobSite(t, setup{health: "Unhealthy", rollout: quickly}, nil)
	first := s.process()
	var mu sync.Mutex
	var asleep time.Duration
	first.place.Passes(func() time.Duration { mu.Lock(); defer mu.Unlock(); return asleep })
	first.begins(t.Context(), "the first")
	seen, name := 0, ""
	var status roll.Status
	var wrote []string
	var entries int
	var log string
	s.after = func(r *http.Request) bool {
		if r.Host != first.host || r.Method == http.MethodGet || r.Method == http.MethodHead {
			return false
		}
		s.mu.Lock()
		seen++
		now := seen == n
		s.mu.Unlock()
		if !now {
			return false
		}
		name = r.Method + " " + r.URL.Path + "?" + r.URL.RawQuery
		mu.Lock()
		asleep += 61 * time.Second
		mu.Unlock()
		s.server.Advance(61 * time.Second)
		second := s.process()
		if err := second.take(t.Context(), "the second"); err != nil {
			t.Errorf("%s: %v", name, err)
			return false
		}
		var err error
		if status, err = second.Run(t.Context()); err != nil {
			t.Errorf("%s: %v", name, err)
		}
		log = second.log()
		wrote, entries = first.writes()
		return false
	}
	_, err := first.Run(t.Context())
	s.mu.Lock()
	s.after = nil // what follows is the test's own
	s.mu.Unlock()
	if name == "" {
		require.NoError(t, err, first.log())
		return false
	}
	log = name + "\n" + first.log() + "\n---\n" + log
	require.ErrorIs(t, err, journal.ErrLost, log)
	again, more := first.writes()
	require.Equal(t, wrote, again, log)
	require.Equal(t, entries, more, log)
	require.NoError(t, first.lock.Release(t.Context()))
	s.halted(&status, log)
	seenNow, err := s.process().status()
	require.NoError(t, err)
	require.Len(t, seenNow.Events, len(status.Events), log)
	return true
}

// status is what the journal says.
func (p *process) status() (roll.Status, error) {
	return (&roll.Runner{Journal: p.journal}).Status(p.site.t.Context())
}

// A runner that died with its lease left keeps the next one waiting for a minute at
// most, and that one says for whom it waits, and how old the lock is.
func TestLeaseOfTheDead(t *testing.T) {
	t.Parallel()
	s := blobSite(t, setup{rollout: quickly}, nil)
	dead := s.process()
	dead.begins(t.Context(), "the dead")
	_, err := dead.Advance(t.Context())
	require.NoError(t, err)
	left := time.Minute
	for try := 0; ; try++ {
		next := s.process()
		err := next.take(t.Context(), "the next")
		if err == nil {
			status, err := next.Run(t.Context())
			require.NoError(t, err, next.log())
			require.Equal(t, rollout.Succeeded, status.State.Phase)
			break
		}
		held, ok := errors.AsType[*journal.HeldError](err)
		require.True(t, ok, err)
		require.Equal(t, "the dead", held.Name)
		require.False(t, held.Since.IsZero())
		require.Contains(t, err.Error(), "at work on this rollout: the dead on build-7 (process 812), since ")
		require.Positive(t, left, "the lease is a minute")
		s.server.Advance(20 * time.Second)
		left -= 20 * time.Second
	}
}
