package systemd

import (
	"bytes"
	"context"
	"log/slog"
	"testing"

	"github.com/stretchr/testify/require"
)

// recorder is a handler that keeps what it was given.
type recorder struct {
	slog.Handler
	records []slog.Record
}

func (r *recorder) Enabled(context.Context, slog.Level) bool { return true }

func (r *recorder) Handle(_ context.Context, record slog.Record) error {
	r.records = append(r.records, record)
	return nil
}

func TestJournalMessagesCarryTheirAttributes(t *testing.T) {
	native := &recorder{}
	logger := slog.New(&journalHandler{native: native, text: attributesOnly})
	logger.Warn("imds blind", "class", "denied", "err", "status 403: no rule allows it")
	logger.Info("agent stopped")

	require.Len(t, native.records, 2)
	require.Equal(t, `imds blind class=denied err="status 403: no rule allows it"`, native.records[0].Message)
	require.Equal(t, slog.LevelWarn, native.records[0].Level)
	require.Equal(t, 2, native.records[0].NumAttrs(), "the fields stay, to search by")
	require.Equal(t, "agent stopped", native.records[1].Message)
}

func TestJournalFieldsAreValid(t *testing.T) {
	require.Equal(t, "FLEET_EVENT_ID", journalField(nil, slog.String("event_id", "x")).Key)
}

func TestLogHandlerWritesTextWithoutJournal(t *testing.T) {
	var out bytes.Buffer
	slog.New(LogHandler(&out, slog.LevelInfo)).Info("agent started", "version", "1.0.0")
	require.Contains(t, out.String(), `msg="agent started" version=1.0.0`)
}
