package systemd

import (
	"bytes"
	"context"
	"io"
	"log/slog"
	"strings"

	"github.com/coreos/go-systemd/v22/journal"
	slogjournal "github.com/systemd/slog-journal"
)

// LogHandler returns where the agent's log goes: to journald in its own protocol
// when stderr leads there, as lines of text to stderr otherwise.
func LogHandler(stderr io.Writer, level slog.Leveler) slog.Handler {
	if connected, err := journal.StderrIsJournalStream(); err == nil && connected {
		native, err := slogjournal.NewHandler(&slogjournal.Options{Level: level, ReplaceAttr: journalField})
		if err == nil {
			return &journalHandler{native: native, text: attributesOnly}
		}
	}
	return slog.NewTextHandler(stderr, &slog.HandlerOptions{Level: level})
}

// journalField makes a key one that journald takes; it drops others silently.
func journalField(_ []string, a slog.Attr) slog.Attr {
	a.Key = "FLEET_" + strings.ToUpper(a.Key)
	return a
}

// journalHandler gives journald every attribute as a field to search by, and
// once more in the message, because journalctl shows nothing else.
type journalHandler struct {
	native slog.Handler
	text   func(io.Writer) slog.Handler
}

// Enabled implements slog.Handler.
func (h *journalHandler) Enabled(ctx context.Context, level slog.Level) bool {
	return h.native.Enabled(ctx, level)
}

// Handle implements slog.Handler.
func (h *journalHandler) Handle(ctx context.Context, r slog.Record) error {
	var attributes bytes.Buffer
	if err := h.text(&attributes).Handle(ctx, r); err != nil {
		return err
	}
	if text := strings.TrimSpace(attributes.String()); text != "" {
		full := slog.NewRecord(r.Time, r.Level, r.Message+" "+text, r.PC)
		r.Attrs(func(a slog.Attr) bool {
			full.AddAttrs(a)
			return true
		})
		r = full
	}
	return h.native.Handle(ctx, r)
}

// WithAttrs implements slog.Handler.
func (h *journalHandler) WithAttrs(attrs []slog.Attr) slog.Handler {
	return &journalHandler{
		native: h.native.WithAttrs(attrs),
		text:   func(w io.Writer) slog.Handler { return h.text(w).WithAttrs(attrs) },
	}
}

// WithGroup implements slog.Handler.
func (h *journalHandler) WithGroup(name string) slog.Handler {
	return &journalHandler{
		native: h.native.WithGroup(name),
		text:   func(w io.Writer) slog.Handler { return h.text(w).WithGroup(name) },
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
			return a
		},
	})
}
