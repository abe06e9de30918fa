package stage

import (
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestWrap(t *testing.T) {
	text := strings.Repeat("word ", 30) + "\n  two spaces stay, and a " + strings.Repeat("long", 30)
	got := wrap("  ✓ ", "    ", text)
	lines := strings.Split(got, "\n")
	require.Equal(t, "  ✓ "+strings.TrimSpace(strings.Repeat("word ", 15)), lines[0])
	require.Equal(t, "    "+strings.TrimSpace(strings.Repeat("word ", 15)), lines[1])
	require.Equal(t, "      two spaces stay, and a", lines[2])
	require.Equal(t, "    "+strings.Repeat("long", 30), lines[3], "a word is not broken")
	for _, line := range lines[:3] {
		require.LessOrEqual(t, utf8.RuneCountInString(line), width)
		require.Equal(t, strings.TrimRight(line, " "), line)
	}
}
