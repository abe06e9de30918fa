package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"strings"
	"syscall"
	"testing"
	"time"
	"unicode/utf8"

	"github.com/stretchr/testify/require"
)

func TestDuration(t *testing.T) {
	for d, want := range map[time.Duration]string{
		0:                                    "0s",
		999 * time.Nanosecond:                "<1ms",
		350 * time.Millisecond:               "350ms",
		999999 * time.Microsecond:            "999ms",
		time.Second:                          "1s",
		1250 * time.Millisecond:              "1.2s",
		9999 * time.Millisecond:              "9.9s",
		42*time.Second + 900e6:               "42s",
		59*time.Second + 999e6:               "59s",
		time.Minute:                          "1m",
		80 * time.Second:                     "1m20s",
		time.Hour:                            "1h",
		time.Hour + 59*time.Second:           "1h",
		2*time.Hour + 5*time.Minute:          "2h5m",
		3 * 24 * time.Hour:                   "3d",
		76 * time.Hour:                       "3d4h",
		120*24*time.Hour + 5*time.Hour:       "120d",
		-80 * time.Second:                    "-1m20s",
		time.Duration(1<<63 - 1):             "106751d",
		24*time.Hour - time.Nanosecond:       "23h59m",
		100*24*time.Hour - 1*time.Nanosecond: "99d23h",
	} {
		require.Equal(t, want, Duration(d), int64(d))
	}
	require.Equal(t, "1m20s", Seconds(80))
	require.Equal(t, "3s", Countdown(3900*time.Millisecond))
}

func TestClockAndRelative(t *testing.T) {
	zone := time.FixedZone("CEST", 2*3600)
	now := time.Date(2026, 7, 9, 0, 30, 0, 0, zone)
	for at, want := range map[time.Time][2]string{
		now:                              {"00:30:00 CEST", "now"},
		now.Add(500 * time.Millisecond):  {"00:30:00 CEST", "now"},
		now.Add(23 * time.Second):        {"00:30:23 CEST", "in 23s"},
		now.Add(-10 * time.Minute).UTC(): {"00:20:00 CEST", "10m ago"},
		now.Add(-time.Hour):              {"Jul 8 23:30 CEST", "1h ago"},
		now.AddDate(1, 0, 0):             {"2027-07-09 00:30 CEST", "in 365d"},
	} {
		require.Equal(t, want[0], Clock(at, now))
		require.Equal(t, want[1], Relative(at, now))
	}
}

func TestClean(t *testing.T) {
	for in, want := range map[string]string{
		"plain":                   "plain",
		" a\nb\r\n\tc ":           "a b c",
		"\x1b[2J\x1b]0;title\x07": "[2J ]0;title",
		"user\u202egnp.exe":       "user gnp.exe",
		"caf\xe9 and café":        "caf and café",
		"\u009b31m":               "31m",
		"zero\u200bwidth":         "zero width",
		"":                        "",
	} {
		require.Equal(t, want, Clean(in))
	}
}

func FuzzClean(f *testing.F) {
	f.Add("a\x1b[2Jb")
	f.Fuzz(func(t *testing.T, in string) {
		out := Clean(in)
		require.True(t, utf8.ValidString(out))
		require.Equal(t, -1, strings.IndexFunc(out, func(r rune) bool { return r < ' ' || r >= 0x7f && r < 0xa0 }))
		require.Equal(t, out, Clean(out))
	})
}

func TestCut(t *testing.T) {
	require.Equal(t, "short", Cut("short", 5, Style{Unicode: true}))
	require.Equal(t, "lon…", Cut("longer", 4, Style{Unicode: true}))
	require.Equal(t, "l...", Cut("longer", 4, Style{}))
	require.Equal(t, "lo", Cut("longer", 2, Style{}))
	require.Empty(t, Cut("longer", 0, Style{}))
	require.Empty(t, Cut("longer", -3, Style{Unicode: true}))
}

func TestWrap(t *testing.T) {
	u := Style{Unicode: true}
	for name, tc := range map[string]struct {
		text     string
		width, n int
		want     []string
	}{
		"fits":             {"one two", 7, 3, []string{"one two"}},
		"breaks at words":  {"one two three", 8, 3, []string{"one two", "three"}},
		"breaks long word": {"abcdefghij kl", 4, 9, []string{"abcd", "efgh", "ij", "kl"}},
		"cuts at the end":  {"one two three four", 5, 2, []string{"one", "two …"}},
		"one line":         {"one two three", 6, 1, []string{"one t…"}},
		"nothing":          {"", 10, 3, nil},
		"no width":         {"one", 0, 2, []string{"one"}},
	} {
		t.Run(name, func(t *testing.T) {
			require.Equal(t, tc.want, Wrap(tc.text, tc.width, tc.n, u))
		})
	}
}

