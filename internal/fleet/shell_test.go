package fleet

import (
	"strings"
	"testing"

	"github.com/stretchr/testify/require"
)

func TestPipefailLine(t *testing.T) {
	for script, line := range map[string]int{
		"set -o pipefail":                                1,
		"set -euo pipefail":                              1,
		"set -eu -o pipefail":                            1,
		"true\nset -euxo pipefail; false":                2,
		"true && set -o pipefail":                        1,
		"if true; then set -o pipefail; fi":              1,
		"( set -o pipefail )":                            1,
		"{ set -o pipefail; }":                           1,
		"x=1 set -o pipefail":                            1,
		"set -o 'pipefail'":                              1,
		"set \\\n  -o pipefail":                          1,
		"x=$(set -o pipefail; a | b)":                    1,
		"echo \"$(\nset -o pipefail)\"":                  2,
		"cat <<EOF\nbody\nEOF\nset -o pipefail":          4,
		"cat <<-EOF\n\tbody\n\tEOF\nset -o pipefail":     4,
		"#!/bin/bash\nset -o pipefail":                   2, // a comment there, as the lines before it are dash's
		"echo 'it'\\''s'\nset -o pipefail":               2,
		"set -eu":                                        0,
		"set +o pipefail":                                0, // refused as well, but nobody begins with it
		"echo set -o pipefail":                           0,
		"# set -o pipefail":                              0,
		"true # set -o pipefail":                         0,
		"echo a#b; bash -c 'set -o pipefail; a | b'":     0,
		`sudo bash -c "set -euo pipefail; a | b"`:        0,
		"bash <<'EOF'\nset -o pipefail\nEOF":             0,
		"bash -s << EOF\nset -o pipefail\nEOF\ntrue":     0,
		"set -o errexit":                                 0,
		"set -o":                                         0,
		"set":                                            0,
		"":                                               0,
		"echo 'open\nset -o pipefail":                    0, // the quote does not end
		"echo \\\"; set -o pipefail":                     1,
		"cat <<<word\nset -o pipefail":                   2,
		"f() { set -o pipefail; }":                       1,
		"echo ${x:-y}; set -o pipefail":                  1,
		"case x in x) set -o pipefail;; esac":            1,
		"sudo apt-get update\r\nset -o pipefail\r\n":     2,
		"cat <<A <<B\nset -o pipefail\nA\nset\nB\n":      0,
		"cat <<A\nset -o pipefail":                       0, // the document does not end
		"printf '%s' \"'\"; set -o pipefail; echo \"'\"": 1,
	} {
		require.Equal(t, line, pipefailLine(script), script)
	}
}

func TestQuotedSubstitution(t *testing.T) {
	for script, want := range map[string]string{
		`echo 'baked $(date -u +%FT%TZ)' | sudo tee /etc/image-build-stamp`: "baked $(date -u +%FT%TZ)",
		`printf '%s' 'a $(b)'`:        "a $(b)",
		`sudo echo a'$(b)'`:           "$(b)",
		`echo "$(echo 'in $(side)')"`: "in $(side)",
		`echo "baked $(date)"`:        "",
		`echo "it's $(date)"`:         "", // a single quote within double ones quotes nothing
		`echo 'no' $(date)`:           "",
		`echo '$NAME'`:                "",
		`bash -c 'echo $(date)'`:      "",
		`awk '{print $(NF-1)}'`:       "",
		`trap 'rm $(cat list)' EXIT`:  "",
		`echo \$\(date\)`:             "",
		`# echo '$(date)'`:            "",
		"cat <<'EOF'\n$(date)\nEOF":   "",
		`echo '$(open`:                "$(open",
	} {
		line, quoted := quotedSubstitution(script)
		require.Equal(t, want, quoted, script)
		require.Equal(t, want != "", line == 1, script)
	}
}

// Words keep their quotes apart, and every substitution is looked into.
func TestShellCommands(t *testing.T) {
	commands := shellCommands("a 'b c'\"d\"e \"\" && f \"x $(g 'h') y\" | i")
	var got []string
	for _, c := range commands {
		var words []string
		for _, w := range c.words {
			words = append(words, w.text())
		}
		got = append(got, strings.Join(words, "|"))
	}
	require.Equal(t, []string{"a|b cde|", "g|h", "f|x  y", "i"}, got)
	require.Equal(t, shellWord{{"b c", single}, {"d", double}, {"e", bare}}, commands[0].words[1])
}

// FuzzShell: whatever a script is, it is read to its end, each command begins on a
// line of it, and every command's words are in it.
func FuzzShell(f *testing.F) {
	for _, seed := range []string{
		"set -euo pipefail", "echo 'a $(b)' \"$(c \"$(d)\")\"", "cat <<-E\n\tx\n\tE\n", "a \\\n b", "$(((", "'\"`", "<<", "<<-", "#", "\\",
		strings.Repeat("$(", 100), strings.Repeat("\"$(", 100), "a <<E; b <<F\nE\nF\n", "x${y}{z}",
	} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, script string) {
		lines := strings.Count(script, "\n") + 1
		total := 0
		for _, c := range shellCommands(script) {
			require.NotEmpty(t, c.words)
			require.GreaterOrEqual(t, c.line, 1)
			require.LessOrEqual(t, c.line, lines)
			for _, w := range c.words {
				for _, p := range w {
					total += len(p.text)
				}
			}
		}
		require.LessOrEqual(t, total, len(script), "more words than text")
		pipefailLine(script)
		_, quoted := quotedSubstitution(script)
		require.LessOrEqual(t, len(quoted), len(script))
	})
}
