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
		for range 100 {
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Second)
			_, err := within(ctx, c, hang)
			require.ErrorIs(t, err, context.DeadlineExceeded)
			cancel()
		}
		require.EqualValues(t, 1, calls.Load())

		close(release)
		n, err := within(t.Context(), c, hang)
		require.NoError(t, err)
		require.EqualValues(t, 2, n)

		odd := errors.New("odd")
		_, err = within(t.Context(), c, func() (int, error) { return 0, odd })
		require.ErrorIs(t, err, odd)
	})
}