func TestTable(t *testing.T) {
	table := &Table{Indent: 2}
	table.Add(Cell{Text: "+", Color: Green}, Cell{Text: "dns"}, Cell{Text: "passing"})
	table.Add(Cell{Text: "x", Color: Red}, Cell{Text: "database"}, Cell{}, Cell{Text: "line\none that is rather long"})
	table.Add(Cell{Text: "."}, Cell{Text: "z"})
	require.Equal(t, []string{
		"  + dns       passing",
		"  x database  line one that is ra...",
		"  . z",
	}, table.Lines(Style{}, 36))
	require.Equal(t, "  \x1b[31mx\x1b[0m database  line one that is ra...", table.Lines(Style{Color: true}, 36)[1])
	require.Equal(t, []string{"  + dns", "  x da...", "  . z"}, table.Lines(Style{}, 9))
}

// A table that wraps goes on in the column of its last cell, as long as words fit
// there.
func TestTableWraps(t *testing.T) {
	table := &Table{Indent: 2, Wrap: 2}
	table.Add(Cell{Text: "x"}, Cell{Text: "database"}, Cell{Text: "a text that takes more than the two lines that it may take", Color: Red})
	table.Add(Cell{Text: "+"}, Cell{Text: "dns"}, Cell{Text: "passing"})
	require.Equal(t, []string{
		"  x database  a text that takes more",
		"              than the two lines ...",
		"  + dns       passing",
	}, table.Lines(Style{}, 36))
	require.Equal(t, "              \x1b[31mthan the two lines ...\x1b[0m", table.Lines(Style{Color: true}, 36)[1])
	require.Equal(t, []string{"  x database  a text t...", "  + dns       passing"}, table.Lines(Style{}, 25))
}

func TestMark(t *testing.T) {
	mark := Mark{Unicode: "✓", ASCII: "+", Color: Green}
	require.Equal(t, Cell{Text: "✓", Color: Green}, mark.Cell(Style{Unicode: true}))
	require.Equal(t, Cell{Text: "+", Color: Green}, mark.Cell(Style{}))
}

func TestPage(t *testing.T) {
	p := &Page{Width: 30}
	p.Blank()
	p.Flow(Cell{Text: "* "}, 2, Cell{Text: "SERVING"}, Cell{}, Cell{Text: "since 10:00:00 UTC"}, Cell{Text: "\x1b4h"})
	p.Blank()
	p.Blank()
	p.Text(4, Plain, "a text that takes more than one line\nof the page", 2)
	p.Flow(Cell{Text: "label "}, 4, Cell{Text: strings.Repeat("word ", 10)})
	var b bytes.Buffer
	n, err := p.WriteTo(&b)
	require.NoError(t, err)
	require.EqualValues(t, b.Len(), n)
	require.Equal(t, `* SERVING - since 10:00:00 UTC
  4h

    a text that takes more
    than one line of the page
label word word word word word
    word word word word word
`, b.String())
}

// TestJSONHidesNothing: what a terminal may obey is an escape, and the same text.
func TestJSONHidesNothing(t *testing.T) {
	var b bytes.Buffer
	o := &Output{Out: &b}
	want := map[string]string{"text": "a\x1b[2J \u009b31m \u202egnp.exe\u202c \U000e0041 é ✓"}
	require.NoError(t, o.JSONLine(want))
	require.Contains(t, b.String(), `"a\u001b[2J \u009b31m \u202egnp.exe\u202c \udb40\udc41 é ✓"`)
	var got map[string]string
	require.NoError(t, json.Unmarshal(b.Bytes(), &got))
	require.Equal(t, want, got)
}

func TestRun(t *testing.T) {
	boom := errors.New("boom")
	interrupted := func(ctx context.Context) {
		require.NoError(t, syscall.Kill(os.Getpid(), syscall.SIGINT))
		<-ctx.Done()
	}
	require.NoError(t, Run(func(context.Context) error { return nil }))
	require.Equal(t, boom, Run(func(context.Context) error { return boom }))
	require.Equal(t, context.Canceled, Run(func(context.Context) error { return context.Canceled }), "not by a signal")
	require.Equal(t, Exit(130), Run(func(ctx context.Context) error {
		interrupted(ctx)
		return fmt.Errorf("wait: %w", ctx.Err())
	}))
	require.Equal(t, boom, Run(func(ctx context.Context) error {
		interrupted(ctx)
		return boom
	}))
	require.NoError(t, Run(func(ctx context.Context) error {
		interrupted(ctx)
		return nil // a daemon's way to stop
	}))
}

