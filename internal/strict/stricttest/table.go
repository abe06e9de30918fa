// Package stricttest answers: is a table of package strict right, and what comes of
// it? It is for tests.
package stricttest

import (
	"bytes"
	"regexp"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// Table requires that a table is right, and that its reference documentation, below
// head, holds together.
func Table(t *testing.T, s *strict.Schema, head string) {
	t.Helper()
	require.Empty(t, s.Verify())

	var b bytes.Buffer
	require.NoError(t, s.WriteReference(&b, head))
	text := b.String()
	anchors := make(map[string]bool)
	for _, m := range regexp.MustCompile("(?m)^#+ `?([^`\n]+)`?$").FindAllStringSubmatch(text, -1) {
		require.False(t, anchors[anchor(m[1])], "two headings %s", m[1])
		anchors[anchor(m[1])] = true
	}
	links := regexp.MustCompile(`\]\(#([^)]*)\)`).FindAllStringSubmatch(text, -1)
	require.NotEmpty(t, links)
	for _, m := range links {
		require.True(t, anchors[m[1]], "the link #%s leads nowhere", m[1])
	}
	for _, row := range s.Fields() {
		name := row.Path[strings.LastIndexByte(row.Path, '.')+1:]
		require.Contains(t, text, "`"+name+"`", row.Path)
		require.Contains(t, strings.ReplaceAll(text, `\|`, "|"), row.Doc, row.Path)
	}
	for line := range strings.Lines(text) {
		if strings.HasPrefix(line, "| ") {
			cells := regexp.MustCompile(`[^\\]\|`).FindAllString(line, -1)
			require.Len(t, cells, 4, "a row of another number of cells: %s", line)
		}
	}
}

// anchor is the anchor that Markdown renderers make of a heading.
func anchor(heading string) string {
	return regexp.MustCompile(`[^a-z0-9_-]`).ReplaceAllString(strings.ToLower(heading), "")
}
