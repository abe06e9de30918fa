package journal

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/testkit/azurite"
)

func TestKeepsEntries(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		p, _ := s.open()
		require.Empty(t, s.entries(t, "7"), "a rollout that has not begun")

		l := taken(t, p, "7", "ada")
		appended(t, l, `{"a": 1}`, "{\n \"b\":\t[\"ü\"] }", `"x"`)
		want := []string{`{"a":1}`, `{"b":["ü"]}`, `"x"`}
		require.Equal(t, want, texts(t, l))
		require.Equal(t, want, s.entries(t, "7"))
		require.NoError(t, l.Guard())
		require.NoError(t, l.Release(t.Context()))
		require.ErrorIs(t, l.Append(t.Context(), json.RawMessage("1")), ErrLost)
		require.ErrorIs(t, l.Guard(), ErrLost)

		other, _ := s.open()
		l = taken(t, other, "7", "grace")
		require.Equal(t, want, texts(t, l))
		appended(t, l, "4")
		require.Equal(t, append(want, "4"), s.entries(t, "7"))
		taken(t, other, "8", "grace")
		all, err := p.List(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 2)
		require.Equal(t, "7 8", all[0].ID+" "+all[1].ID)
		require.False(t, all[0].Begun.IsZero())
		require.False(t, all[0].Written.Before(all[0].Begun), all[0])
		require.ErrorIs(t, journalOf(t, p, "7").Append(t.Context(), nil), ErrLost)
		require.ErrorIs(t, journalOf(t, p, "7").Guard(), ErrLost)
	})
}

// A journal is used up by what it takes of each, lines or bytes: a schedule that takes the
// lock every minute uses as many lines for that as for its entries.
func TestUsed(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		p, _ := s.open()
		require.Zero(t, journalOf(t, p, "7").Used())
		for range 4 {
			l := taken(t, p, "7", "ada")
			appended(t, l, "1")
			require.NoError(t, l.Release(t.Context()))
		}
		l := taken(t, p, "7", "ada")
		require.InDelta(t, 9.0/maxEntries, l.Used(), 1e-9)
		appended(t, l, `"`+strings.Repeat("x", maxEntry-2)+`"`)
		require.InDelta(t, float64(maxEntry)/maxJournal, l.Used(), 1e-4)
	})
}

// An entry that is refused for what it is changes nothing.
func TestRefusesEntries(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		p, _ := s.open()
		l := taken(t, p, "7", "ada")
		require.ErrorContains(t, l.Append(t.Context(), json.RawMessage("{")), "is not JSON")
		require.ErrorContains(t, l.Append(t.Context(), nil), "is not JSON")
		large := `"` + strings.Repeat("x", maxEntry-2) + `"`
		require.ErrorContains(t, l.Append(t.Context(), json.RawMessage(large[:1]+"x"+large[1:])), "at most 2097152")
		appended(t, l, large)
		require.Equal(t, []string{large}, s.entries(t, "7"))
	})
}

// Of those who want the lock at the same time one gets it, and the others learn who.
func TestOneHolder(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		var mu sync.Mutex
		var won []*Lock
		var refused []error
		var group sync.WaitGroup
		for n := range 8 {
			p, _ := s.open()
			j := journalOf(t, p, "7")
			group.Go(func() {
				l, err := j.Acquire(t.Context(), Owner{Name: fmt.Sprintf("Ädä %d", n), Host: "build-7", PID: n + 1})
				mu.Lock()
				defer mu.Unlock()
				if err == nil {
					won = append(won, l)
				} else {
					refused = append(refused, err)
				}
			})
		}
		group.Wait()
		require.Len(t, won, 1)
		for _, err := range refused {
			_, ok := errors.AsType[*HeldError](err)
			require.True(t, ok, err)
		}
		p, _ := s.open()
		_, err := journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "late"})
		held, ok := errors.AsType[*HeldError](err)
		require.True(t, ok, err)
		require.Contains(t, held.Name, "Ädä ")
		require.Equal(t, "build-7", held.Host)
		require.False(t, held.Since.IsZero())
		require.Less(t, held.Age, time.Minute)
		shown, err := journalOf(t, p, "7").Holder(t.Context())
		require.NoError(t, err)
		require.Equal(t, held.Owner, shown.Owner)
		require.NoError(t, won[0].Release(t.Context()))
		shown, err = journalOf(t, p, "7").Holder(t.Context())
		require.NoError(t, err)
		require.Nil(t, shown)
		taken(t, p, "7", "late")
	})
}

