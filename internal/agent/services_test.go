package agent

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func TestServicesStopInReverseAndJoinErrors(t *testing.T) {
	for name, c := range map[string]struct {
		fail bool // the middle one ends by itself
		want string
	}{
		"when asked":                {},
		"when one of them gives up": {fail: true, want: "run middle: out of order"},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				stopped := make(chan string, 3)
				until := func(name string) service {
					return service{name, func(ctx context.Context) error {
						<-ctx.Done()
						stopped <- name
						return ctx.Err()
					}}
				}
				middle := until("middle")
				if c.fail {
					middle.run = func(context.Context) error { return errors.New("out of order") }
				}
				ctx, stop := context.WithTimeout(t.Context(), time.Minute)
				defer stop()
				err := serve(ctx, until("first"), middle, until("last"))
				if c.want == "" {
					require.NoError(t, err)
					require.Equal(t, "last", <-stopped)
					require.Equal(t, "middle", <-stopped)
				} else {
					require.EqualError(t, err, c.want)
					require.Equal(t, "last", <-stopped)
				}
				require.Equal(t, "first", <-stopped)
			})
		})
	}
}

func TestServiceThatEndsWithoutAReason(t *testing.T) {
	err := serve(t.Context(), service{"quitter", func(context.Context) error { return nil }})
	require.EqualError(t, err, "run quitter: ended by itself")
}

func TestLiveness(t *testing.T) {
	synctest.Test(t, func(*testing.T) {
		var l liveness
		p := l.loop("poll", 10*time.Second)
		time.Sleep(time.Hour)
		require.True(t, l.alive(), "a loop that has not begun is not judged")
		p.beat()
		time.Sleep(10 * time.Second)
		require.True(t, l.alive())
		time.Sleep(time.Millisecond)
		require.Equal(t, []string{"poll"}, l.stalled())
		p.beat()
		require.True(t, l.alive())
		p.end()
		time.Sleep(time.Hour)
		require.True(t, l.alive(), "one that has ended by design neither")
	})
}
