package steer

import (
	"context"
	"testing"
	"testing/synctest"
	"time"

	"github.com/stretchr/testify/require"
)

func any1(string) bool { return true }

func TestBookCounts(t *testing.T) {
	var b Book[string]
	now := time.Unix(0, 0)
	b.Set("two", 2, time.Time{})
	b.Set("for ever", 0, now.Add(time.Minute))
	got := []string{}
	for range 4 {
		got = append(got, b.Take(now, any1).Fault)
	}
	require.Equal(t, []string{"two", "two", "for ever", "for ever"}, got)
	require.Len(t, b.InForce(now), 1)
	require.Nil(t, b.Take(now.Add(time.Minute), any1), "its time is over")
	require.Nil(t, b.Take(now, func(string) bool { return false }), "it meets nothing")
}

func TestHoldEnds(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var b Book[string]
		b.Set("hang", 0, time.Time{})
		e := b.Take(time.Now(), any1)

		begin := time.Now()
		e.Hold(t.Context(), time.Minute)
		require.Equal(t, time.Minute, time.Since(begin))

		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		e.Hold(ctx, 0)

		b.Clear(any1)
		e.Hold(t.Context(), 0)
		require.Equal(t, time.Minute, time.Since(begin))
	})
}
