package fleet

import (
	"os"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

// FuzzReadTemplate: no text makes the reader or preflight panic, and every finding has
// a line that the text has.
func FuzzReadTemplate(f *testing.F) {
	article, err := os.ReadFile("testdata/article/aib-ubuntu-app.json")
	require.NoError(f, err)
	f.Add(string(article))
	f.Add(deployable(`"customize": [{"type": "Shell", "inline": ["a && b", 1, null, {}], "scriptUri": "https://x?se=1"}], "distribute": {}`))
	f.Add(`{"resources": {"a": {"type": "Microsoft.VirtualMachineImages/imageTemplates", "properties": ["[parameters('a')]"]}}, "parameters": {"a": {"defaultValue": "[parameters('a')]"}}}`)
	f.Add("\ufeff{}")
	f.Add(strings.Repeat("[", 200))
	f.Fuzz(func(t *testing.T, text string) {
		file, err := ReadTemplate("image.json", []byte(text))
		if err != nil {
			require.Regexp(t, `^image\.json:`, err.Error())
			return
		}
		lines := 1 + strings.Count(text, "\n")
		for name, line := range file.lines {
			require.True(t, line >= 1 && line <= lines, name)
		}
		for _, finding := range Preflight(Evidence{Now: testNow, Template: file}) {
			require.Regexp(t, `^image\.json:[1-9][0-9]*$`, finding.Place)
			require.NotEmpty(t, finding.Resource.Name)
		}
	})
}

// FuzzShellQuote: a word is one word to the lexer that preflight has, and reads as it
// was written.
func FuzzShellQuote(f *testing.F) {
	for _, word := range []string{"", "a b", "it's", "$(id)", "{version}", "-o pipefail", "a\nb", "&&"} {
		f.Add(word)
	}
	f.Fuzz(func(t *testing.T, word string) {
		if strings.Contains(word, ArgVersion) {
			return // it is replaced in what is quoted
		}
		commands := shellCommands("run " + shellQuote(word))
		require.Len(t, commands, 1)
		require.Len(t, commands[0].words, 2)
		require.Equal(t, word, commands[0].words[1].text())
	})
}
