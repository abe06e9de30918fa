package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/arm"
)

const (
	fromAz      = "../../docs/from-az.md"
	fromAzTable = "## At a glance\n"
)

// fences are the blocks of a document that mean something to a test of it.
var fences = regexp.MustCompile("(?ms)^```(sh|yaml|diff|console)\n(.*?)^```$")

// readAt is when Azure was read, which is told in real time.
var readAt = regexp.MustCompile(`read (?:[A-Z][a-z]{2} \d+ )?\d\d:\d\d(?::\d\d)? UTC`)

// withoutTheSame is a plan without the lines of what is as it should be.
func withoutTheSame(plan string) string {
	var b strings.Builder
	left := false
	for line := range strings.Lines(plan) {
		same := strings.HasPrefix(line, "= ") || left && strings.HasPrefix(line, "  ")
		switch {
		case same && !left:
			b.WriteString("...\n")
		case !same:
			b.WriteString(line)
		}
		left = same
	}
	return b.String()
}

// oneLine is a command as a shell reads it, without what lies between its words.
func oneLine(command string) string {
	return strings.Join(strings.Fields(strings.ReplaceAll(command, "\\\n", " ")), " ")
}

// paragraphs are the parts of a text that blank lines separate.
func paragraphs(text string) []string {
	var list []string
	for part := range strings.SplitSeq(text, "\n\n") {
		if part = oneLine(part); part != "" {
			list = append(list, part)
		}
	}
	return list
}

// TestFromAz runs what docs/from-az.md shows, from its begin to its end in one simulated
// Azure, which is empty at first: what it prints is compared, or with -update written into
// the document. A block of YAML is the file, one of differences changes it.
func TestFromAz(t *testing.T) {
	doc, err := filepath.Abs(fromAz)
	require.NoError(t, err)
	text, err := os.ReadFile(doc)
	require.NoError(t, err)
	ground, err := arm.LoadScenario("testdata/from-az/ground.yaml")
	require.NoError(t, err)
	b := newBakingOf(t, ground)
	key, err := os.ReadFile("testdata/from-az/app.pub")
	require.NoError(t, err)
	template, err := os.ReadFile("testdata/template/aib-ubuntu-app.json")
	require.NoError(t, err)
	dir := filepath.Dir(b.file)
	require.NoError(t, os.WriteFile(filepath.Join(dir, "app.pub"), key, 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "install-fleet-agent.sh"), []byte("echo installed\n"), 0o600))
	require.NoError(t, os.WriteFile(filepath.Join(dir, "aib-ubuntu-app.json"), template, 0o600))
	t.Chdir(dir)

	got := fences.ReplaceAllStringFunc(string(text), func(block string) string {
		m := fences.FindStringSubmatch(block)
		switch kind, body := m[1], m[2]; kind {
		case "yaml":
			require.NoError(t, os.WriteFile(b.file, []byte(body), 0o600))
		case "diff":
			b.changeFile(t, body)
		case "console":
			return "```console\n" + withoutTheSame(readAt.ReplaceAllString(b.console(t, body), "read 09:00:00 UTC")) + "```"
		}
		return block
	})
	if *update {
		require.NoError(t, os.WriteFile(doc, []byte(got), 0o644))
		return
	}
	require.Equal(t, string(text), got)
}

// changeFile makes differences in the file. The lines without a sign say where.
func (b *baking) changeFile(t *testing.T, differences string) {
	t.Helper()
	var is, want strings.Builder
	for line := range strings.Lines(differences) {
		sign, rest := line[0], line[1:]
		if sign != '+' {
			is.WriteString(rest)
		}
		if sign != '-' {
			want.WriteString(rest)
		}
	}
	text, err := os.ReadFile(b.file)
	require.NoError(t, err)
	require.Equal(t, 1, strings.Count(string(text), is.String()), "the file has once:\n%s", is.String())
	require.NoError(t, os.WriteFile(b.file, []byte(strings.Replace(string(text), is.String(), want.String(), 1)), 0o600))
}