// A lease whose owner could not be written is given back: nobody waits for a minute for
// somebody who has no name.
func TestNamelessLease(t *testing.T) {
	onBlobs(t, func(t *testing.T, s site) {
		p, wire := s.open()
		taken(t, p, "6", "ada")
		service := wire.service
		wire.service = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Query().Get("comp") == "metadata" {
				w.Header().Set("X-Ms-Error-Code", "AuthorizationPermissionMismatch")
				w.WriteHeader(http.StatusForbidden)
				return
			}
			service.ServeHTTP(w, r)
		})
		_, err := journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
		require.ErrorIs(t, err, &azure.Error{Kind: azure.Denied})
		other, _ := s.open()
		taken(t, other, "7", "grace")
	})
}

// Whoever was unlocked notices at the next append, which is not done.
func TestUnlock(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		p, _ := s.open()
		other, _ := s.open()
		j := journalOf(t, other, "7")
		held, err := j.Holder(t.Context())
		require.NoError(t, err)
		require.Nil(t, held)
		require.NoError(t, j.Unlock(t.Context(), nil), "there is nothing to do")

		l := taken(t, p, "7", "ada")
		appended(t, l, "1")
		held, err = j.Holder(t.Context())
		require.NoError(t, err)
		require.Equal(t, Owner{"ada", "build-7", 812}, held.Owner)
		stranger := *held
		stranger.Name = "grace"
		require.ErrorContains(t, j.Unlock(t.Context(), &stranger), "changed hands")
		require.ErrorContains(t, j.Unlock(t.Context(), nil), "changed hands")
		appended(t, l, "2")
		require.NoError(t, j.Unlock(t.Context(), held))
		require.ErrorIs(t, l.Append(t.Context(), json.RawMessage("3")), ErrLost)
		require.ErrorIs(t, l.Append(t.Context(), json.RawMessage("3")), ErrLost)
		require.ErrorIs(t, l.Guard(), ErrLost)
		require.Equal(t, []string{"1", "2"}, s.entries(t, "7"))

		next := taken(t, other, "7", "grace")
		appended(t, next, "4")
		require.NoError(t, l.Release(t.Context()), "there is nothing to give back")
		appended(t, next, "5")
		require.NoError(t, next.Guard())
		require.Equal(t, []string{"1", "2", "4", "5"}, s.entries(t, "7"))
	})
}

// What a holder sends that was overtaken is refused where it arrives, too.
func TestFence(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		p, _ := s.open()
		l := taken(t, p, "7", "ada")
		appended(t, l, "1")
		late := l.end.line(time.Now(), l.writer, []byte("2"))
		require.NoError(t, l.Release(t.Context()))
		other, _ := s.open()
		next := taken(t, other, "7", "grace")
		require.ErrorIs(t, l.store.write(t.Context(), l.end.size, late, func() error { return nil }), errMoved)
		appended(t, next, "3")
		require.Equal(t, []string{"1", "3"}, s.entries(t, "7"))

		// And one that arrives between the look and the fence is not overlooked.
		require.NoError(t, next.store.write(t.Context(), next.end.size, next.end.line(time.Now(), "00000000", []byte("4")), func() error { return nil }))
		require.ErrorIs(t, next.Append(t.Context(), json.RawMessage("5")), ErrLost)
		require.NoError(t, next.Release(t.Context()))
		require.Equal(t, []string{"1", "3", "4"}, texts(t, taken(t, p, "7", "ada")))
	})
}

