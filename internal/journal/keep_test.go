package journal

import (
	"context"
	"encoding/json"
	"errors"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A memory is a place without a disk or a network, for a virtual clock.
type memory struct {
	text []byte

	mu      sync.Mutex
	renewed []time.Time
	renewal func(ctx context.Context) error // what a renewal comes to; nil: it is done
	given   int                             // how often the lock was given back
}

func (m *memory) store(string) store                                   { return m }
func (*memory) list(context.Context) ([]Listed, error)                 { return nil, nil }
func (*memory) name() string                                           { return "journal" }
func (m *memory) read(_ context.Context, from int64) ([]byte, error)   { return m.text[from:], nil }
func (*memory) holder(context.Context) (*HeldError, error)             { return nil, nil }
func (*memory) unlock(context.Context) error                           { return nil }
func (*memory) put(context.Context, string, []byte) error              { return nil }
func (*memory) names(context.Context) ([]string, error)                { return nil, nil }
func (*memory) get(context.Context, string) ([]byte, error)            { return nil, nil }
func (*memory) remove(context.Context, string) error                   { return nil }
func (*memory) lasts() time.Duration                                   { return leaseTime }
func (*memory) still() error                                           { return nil }
func (m *memory) release(context.Context) error                        { m.given++; return nil }
func (m *memory) lock(context.Context, Owner, time.Time) (grip, error) { return m, nil }

func (m *memory) write(_ context.Context, at int64, line []byte, may func() error) error {
	if err := may(); err != nil {
		return err
	}
	if at != int64(len(m.text)) {
		return errMoved
	}
	m.text = append(m.text, line...)
	return nil
}

func (m *memory) renew(ctx context.Context) error {
	m.mu.Lock()
	m.renewed = append(m.renewed, time.Now())
	renewal := m.renewal
	m.mu.Unlock()
	if renewal == nil {
		return nil
	}
	return renewal(ctx)
}

// answer sets what renewals come to from now on.
func (m *memory) answer(renewal func(ctx context.Context) error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	m.renewal = renewal
}

// renewals are when there was one.
func (m *memory) renewals() []time.Time {
	m.mu.Lock()
	defer m.mu.Unlock()
	return m.renewed
}

// inMemory is a lock of a place without a network, whose clock is that of a bubble.
func inMemory(t *testing.T) (*memory, *Lock) {
	t.Helper()
	m, start := &memory{}, time.Now()
	p := &Place{stores: m, tell: func(string) {}, now: time.Now, passed: func() time.Duration { return time.Since(start) }}
	l, err := journalOf(t, p, "7").Acquire(t.Context(), Owner{Name: "ada"})
	require.NoError(t, err)
	return m, l
}

// A lock is renewed for as long as it is held, whatever became of the context that it was
// taken with; when it is given back, nothing goes on.
func TestKeep(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithCancel(t.Context())
		m, start := &memory{}, time.Now()
		p := &Place{stores: m, tell: func(string) {}, now: time.Now, passed: func() time.Duration { return time.Since(start) }}
		l, err := journalOf(t, p, "7").Acquire(ctx, Owner{Name: "ada"})
		require.NoError(t, err)
		cancel()
		time.Sleep(time.Hour)
		synctest.Wait()
		require.Len(t, m.renewals(), 240)
		require.NoError(t, l.Guard())
		require.NoError(t, l.Append(t.Context(), json.RawMessage("1")))
		require.NoError(t, l.Release(ctx))
		time.Sleep(time.Hour)
		require.Len(t, m.renewals(), 240)
		require.Equal(t, 1, m.given)
		require.ErrorIs(t, l.Guard(), ErrLost)
	})
}

// A renewal that fails is tried again soon; one that hangs does not take the time of the
// next. Guard says no while less than 20 s are left, and the lock is lost after 60.
func TestKeepThroughAnOutage(t *testing.T) {
	for name, renewal := range map[string]func(ctx context.Context) error{
		"fails": func(context.Context) error { return errors.New("no answer") },
		"hangs": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				m, l := inMemory(t)
				start := time.Now()
				m.answer(renewal)
				time.Sleep(39 * time.Second)
				require.NoError(t, l.Guard())
				time.Sleep(2 * time.Second)
				err := l.Guard()
				require.Error(t, err)
				require.NotErrorIs(t, err, ErrLost)
				require.ErrorIs(t, err, ErrOutage)
				require.NoError(t, l.Append(t.Context(), json.RawMessage("1")), "what was done is still written down")
				m.answer(nil)
				time.Sleep(15 * time.Second)
				require.NoError(t, l.Guard(), "it came back in time")

				m.answer(renewal)
				time.Sleep(75 * time.Second)
				require.ErrorIs(t, l.Guard(), ErrLost)
				require.ErrorIs(t, l.Guard(), ErrOutage)
				require.ErrorIs(t, l.Append(t.Context(), json.RawMessage("2")), ErrLost)
				require.Less(t, len(m.renewals()), 40)
				last := m.renewals()[len(m.renewals())-1]
				m.answer(nil)
				time.Sleep(time.Hour)
				require.Equal(t, last, m.renewals()[len(m.renewals())-1], "what is lost is not taken back: %s", last.Sub(start))
				require.ErrorIs(t, l.Guard(), ErrLost)
				require.NoError(t, l.Release(t.Context()))
			})
		})
	}
}

// A lock that somebody broke is lost at once, although its time is not over.
func TestKeepOfABrokenLock(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		m, l := inMemory(t)
		m.answer(func(context.Context) error { return lost("somebody unlocked it") })
		time.Sleep(renewEvery)
		synctest.Wait()
		require.EqualError(t, l.Guard(), "the lock is lost: somebody unlocked it")
		require.NotErrorIs(t, l.Guard(), ErrOutage, "it is not to be taken back")
		require.NoError(t, l.Release(t.Context()))
	})
}
