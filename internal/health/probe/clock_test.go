package probe

import (
	"context"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
	"golang.org/x/sys/unix"
)

func TestClock(t *testing.T) {
	for name, tc := range map[string]struct {
		state int
		tx    unix.Timex
		err   error
		max   time.Duration
		says  string
	}{
		"synchronized":   {tx: unix.Timex{Status: unix.STA_PLL}},
		"chrony":         {tx: unix.Timex{Esterror: 150, Maxerror: 900_000}, max: time.Millisecond},
		"timesyncd":      {tx: unix.Timex{Status: unix.STA_NANO, Offset: -999_999}, max: time.Millisecond},
		"unsynchronized": {tx: unix.Timex{Status: unix.STA_UNSYNC}, says: "clock realtime: not synchronized, want a time service that keeps the clock"},
		"leap error": {
			state: unix.TIME_ERROR, max: time.Second,
			says: "clock realtime: not synchronized, want a time service that keeps the clock",
		},
		"off in microseconds": {
			tx: unix.Timex{Offset: -2000}, max: time.Millisecond,
			says: "clock realtime: off by 2ms, want at most 1ms",
		},
		"off in nanoseconds": {
			tx: unix.Timex{Status: unix.STA_NANO, Offset: 1_000_001}, max: time.Millisecond,
			says: "clock realtime: off by 1.000001ms, want at most 1ms",
		},
		"estimated error is in microseconds": {
			tx: unix.Timex{Status: unix.STA_NANO, Esterror: 1001}, max: time.Millisecond,
			says: "clock realtime: off by 1.001ms, want at most 1ms",
		},
		"forbidden": {
			err:  unix.EPERM,
			says: "clock realtime: adjtimex is forbidden here (a unit's ProtectClock= or SystemCallFilter= does that), want synchronized",
		},
		"broken": {err: unix.EFAULT, says: "clock realtime: adjtimex: bad address, want synchronized"},
	} {
		t.Run(name, func(t *testing.T) {
			p, err := clock(func(tx *unix.Timex) (int, error) {
				require.Zero(t, tx.Modes, "only reads")
				*tx = tc.tx
				return tc.state, tc.err
			}, ClockConfig{Synchronized: tc.max == 0, MaxOffset: tc.max})
			err = look(t, p, err)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			requireSays(t, err, tc.says)
		})
	}
}

func TestClockOfThisKernel(t *testing.T) {
	p, err := Clock(ClockConfig{Synchronized: true})
	if err := look(t, p, err); err != nil {
		requireFinding(t, err)
	}

	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	requireSays(t, p(ctx), "clock realtime: canceled, want synchronized")
}

func TestClockRefuses(t *testing.T) {
	_, err := Clock(ClockConfig{})
	require.EqualError(t, err, "nothing to check, want synchronized or max_offset")
	_, err = Clock(ClockConfig{MaxOffset: -time.Second})
	require.EqualError(t, err, "max_offset -1s: want a positive duration")
}