func TestRequests(t *testing.T) {
	onEverySite(t, func(t *testing.T, s site) {
		p, _ := s.open()
		l := taken(t, p, "7", "ada") // who holds the lock is in nobody's way
		other, _ := s.open()
		j := journalOf(t, other, "7")
		now := time.Date(2026, 11, 2, 9, 0, 0, 0, time.UTC)
		other.now = func() time.Time { now = now.Add(time.Millisecond); return now }
		var names []string
		for _, request := range []string{`{"do":"pause"}`, `{"do":"abort"}`, `{"do":"resume"}`} {
			name, err := j.Ask(t.Context(), []byte(request))
			require.NoError(t, err)
			names = append(names, name)
		}
		_, err := j.Ask(t.Context(), []byte("{"))
		require.ErrorContains(t, err, "not JSON")
		_, err = j.Ask(t.Context(), []byte(`"`+strings.Repeat("x", maxRequest)+`"`))
		require.ErrorContains(t, err, "at most 16384")
		require.NoError(t, j.store.put(t.Context(), "pause.json", []byte("{}")))
		require.NoError(t, j.store.put(t.Context(), "20261102T090000.000000000Z-0000000Z", []byte("{}")))
		require.NoError(t, j.store.put(t.Context(), "20261102T090000.000000000Z-00000000", []byte("{")))
		require.NoError(t, j.store.put(t.Context(), "20261102T090000.000000000Z-00000001", []byte(`"`+strings.Repeat("x", 2*maxRequest)+`"`)))
		said := told(p)
		found, err := l.Requests(t.Context())
		require.NoError(t, err)
		require.Equal(t, []Request{
			{names[0], json.RawMessage(`{"do":"pause"}`)}, {names[1], json.RawMessage(`{"do":"abort"}`)}, {names[2], json.RawMessage(`{"do":"resume"}`)},
		}, found)
		require.Len(t, *said, 1)
		require.Contains(t, (*said)[0], "2 requests of ")
		require.NoError(t, l.Drop(t.Context(), names[0]))
		require.NoError(t, l.Drop(t.Context(), names[0]))
		require.ErrorContains(t, l.Drop(t.Context(), "../journal"), "no name of a request")
		found, err = l.Requests(t.Context())
		require.NoError(t, err)
		require.Len(t, found, 2)
		all, err := p.List(t.Context())
		require.NoError(t, err)
		require.Len(t, all, 1, "requests are no rollouts")
	})
}

// Who asks while another's request waits has the last word, also by a clock that is behind.
func TestRequestsByTwoClocks(t *testing.T) {
	now := time.Now()
	for name, ahead := range map[string]time.Duration{"as they are": 0, "minutes ahead": 7 * time.Minute, "next year": 365 * 24 * time.Hour} {
		t.Run(name, func(t *testing.T) {
			p, _ := directorySite(t).open()
			j := journalOf(t, p, "7")
			p.now = func() time.Time { return now.Add(ahead) }
			_, err := j.Ask(t.Context(), []byte(`{"do":"pause"}`))
			require.NoError(t, err)
			p.now = func() time.Time { return now }
			for _, request := range []string{`{"do":"resume"}`, `{"do":"abort"}`} {
				_, err = j.Ask(t.Context(), []byte(request))
				require.NoError(t, err)
			}
			found, err := j.Requests(t.Context())
			require.NoError(t, err)
			var order []string
			for _, r := range found {
				order = append(order, string(r.Data))
			}
			want := []string{`{"do":"pause"}`, `{"do":"resume"}`, `{"do":"abort"}`}
			if ahead > maxAhead { // that is no clock that anybody goes by
				want = []string{want[1], want[2], want[0]}
			}
			require.Equal(t, want, order)
		})
	}
}

// litter puts files with the names of requests where requests are, from a time on.
func litter(t *testing.T, j *Journal, n int, from time.Time, text string) {
	t.Helper()
	f, ok := j.store.(*files)
	require.True(t, ok)
	require.NoError(t, os.MkdirAll(f.requestsDir(), 0o755))
	for i := range n {
		name := requestAt(from.Add(time.Duration(i))) + fmt.Sprintf("-%08x", i)
		require.NoError(t, os.WriteFile(filepath.Join(f.requestsDir(), name), []byte(text), 0o600))
	}
}

