package safetext

import (
	"bytes"
	"errors"
	"log/slog"
	"strings"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestLine(t *testing.T) {
	tests := map[string]struct {
		text  string
		limit int
		want  string
	}{
		"plain":               {"C7061BAC-AFDC", MaxID, "C7061BAC-AFDC"},
		"empty":               {"", MaxID, ""},
		"other scripts":       {"été 雪 🧊", MaxText, "été 雪 🧊"},
		"a backslash":         {`C:\x00`, MaxText, `C:\x00`},
		"NUL":                 {"a\x00b", MaxText, `a\u0000b`},
		"line break":          {"a\nlevel=ERROR", MaxText, `a\u000alevel=ERROR`},
		"escape sequence":     {"\x1b[2J", MaxText, `\u001b[2J`},
		"C1 escape":           {"\u009b2J", MaxText, `\u009b2J`},
		"reordering":          {"\u202egnp", MaxText, `\u202egnp`},
		"line separator":      {"a\u2028b", MaxText, `a\u2028b`},
		"a tag beyond 16 bit": {"\U000e0041", MaxText, `\udb40\udc41`},
		"no UTF-8":            {"a\xffb", MaxText, `a\xffb`},
		"a replacement":       {"a\ufffdb", MaxText, "a\ufffdb"},
		"exactly":             {"abcdef", 6, "abcdef"},
		"too long":            {"abcdefg", 6, "abc..."},
		"not within a letter": {"abéééé", 7, "abé..."},
		"not within escapes":  {"a\x00\x00", 10, `a\u0000...`},
		"hardly any room":     {"abcdefg", 2, ".."},
		"no room":             {"abcdefg", 0, ""},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, test.want, Line(test.text, test.limit))
		})
	}
}

func FuzzLine(f *testing.F) {
	f.Add("a\x00b\xff\u202e", 7)
	f.Fuzz(func(t *testing.T, text string, limit int) {
		limit = max(0, min(limit, 1<<10))
		line := Line(text, limit)
		require.LessOrEqual(t, len(line), limit)
		require.True(t, utf8.ValidString(line))
		require.False(t, strings.ContainsFunc(line, Hidden))
		require.Equal(t, line, Line(line, limit), "what is safe stays as it is")
	})
}

// TestAttr: whatever is logged, a line is a line and has a bound.
func TestAttr(t *testing.T) {
	var out bytes.Buffer
	log := slog.New(slog.NewTextHandler(&out, &slog.HandlerOptions{ReplaceAttr: Attr}))
	log.Info("event", "id", "a\u202eb", "err", errors.New(strings.Repeat("x", 1<<20)), "n", 7, "took", time.Second,
		slog.Group("inner", "text", strings.Repeat("y", 1<<20)))
	line := out.String()
	require.Less(t, len(line), 3*MaxLog)
	line, _, _ = strings.Cut(line, " err=")
	require.Contains(t, line, `id=a\u202eb`)
	_, line, _ = strings.Cut(out.String(), "... ")
	line, _, _ = strings.Cut(line, " inner")
	require.Equal(t, "n=7 took=1s", line)
}
