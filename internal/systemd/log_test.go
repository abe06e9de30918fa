package systemd

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/coreos/go-systemd/v22/journal"
	"github.com/stretchr/testify/require"
)

type sent struct {
	message  string
	priority journal.Priority
	fields   map[string]string
}

func TestJournalMessagesCarryTheirAttributes(t *testing.T) {
	var got []sent
	logger := slog.New(&journalHandler{level: slog.LevelInfo, send: func(m string, p journal.Priority, f map[string]string) error {
		got = append(got, sent{m, p, f})
		return nil
	}})
	logger.Warn("imds blind", "class", "denied", "err", "status 403: no rule allows it")
	logger.With("drain_id", "d1").Error("drain failed")
	logger.Info("agent stopped")
	logger.Debug("not wanted")
	require.Equal(t, []sent{
		{
			`imds blind class=denied err="status 403: no rule allows it"`, journal.PriWarning,
			map[string]string{"FLEET_CLASS": "denied", "FLEET_ERR": "status 403: no rule allows it"},
		},
		{"drain failed drain_id=d1", journal.PriErr, map[string]string{"FLEET_DRAIN_ID": "d1"}},
		{"agent stopped", journal.PriInfo, map[string]string{}},
	}, got)
}

func TestLogHandlerWritesTextWithoutJournal(t *testing.T) {
	var out bytes.Buffer
	slog.New(LogHandler(&out, slog.LevelInfo)).Info("agent started", "version", "1.0.0")
	require.Contains(t, out.String(), `msg="agent started" version=1.0.0`)
}

// TestLateLineSaysWhen: journald's own time is when it took the line.
func TestLateLineSaysWhen(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var got []sent
		h := &journalHandler{level: slog.LevelInfo, send: func(m string, p journal.Priority, f map[string]string) error {
			got = append(got, sent{m, p, f})
			return nil
		}}
		r := slog.NewRecord(time.Now(), slog.LevelInfo, "step ended", 0)
		require.NoError(t, h.Handle(t.Context(), r))
		time.Sleep(time.Minute)
		require.NoError(t, h.Handle(t.Context(), r))
		require.Equal(t, "step ended", got[0].message)
		require.Equal(t, "step ended logged_at="+r.Time.Format("2006-01-02T15:04:05.000Z07:00"), got[1].message)
	})
}

// TestLogLinesAreBounded: what comes from outside makes no line of a megabyte, and
// no line that is two.
func TestLogLinesAreBounded(t *testing.T) {
	long, forged := strings.Repeat("x", 1<<20), "a\nb\u202ec"
	var text bytes.Buffer
	slog.New(LogHandler(&text, slog.LevelInfo)).Info("event", "long", long, "err", errors.New(long), "id", forged)
	require.Less(t, text.Len(), 10<<10)
	require.Equal(t, 1, strings.Count(text.String(), "\n"))

	sent := 0
	h := &journalHandler{level: slog.LevelInfo, send: func(message string, _ journal.Priority, fields map[string]string) error {
		sent++
		require.Less(t, len(message), 10<<10)
		require.NotContains(t, message, "\n")
		require.Less(t, len(fields["FLEET_LONG"]), 5<<10)
		require.Equal(t, `a\u000ab\u202ec`, fields["FLEET_ID"])
		return nil
	}}
	slog.New(h).With("long", long).Info("event", "err", errors.New(long), "id", forged)
	require.Equal(t, 1, sent)
}