// What is no request does not keep one from being made and seen, however much of it
// there is, and whenever it says that it was made.
func TestRequestAmongLitter(t *testing.T) {
	now := time.Now()
	for name, tt := range map[string]struct {
		n    int
		from time.Time
		text string
	}{
		"some, older":    {100, now.Add(-time.Hour), "no JSON"},
		"more, older":    {3 * maxReads, now.Add(-time.Hour), "no JSON"},
		"JSON, older":    {3 * maxReads, now.Add(-time.Hour), "{}"},
		"large":          {100, now.Add(-time.Hour), strings.Repeat("1", maxRequest+1)},
		"some, newer":    {100, now.Add(time.Hour), "no JSON"},
		"of next years":  {3 * maxReads, now.AddDate(3, 0, 0), "{}"},
		"almost as much": {maxReads - 1, now.Add(time.Hour), "{}"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p, _ := directorySite(t).open()
			said := told(p)
			j := journalOf(t, p, "7")
			litter(t, j, tt.n, tt.from, tt.text)
			asked, err := j.Ask(t.Context(), []byte(`{"do":"abort"}`))
			require.NoError(t, err)
			found, err := journalOf(t, p, "7").Requests(t.Context())
			require.NoError(t, err)
			require.LessOrEqual(t, len(found), maxReads)
			require.Contains(t, found, Request{asked, json.RawMessage(`{"do":"abort"}`)})
			require.True(t, slices.IsSortedFunc(found, func(a, b Request) int { return strings.Compare(a.Name, b.Name) }))
			require.LessOrEqual(t, len(*said), 1, "it is said in one line")
		})
	}
}

// A process that stays comes to see all requests: what was no request once is not read
// again.
func TestLitterIsReadOnce(t *testing.T) {
	p, _ := directorySite(t).open()
	said := told(p)
	j := journalOf(t, p, "7")
	asked, err := j.Ask(t.Context(), []byte(`{"do":"abort"}`))
	require.NoError(t, err)
	litter(t, j, maxReads+1, time.Now().Add(time.Hour), "no JSON")
	found, err := j.Requests(t.Context())
	require.NoError(t, err)
	require.Empty(t, found)
	require.Len(t, *said, 1)
	require.Contains(t, (*said)[0], "1000 requests of ")
	found, err = j.Requests(t.Context())
	require.NoError(t, err)
	require.Equal(t, []Request{{asked, json.RawMessage(`{"do":"abort"}`)}}, found)
}

func TestTooManyRequests(t *testing.T) {
	p, _ := directorySite(t).open()
	j := journalOf(t, p, "7")
	litter(t, j, maxWaiting-1, time.Now().Add(-time.Hour), "1")
	_, err := j.Ask(t.Context(), []byte("1"))
	require.NoError(t, err)
	_, err = j.Ask(t.Context(), []byte("1"))
	require.ErrorContains(t, err, "10000 requests wait")
	require.ErrorContains(t, err, "remove what is none")
	require.ErrorContains(t, err, j.store.name())
}

// A life is all that one process does with a rollout; it goes on from what is there.
func life(ctx context.Context, p *Place) (kept []string, err error) {
	j, err := p.Journal("7")
	if err != nil {
		return nil, err
	}
	if _, err := j.Ask(ctx, []byte(`{"do":"pause"}`)); err != nil {
		return nil, err
	}
	l, err := j.Acquire(ctx, Owner{Name: "ada", Host: "build-7", PID: 812})
	if err != nil {
		return nil, err
	}
	defer func() {
		if releaseErr := l.Release(ctx); err == nil {
			err = releaseErr
		}
	}()
	before, err := l.Entries(ctx)
	if err != nil {
		return nil, err
	}
	for n := len(before); n < 3; n++ {
		if err := l.Append(ctx, fmt.Appendf(nil, `{"n":%d}`, n)); err != nil {
			return kept, err
		}
		kept = append(kept, fmt.Sprintf(`{"n":%d}`, n))
	}
	asked, err := l.Requests(ctx)
	if err != nil {
		return kept, err
	}
	for _, r := range asked {
		if err := l.Drop(ctx, r.Name); err != nil {
			return kept, err
		}
	}
	return kept, nil
}

var whole = []string{`{"n":0}`, `{"n":1}`, `{"n":2}`}

// requestsOfALife is how many requests a life is, first and second.
func requestsOfALife(t *testing.T, s site) int {
	t.Helper()
	p, w := s.open()
	_, err := life(t.Context(), p)
	require.NoError(t, err)
	require.Equal(t, whole, s.entries(t, "7"))
	require.Greater(t, w.count(), 12)
	return w.count()
}

// A trial is a life with a misfortune, and what must hold after it.
type trial struct {
	name string
	run  func(ctx context.Context, s site) error
}

