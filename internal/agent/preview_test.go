package agent

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/config"
	"github.com/fleet-agent/fleet-agent/internal/control"
)

// TestPreviewOfShortNotices: what a preview has to drain is what the daemon would
// have, and a started event has no deadline.
func TestPreviewOfShortNotices(t *testing.T) {
	t.Parallel()
	conf := config.Default()
	conf.Drain.Plan = []config.Step{{Name: "wait", Sleep: config.Duration(20 * time.Second)}}
	preview := func(notice time.Duration) control.PlanPreview {
		p, err := Preview(conf, PreviewRequest{Event: "reboot", Notice: notice, HasNotice: true})
		require.NoError(t, err)
		require.InDelta(t, notice.Seconds(), *p.NoticeSeconds, 0)
		return p
	}
	for notice, want := range map[time.Duration]time.Duration{
		30 * time.Second:       28 * time.Second,
		4 * time.Second:        2 * time.Second,
		3 * time.Second:        1500 * time.Millisecond,
		2 * time.Second:        time.Second,
		500 * time.Millisecond: 250 * time.Millisecond,
	} {
		p := preview(notice)
		require.InDelta(t, want.Seconds(), *p.AvailableSeconds, 1e-9, notice)
		last := p.Steps[len(p.Steps)-1]
		require.InDelta(t, min(want.Seconds(), last.OffsetSeconds+20), last.OffsetSeconds+last.LimitSeconds, 1e-9, notice)
		require.True(t, p.Enough)
	}

	started := preview(0)
	require.Nil(t, started.AvailableSeconds)
	require.Zero(t, started.SettleSeconds)
	require.InDelta(t, 20, started.Steps[0].LimitSeconds, 0)

	_, err := Preview(conf, PreviewRequest{Event: "Preempt", Notice: -1, HasNotice: true})
	require.EqualError(t, err, "plan a drain: notice -1ns is negative")
}
