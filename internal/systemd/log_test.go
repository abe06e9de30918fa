package systemd

import (
	"bytes"
	"log/slog"
	"testing"

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
