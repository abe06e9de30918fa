package config

import (
	"bytes"
	"encoding/binary"
	"errors"
	"regexp"
	"strings"
	"testing"
	"unicode/utf16"

	"github.com/stretchr/testify/require"
)

// TestHintsAreTaken: who writes what a hint says is done, and no hint repeats what
// was refused.
func TestHintsAreTaken(t *testing.T) {
	more := regexp.MustCompile(`( without quotes|, "2xx" or .*| or .*)$`)
	withKey, place := regexp.MustCompile(`^\w+: `), regexp.MustCompile(`(\w+: )?\[?VALUE\]?`)
	numbers := []string{
		"0443", "00", "007", "+5", "1_000", "0x10", "0o17", "1e3", "08", `"5"`, `"05"`, "05s", "1m05s", "5 s", "08 secs", "0.5 days",
		"5", "05.5", ".5", "inf", "nan", "010%", "10", "05GiB", "0200", "02xx", "0200-0204", "[1]", "{}", "yes",
	}
	addresses := []string{
		"8080", "08080", ":8080", ":08080", "db", "db:", "db:http", "db:080", "db:0", "db:99999", "::1", "::1:8080", "[::1]", "a:b:c",
		"http://db/x", "http://db:080/", "http://u:p@db", "'db internal'", "'db internal:80'", "10.0.0.01:80", "10.0.0.01", "1.2.3:80", "db/x:80",
	}
	for _, row := range []struct {
		text   string // VALUE stands for what is written
		values []string
	}{
		{"listen: {probe: VALUE}", addresses},
		{"checks: [{name: a, tcp: {address: VALUE}}]", addresses},
		{"checks: [{name: a, dns: {name: x, server: VALUE}}]", addresses},
		{"health: {start_grace: VALUE}", numbers},
		{"health: {max_concurrent: VALUE}", numbers},
		{"health: {custom_metrics: {phase: VALUE}}", numbers},
		{"health: {custom_metrics: {enabled: VALUE}}", append(numbers, `"true"`, "on", "Off")},
		{"checks: [{name: a, disk: {path: /, min_free: VALUE}}]", numbers},
		{"checks: [{name: a, disk: {path: /, min_free_inodes: VALUE}}]", numbers},
		{"checks: [{name: a, pressure: {resource: io, avg10_below: VALUE}}]", numbers},
		{`checks: [{name: a, http: {url: "http://a", expect_status: VALUE}}]`, numbers},
		{"drain: {plan: [{name: a, connections: {ports: VALUE}}]}", numbers},
		{"drain: {plan: [{name: a, connections: {ports: [VALUE]}}]}", numbers},
	} {
		for _, value := range row.values {
			_, err := load(t, "-- config.yaml --\n"+strings.ReplaceAll(row.text, "VALUE", value))
			fault, ok := errors.AsType[*Error](err)
			if !ok {
				continue // it is taken
			}
			write, ok := strings.CutPrefix(fault.Hint, "write ")
			if !ok || strings.HasPrefix(write, "true or") {
				continue
			}
			if _, example, ok := strings.Cut(write, "such as "); ok {
				write = example
			}
			write = more.ReplaceAllString(write, "")
			if withKey.MatchString(write) {
				write = strings.ReplaceAll(row.text, place.FindString(row.text), write)
			} else {
				write = strings.ReplaceAll(row.text, "VALUE", write)
			}
			_, err = load(t, "-- config.yaml --\n"+write)
			if err != nil && strings.Contains(err.Error(), "is out of range") {
				continue // which is another matter, and is said
			}
			require.NoError(t, err, "%s: %s: hint %q, taken as %s", row.text, value, fault.Hint, write)
		}
	}
}

// TestTextsKeepTheirLetters: what becomes text is never read as a number, a truth,
// a time or nothing on the way.
func TestTextsKeepTheirLetters(t *testing.T) {
	letters := []string{
		"chmod", "0644", "1e3", "0x10", "0o17", "yes", "NO", "on", "1_000", "1.50", "2026-01-02", "2026-01-02T03:04:05Z",
		".inf", ".nan", "+12", "True", "12:30:45", "1.", "0b1", "y", "=", "-0",
	}
	c, err := load(t, "-- config.yaml --\n"+`checks: [{name: 0644, exec: {command: [`+strings.Join(letters, ", ")+`], env: {A: 0644}}}]`)
	require.NoError(t, err)
	require.Equal(t, letters, c.Checks[0].Exec.Command)
	require.Equal(t, "0644", c.Checks[0].Name)
	require.Equal(t, "0644", c.Checks[0].Exec.Env["A"])

	var shown bytes.Buffer // also by a reader that takes 0644 for a number
	require.NoError(t, c.Marshal(&shown, false))
	require.Contains(t, shown.String(), `"0644"`)
	again, err := load(t, "-- config.yaml --\n"+strings.ReplaceAll(shown.String(), "REDACTED", `"0644"`))
	require.NoError(t, err)
	requireSame(t, c, again)
}

// TestEncodings: a byte order mark of UTF-8 is passed over; other encodings are
// named, with the place where it is one.
func TestEncodings(t *testing.T) {
	const text = "state_dir: /x\n"
	utf16Text := func(order binary.ByteOrder, mark bool) string {
		var b bytes.Buffer
		if mark {
			require.NoError(t, binary.Write(&b, order, uint16(0xfeff)))
		}
		require.NoError(t, binary.Write(&b, order, utf16.Encode([]rune(text))))
		return b.String()
	}
	for name, tc := range map[string]struct{ text, says string }{
		"mark":                  {text: "\ufeff" + text},
		"mark alone":            {text: "\ufeff"},
		"UTF-16LE":              {utf16Text(binary.LittleEndian, true), "config.yaml: is UTF-16LE, not UTF-8; save it as UTF-8: iconv -f UTF-16LE -t UTF-8"},
		"UTF-16BE":              {utf16Text(binary.BigEndian, true), "config.yaml: is UTF-16BE, not UTF-8; save it as UTF-8: iconv -f UTF-16BE -t UTF-8"},
		"UTF-16LE without mark": {utf16Text(binary.LittleEndian, false), "config.yaml: is UTF-16LE, not UTF-8; save it as UTF-8: iconv -f UTF-16LE -t UTF-8"},
		"UTF-16BE without mark": {utf16Text(binary.BigEndian, false), "config.yaml: is UTF-16BE, not UTF-8; save it as UTF-8: iconv -f UTF-16BE -t UTF-8"},
		"UTF-32":                {"\xff\xfe\x00\x00s\x00\x00\x00", "config.yaml: is UTF-32LE, not UTF-8; save it as UTF-8: iconv -f UTF-32LE -t UTF-8"},
		"Latin-1":               {"# fine\nstate_dir: /m\xfcll\n", "config.yaml:2:14: the byte 0xFC is not UTF-8; save the file as UTF-8"},
		"NUL":                   {"state_dir: /x\x00\n", `config.yaml:1:14: has a control character (U+0000); remove it, or write it in double quotes as "\x00"`},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := load(t, "-- config.yaml --\n"+tc.text)
			if tc.says == "" {
				require.NoError(t, err)
				return
			}
			require.EqualError(t, err, tc.says)
		})
	}
}