// TestFromAzIsWhole: every command of the article stands in the document and has what
// fleetctl does in its place, also in the table; and its links to traps lead somewhere.
func TestFromAzIsWhole(t *testing.T) {
	text, err := os.ReadFile(fromAz)
	require.NoError(t, err)
	article, err := os.ReadFile("testdata/from-az/article.txt")
	require.NoError(t, err)
	want := paragraphs(string(article))
	require.Len(t, want, 30)

	var shown, ran, short []string
	for _, m := range fences.FindAllStringSubmatch(string(text), -1) {
		switch command, _, _ := strings.Cut(m[2], "\n"); m[1] {
		case "sh":
			shown = append(shown, paragraphs(m[2])...)
		case "console":
			ran = append(ran, command)
		}
	}
	require.ElementsMatch(t, want, shown, "the commands of the article, each once")

	for section := range strings.SplitSeq(string(text), "\n## ") {
		if strings.Contains(section, "\n```sh\n") {
			require.Contains(t, section, "\n```console\n$ fleetctl ", "each part has what fleetctl does")
		}
	}

	_, table, found := strings.Cut(string(text), fromAzTable)
	require.True(t, found)
	table, _, _ = strings.Cut(table, "\n## ")
	code := regexp.MustCompile("`([^`]+)`")
	for row := range strings.Lines(table) {
		cells := strings.Split(row, "|")
		if len(cells) < 4 || !strings.Contains(cells[1], "`") {
			continue
		}
		for _, m := range code.FindAllStringSubmatch(cells[1], -1) {
			short = append(short, m[1])
		}
		for _, m := range code.FindAllStringSubmatch(cells[2], -1) {
			if strings.HasPrefix(m[1], "fleetctl ") {
				require.True(t, slices.ContainsFunc(ran, func(line string) bool { return strings.HasPrefix(line, "$ "+m[1]) }), "%s is shown and run", m[1])
			}
		}
	}
	for _, name := range short {
		require.True(t, slices.ContainsFunc(want, func(command string) bool { return subcommand(command) == name }), "%s is of the article", name)
	}
	for _, command := range want {
		require.Contains(t, short, subcommand(command), "the table has it")
	}

	traps, err := os.ReadFile("../../docs/traps.md")
	require.NoError(t, err)
	links := regexp.MustCompile(`\[(?:trap )?(\d+)\]\(traps\.md#([0-9a-z-]+)\)`).FindAllStringSubmatch(string(text), -1)
	require.Greater(t, len(links), 20)
	require.Equal(t, len(links), strings.Count(string(text), "traps.md#"), "each link to a trap says its number")
	for _, m := range links {
		number, name, _ := strings.Cut(m[2], "-")
		require.Equal(t, m[1], number)
		require.Contains(t, string(traps), "\n## "+number+" "+name+"\n")
	}
}

// subcommand is what a command is called without its options: "az vmss create".
func subcommand(command string) string {
	command = regexp.MustCompile(`^[A-Z_]+=\$\(`).ReplaceAllString(command, "")
	var words []string
	for word := range strings.FieldsSeq(command) {
		if strings.HasPrefix(word, "-") {
			break
		}
		words = append(words, word)
	}
	return strings.Join(words, " ")
}

func TestWithoutTheSame(t *testing.T) {
	require.Equal(t, "a\n...\n+ b\n    c\n...\n\nd\n", withoutTheSame("a\n= b\n= c\n    d\n+ b\n    c\n= d\n\nd\n"))
}

func TestSubcommand(t *testing.T) {
	require.Equal(t, "az identity show", subcommand("SUB=$(az identity show -g $RG)"))
	require.Equal(t, "curl", subcommand(`curl -s "http://169.254.169.254"`))
}

func TestChangeFile(t *testing.T) {
	b := &baking{file: filepath.Join(t.TempDir(), "fleet.yaml")}
	require.NoError(t, os.WriteFile(b.file, []byte("a: 1\nb: 2\nc: 3\n"), 0o600))
	b.changeFile(t, " a: 1\n-b: 2\n+b: 4\n+d: 5\n")
	text, err := os.ReadFile(b.file)
	require.NoError(t, err)
	require.True(t, bytes.Equal([]byte("a: 1\nb: 4\nd: 5\nc: 3\n"), text), string(text))
}
