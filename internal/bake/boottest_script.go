package bake

import (
	"encoding/base64"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// Bounds of the script of a boot test.
const (
	scriptWithin   = 10 * time.Minute
	scriptPatience = 3 * time.Minute // for Run Command itself
	maxScript      = 64 << 10
	scriptLate     = 124 // the exit code of timeout(1)
)

// bootScript wraps a script for Run Command, which does not tell exit codes: the last
// line of its output is the marker that scriptExit reads. The script is written to a
// file, so that it can hold anything, and is run by the interpreter of its first line:
// a hardened image runs no file of /tmp by itself.
func bootScript(script []byte) ([]string, error) {
	switch {
	case len(script) > maxScript:
		return nil, fmt.Errorf("a script of %d bytes is too long for Run Command: at most %d; put it into the image", len(script), maxScript)
	case !utf8.Valid(script):
		return nil, errors.New("it is not a text")
	}
	interpreter, err := interpreterOf(string(script))
	if err != nil {
		return nil, err
	}
	lines := []string{
		"#!/bin/sh",
		"file=$(mktemp) || exit 1",
		`trap 'rm -f "$file"' EXIT`,
		`base64 -d >"$file" <<'fleetctl'`,
	}
	const width = 76
	text := base64.StdEncoding.EncodeToString(script)
	for ; len(text) > width; text = text[width:] {
		lines = append(lines, text[:width])
	}
	return append(lines,
		text,
		"fleetctl",
		fmt.Sprintf(`timeout -k 10 %d %s "$file" </dev/null`, int(scriptWithin.Seconds()), interpreter),
		`printf '\nfleetctl: exit %d\n' "$?"`,
	), nil
}

// interpreterOf is what a script's first line asks to be run by, quoted for a shell.
func interpreterOf(script string) (string, error) {
	first, _, _ := strings.Cut(script, "\n")
	first, asks := strings.CutPrefix(strings.TrimRight(first, "\r"), "#!")
	words := strings.Fields(first)
	if !asks {
		return "/bin/sh", nil
	}
	if len(words) == 0 || strings.Contains(first, "'") {
		return "", fmt.Errorf("its first line %q names no interpreter", "#!"+first)
	}
	return "'" + strings.Join(words, "' '") + "'", nil
}

var exitMarker = regexp.MustCompile(`(?:^|\n)fleetctl: exit (\d{1,3})\s*$`)

// scriptExit takes the marker of a script's end off its output.
func scriptExit(stdout string) (code int, output string, ended bool) {
	at := exitMarker.FindStringSubmatchIndex(stdout)
	if at == nil {
		return 0, stdout, false
	}
	code, _ = strconv.Atoi(stdout[at[2]:at[3]]) // digits
	return code, strings.TrimRight(stdout[:at[0]], "\n"), true
}