// tryAll makes the trials, each in a place of its own and all at the same time: they
// wait more than they work.
func tryAll(t *testing.T, s site, trials []trial) {
	t.Helper()
	failed := make([]error, len(trials))
	var group sync.WaitGroup
	for n, x := range trials {
		s := sibling(t, s)
		group.Go(func() { failed[n] = x.run(t.Context(), s) })
	}
	group.Wait()
	for n, x := range trials {
		require.NoError(t, failed[n], x.name)
	}
	t.Logf("%d trials", len(trials))
}

// look is what somebody reads who has just come.
func (s site) look(ctx context.Context) ([]string, error) {
	p, _ := s.open()
	j, err := p.Journal("7")
	if err != nil {
		return nil, err
	}
	all, err := j.Entries(ctx)
	var found []string
	for _, e := range all {
		found = append(found, string(e))
	}
	return found, err
}

// complete is nil when a life has left all that it should, and no lock.
func (s site) complete(ctx context.Context) error {
	found, err := s.look(ctx)
	if err != nil {
		return err
	}
	if !slices.Equal(whole, found) {
		return fmt.Errorf("the journal has %v", found)
	}
	p, _ := s.open()
	j, err := p.Journal("7")
	if err != nil {
		return err
	}
	held, err := j.Holder(ctx)
	if err != nil {
		return err
	}
	if held != nil {
		return fmt.Errorf("the lock was not given back: %w", held)
	}
	if left, err := j.Requests(ctx); err != nil || len(left) > 0 {
		return fmt.Errorf("requests are left: %v, %w", left, err)
	}
	return nil
}

// Whichever answer is lost, and however a request arrives: nothing is lost or doubled.
func TestLostAnswers(t *testing.T) {
	onBlobs(t, func(t *testing.T, s site) {
		var trials []trial
		for n := range requestsOfALife(t, s) {
			for fate, name := range map[int]string{dropped: "dropped", unheard: "unheard", doubled: "doubled", overtaken: "overtaken"} {
				trials = append(trials, trial{fmt.Sprintf("request %d is %s", n+1, name), func(ctx context.Context, s site) error {
					p, w := s.open()
					w.setFate(func(k int, _ *http.Request) int {
						if k == n+1 {
							return fate
						}
						return carry
					})
					if kept, err := life(ctx, p); err != nil || !slices.Equal(whole, kept) {
						return fmt.Errorf("kept %v: %w", kept, err)
					}
					return s.complete(ctx)
				}})
			}
		}
		tryAll(t, s, trials)
	})
}

// A process is killed at each request, before it arrives or when it has; the next one
// goes on from what is there, and the end is the same.
func TestKilledAnywhere(t *testing.T) {
	onBlobs(t, func(t *testing.T, s site) {
		var trials []trial
		for n := range requestsOfALife(t, s) {
			for fate, name := range map[int]string{dropped: "before", unheard: "after"} {
				trials = append(trials, trial{fmt.Sprintf("killed %s request %d", name, n+1), func(ctx context.Context, s site) error {
					return killed(ctx, s, n+1, fate)
				}})
			}
		}
		tryAll(t, s, trials)
	})
}

func killed(ctx context.Context, s site, at, fate int) error {
	p, w := s.open()
	alive, kill := context.WithCancel(ctx)
	defer kill()
	w.setFate(func(k int, _ *http.Request) int {
		switch {
		case k < at:
			return carry
		case k == at:
			kill()
			return fate
		}
		return dropped // nothing comes from the dead, and no release either
	})
	kept, _ := life(alive, p) // of the last request, which gives the lock back, it may be nil
	found, err := s.look(ctx)
	if err != nil || len(found) < len(kept) || len(found) > len(whole) || !slices.Equal(whole[:len(found)], found) {
		return fmt.Errorf("after %v was kept the journal has %v: %w", kept, found, err)
	}
	next, _ := s.open()
	if s.pass != nil {
		s.pass(leaseTime + time.Second)
	} else { // whose time is real
		j, err := next.Journal("7")
		if err != nil {
			return err
		}
		held, err := j.Holder(ctx)
		if err != nil {
			return err
		}
		if err := j.Unlock(ctx, held); err != nil {
			return err
		}
	}
	if _, err := life(ctx, next); err != nil {
		return err
	}
	return s.complete(ctx)
}

