package probe

import (
	"context"
	"errors"
	"fmt"
	"time"

	"golang.org/x/sys/unix"
)

// ClockConfig describes how right the clock has to be. Either setting demands
// that the clock is synchronized: without that, nobody knows the offset.
type ClockConfig struct {
	MaxOffset    time.Duration // from true time, as estimated; 0: any
	Synchronized bool
}

// Target is where the probe looks, as its errors name it.
func (ClockConfig) Target() string { return "realtime" }

// Clock passes when a time service keeps the kernel's clock (adjtimex(2)).
//
// The offset is the larger of what the kernel still has to correct (offset,
// which systemd-timesyncd and ntpd use) and the estimated error (esterror,
// which chrony maintains while it leaves offset at 0). The bound maxerror is
// not held against MaxOffset: it grows by half a millisecond a second until the
// service's next look at the time, which may be half an hour away. The kernel
// itself gives up when it reaches 16 seconds, and says unsynchronized.
func Clock(cfg ClockConfig) (func(ctx context.Context) error, error) {
	return clock(unix.Adjtimex, cfg)
}

func clock(adjtimex func(*unix.Timex) (int, error), cfg ClockConfig) (func(ctx context.Context) error, error) {
	switch {
	case cfg.MaxOffset < 0:
		return nil, fmt.Errorf("max_offset %v: want a positive duration", cfg.MaxOffset)
	case cfg.MaxOffset == 0 && !cfg.Synchronized:
		return nil, errors.New("nothing to check, want synchronized or max_offset")
	}
	return func(ctx context.Context) error {
		fail := func(seen, want string, err error) error {
			return &Error{Kind: "clock", Target: cfg.Target(), Seen: seen, Want: want, Err: err}
		}
		if err := ctx.Err(); err != nil {
			return fail(describe(err), "synchronized", err)
		}
		var tx unix.Timex // no modes: only reads
		state, err := adjtimex(&tx)
		switch {
		case errors.Is(err, unix.EPERM), errors.Is(err, unix.ENOSYS):
			return fail("adjtimex is forbidden here (a unit's ProtectClock= or SystemCallFilter= does that)", "synchronized", err)
		case err != nil:
			return fail("adjtimex: "+err.Error(), "synchronized", err)
		case state == unix.TIME_ERROR || tx.Status&unix.STA_UNSYNC != 0:
			return fail("not synchronized", "a time service that keeps the clock", nil)
		}
		if offset := clockOffset(tx); cfg.MaxOffset > 0 && offset > cfg.MaxOffset {
			return fail("off by "+offset.String(), "at most "+cfg.MaxOffset.String(), nil)
		}
		return nil
	}, nil
}

// clockOffset estimates how far the clock is from true time, without sign.
func clockOffset(tx unix.Timex) time.Duration {
	unit := time.Microsecond
	if tx.Status&unix.STA_NANO != 0 { // speaks of offset, not of esterror
		unit = time.Nanosecond
	}
	offset := time.Duration(tx.Offset) * unit
	return max(offset, -offset, time.Duration(tx.Esterror)*time.Microsecond)
}
