package probe

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

// A file system that does not answer costs one goroutine, however often it is
// asked, and is asked again once it has answered.
func TestWithin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		c, release := newCall(), make(chan struct{})
		var calls atomic.Int64
		hang := func() (int64, error) {
			n := calls.Add(1)
			<-release
			return n, nil
		}
		ask := func() error {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			defer cancel()
			_, err := within(ctx, c, hang)
			return err
		}
		begun := time.Now()
		beside := make(chan error)
		go func() { beside <- ask() }()
		synctest.Wait()
		require.ErrorIs(t, ask(), context.DeadlineExceeded, "somebody else's call may still return")
		require.ErrorIs(t, <-beside, context.DeadlineExceeded)
		for range 100 {
			require.EqualError(t, ask(), "hangs since "+begun.UTC().Format(time.RFC3339))
		}
		require.Equal(t, 2*time.Second, time.Since(begun), "the others are told at once")
		require.EqualValues(t, 1, calls.Load())

		close(release)
		synctest.Wait()
		n, err := within(t.Context(), c, hang)
		require.NoError(t, err)
		require.EqualValues(t, 2, n)

		odd := errors.New("odd")
		_, err = within(t.Context(), c, func() (int, error) { return 0, odd })
		require.ErrorIs(t, err, odd)
	})
}