// A holder that stalled past its lease notices before it sends anything.
func TestStalled(t *testing.T) {
	for after, name := range map[time.Duration]string{45 * time.Second: "short", time.Minute: "long"} {
		t.Run(name, func(t *testing.T) {
			s := simulatorSite(t)
			p, w := s.open()
			var asleep time.Duration
			p.passed = func() time.Duration { return asleep }
			l := taken(t, p, "7", "ada")
			appended(t, l, "1")
			asleep += 40 * time.Second
			require.NoError(t, l.Guard(), "20 s are left")
			asleep = after
			s.pass(after)
			if name == "short" {
				err := l.Guard()
				require.ErrorContains(t, err, "only 15s of the lock are left")
				require.NotErrorIs(t, err, ErrLost)
				appended(t, l, "2")
				require.NoError(t, l.renew(t.Context()))
				require.NoError(t, l.Guard())
				return
			}
			other, _ := s.open()
			next := taken(t, other, "7", "grace")
			appended(t, next, "2")
			sent := w.count()
			require.ErrorIs(t, l.Append(t.Context(), json.RawMessage("3")), ErrLost)
			require.ErrorIs(t, l.Guard(), ErrLost)
			require.ErrorIs(t, l.renew(t.Context()), ErrLost)
			require.Equal(t, sent, w.count(), "nothing was sent")
			require.NoError(t, l.Release(t.Context()))
			require.NoError(t, next.renew(t.Context()), "its lock is as it was")
			require.Equal(t, []string{"1", "2"}, s.entries(t, "7"))
		})
	}
}

// What counts is when a renewal was sent, not when it was answered.
func TestRenewalCountsFromItsStart(t *testing.T) {
	s := simulatorSite(t)
	p, w := s.open()
	var mu sync.Mutex
	var passed time.Duration
	sleep := func(d time.Duration) { mu.Lock(); defer mu.Unlock(); passed += d }
	p.passed = func() time.Duration { mu.Lock(); defer mu.Unlock(); return passed }
	l := taken(t, p, "7", "ada")
	sleep(30 * time.Second)
	w.setFate(func(int, *http.Request) int { sleep(25 * time.Second); return carry })
	require.NoError(t, l.renew(t.Context()))
	require.Equal(t, 35*time.Second, l.left())
}

// A holder that was unlocked learns it from its renewal, too.
func TestRenewalOfABrokenLease(t *testing.T) {
	onBlobs(t, func(t *testing.T, s site) {
		p, _ := s.open()
		l := taken(t, p, "7", "ada")
		require.NoError(t, l.renew(t.Context()))
		held, err := l.Holder(t.Context())
		require.NoError(t, err)
		other, _ := s.open()
		require.NoError(t, journalOf(t, other, "7").Unlock(t.Context(), held))
		require.ErrorIs(t, l.renew(t.Context()), ErrLost)
		require.ErrorContains(t, l.Guard(), "somebody unlocked it")
	})
}

// sibling is a place of the same kind with nothing in it.
func sibling(t *testing.T, s site) site {
	t.Helper()
	if s.pass != nil {
		return simulatorSite(t)
	}
	return blobSite(t, azurite.Service(t))
}

// A container that is not there is said, by its name.
func TestNoContainer(t *testing.T) {
	onBlobs(t, func(t *testing.T, s site) {
		p, _ := s.open()
		all, err := p.List(t.Context())
		require.NoError(t, err, "one with nothing in it is there")
		require.Empty(t, all)
		blobs, ok := p.stores.(*blobs)
		require.True(t, ok)
		blobs.container = strings.Replace(blobs.container, "fleetctl", "other", 1)
		u, err := url.Parse(blobs.container)
		require.NoError(t, err)
		_, err = journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
		require.ErrorContains(t, err, account+u.Path+"/pay/prod/7/lock: ContainerNotFound: The specified container does not exist.")
		_, err = p.List(t.Context())
		require.ErrorIs(t, err, ErrNoPlace)
		require.ErrorIs(t, err, &azure.Error{Kind: azure.NotFound})
		require.ErrorContains(t, err, "ContainerNotFound")
	})
}
