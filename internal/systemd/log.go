package systemd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"
	"time"

	"github.com/coreos/go-systemd/v22/journal"

	"github.com/fleet-agent/fleet-agent/internal/safetext"
)

// lateAfter is how late a line is that says itself when it was logged: journald
// shows when it took it, which after a hang is minutes later.
const lateAfter = time.Second

// LogHandler returns where the agent's log goes: to journald in its own protocol
// when stderr leads there, as lines of text to stderr otherwise. What comes from
// outside is bounded and made safe on the way.
func LogHandler(stderr io.Writer, level slog.Leveler) slog.Handler {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		return &journalHandler{level: level, send: journal.Send}
	}
	return slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level, ReplaceAttr: safetext.Attr})
}

// journalHandler gives journald every attribute as a field to search by, and
// once more in the message, because journalctl shows nothing else. Groups are
// not used in this program and are flattened.
type journalHandler struct {
	level slog.Leveler
	send  func(message string, priority journal.Priority, fields map[string]string) error
	attrs []slog.Attr
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(_ context.Context, level slog.Level) bool {
	return level >= h.level.Level()
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	r = r.Clone()
	r.AddAttrs(h.attrs...)
	if time.Since(r.Time) > lateAfter {
		r.AddAttrs(slog.Time("logged_at", r.Time))
	}
	fields := make(map[string]string, r.NumAttrs())
	r.Attrs(func(a slog.Attr) bool {
		fields[journalField(a.Key)] = safetext.Attr(nil, a).Value.String()
		return true
	})
	var attributes bytes.Buffer
	if err := attributesOnly(&attributes).Handle(ctx, r); err != nil {
		return err
	}
	return h.send(strings.TrimSpace(r.Message+" "+attributes.String()), priority(r.Level), fields)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	with := *h
	with.attrs = append(append([]slog.Attr{}, h.attrs...), attrs...)
	return &with
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(string) slog.Handler { return h }

// journalField makes a key one that journald takes; it drops others silently.
func journalField(key string) string { return "FLEET_" + strings.ToUpper(key) }

func priority(level slog.Level) journal.Priority {
	switch {
	case level >= slog.LevelError:
		return journal.PriErr
	case level >= slog.LevelWarn:
		return journal.PriWarning
	case level >= slog.LevelInfo:
		return journal.PriInfo
	default:
		return journal.PriDebug
	}
}

// attributesOnly writes the attributes of a record and nothing that journald
// records itself.
func attributesOnly(w io.Writer) slog.Handler {
	return slog.NewTextHandler(w, &slog.HandlerOptions{
		Level: slog.LevelDebug,
		ReplaceAttr: func(groups []string, a slog.Attr) slog.Attr {
			if len(groups) == 0 && (a.Key == slog.TimeKey || a.Key == slog.LevelKey || a.Key == slog.MessageKey) {
				return slog.Attr{}
			}
			return safetext.Attr(groups, a)
		},
	})
}