func TestReport(t *testing.T) {
	boom := errors.New("boom")
	for name, tc := range map[string]struct {
		err  error
		code int
		want string
	}{
		"nil":               {nil, 0, ""},
		"plain":             {boom, 1, "x: error: boom\n"},
		"hint":              {Hint(boom, "run %s", "y"), 1, "x: error: boom\nx: hint: run y\n"},
		"wrapped":           {fmt.Errorf("do it: %w", &Error{Code: 4, Err: boom, Hint: "h"}), 4, "x: error: do it: boom\nx: hint: h\n"},
		"code only":         {Exit(3), 3, ""},
		"code 0":            {Exit(0), 0, ""},
		"joined":            {errors.Join(boom, Hint(boom, "h")), 1, "x: error: boom\nx: error: boom\nx: hint: h\n"},
		"several lines":     {errors.New("a\nb"), 1, "x: error: a\nx: error: b\n"},
		"terminal sequence": {errors.New("\x1b[2Ja"), 1, "x: error: [2Ja\n"},
	} {
		t.Run(name, func(t *testing.T) {
			var b bytes.Buffer
			require.Equal(t, tc.code, Report(&b, Style{}, "x", tc.err))
			require.Equal(t, tc.want, b.String())
		})
	}
	require.EqualError(t, Exit(3), "exit status 3")
	require.ErrorIs(t, Hint(boom, "h"), boom)
}

func TestOutput(t *testing.T) {
	getenv := func(env map[string]string) func(string) string { return func(name string) string { return env[name] } }
	for name, tc := range map[string]struct {
		env     map[string]string
		unicode bool
		columns int
	}{
		"nothing set":       {nil, false, 80},
		"utf-8":             {map[string]string{"LANG": "en_US.UTF-8"}, true, 80},
		"c.utf8":            {map[string]string{"LC_CTYPE": "C.utf8", "LANG": "C"}, true, 80},
		"LC_ALL goes first": {map[string]string{"LC_ALL": "C", "LANG": "en_US.UTF-8"}, false, 80},
		"columns":           {map[string]string{"COLUMNS": "120"}, false, 120},
		"bad columns":       {map[string]string{"COLUMNS": "wide"}, false, 80},
	} {
		t.Run(name, func(t *testing.T) {
			o := NewOutput(OutputConfig{Out: new(bytes.Buffer), Err: new(bytes.Buffer), Getenv: getenv(tc.env)})
			require.Equal(t, Style{Unicode: tc.unicode}, o.Style)
			require.False(t, o.Terminal())
			columns, rows := o.Size()
			require.Equal(t, tc.columns, columns)
			require.Zero(t, rows)
		})
	}
}

func TestJSON(t *testing.T) {
	var b bytes.Buffer
	o := &Output{Out: &b}
	require.NoError(t, o.JSON(map[string]string{"a": "<b>"}))
	require.NoError(t, o.JSONLine(map[string]int{"a": 1}))
	lines := strings.SplitAfter(b.String(), "\n")
	require.Equal(t, []string{"{\n", "  \"a\": \"<b>\"\n", "}\n", "{\"a\":1}\n", ""}, lines)
	o.Err = &b
	b.Reset()
	o.Say("%d of %d", 1, 2)
	require.Equal(t, "1 of 2\n", b.String())
	require.ErrorContains(t, (&Output{Out: failing{}}).JSON(1), "write JSON: no space")
}

type failing struct{}

func (failing) Write([]byte) (int, error) { return 0, errors.New("no space") }

func TestScreenWithoutTerminal(t *testing.T) {
	var b bytes.Buffer
	s := &Screen{Output: &Output{Out: &b}}
	require.NoError(t, s.Show([]string{"one"}))
	require.NoError(t, s.Show([]string{"two"}))
	require.Equal(t, "one\n\ntwo\n\n", b.String())
}

// On a terminal a screen is drawn over the one before. A file stands in for the
// terminal: its size cannot be asked, so that nothing is left out.
func TestScreenOnTerminal(t *testing.T) {
	file, err := os.Create(t.TempDir() + "/tty")
	require.NoError(t, err)
	defer file.Close()
	s := &Screen{Output: &Output{Out: file, terminal: file}}
	require.NoError(t, s.Show([]string{"one", "two"}))
	require.NoError(t, s.Show([]string{"three"}))
	data, err := os.ReadFile(file.Name())
	require.NoError(t, err)
	require.Equal(t, "\rone\x1b[K\n\rtwo\x1b[K\n\x1b[J"+"\x1b[2A\rthree\x1b[K\n\x1b[J", string(data))
}

func TestStyle(t *testing.T) {
	require.Equal(t, "x", Style{}.Paint(Red, "x"))
	require.Equal(t, "\x1b[31mx\x1b[0m", Style{Color: true}.Paint(Red, "x"))
	require.Equal(t, "x", Style{Color: true}.Paint(Plain, "x"))
	require.Empty(t, Style{Color: true}.Paint(Red, ""))
	require.Equal(t, "1 check", Plural(1, "check"))
	require.Equal(t, "0 checks", Plural(0, "check"))
}
