package systemd

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// DefaultInhibitDelay is logind's InhibitDelayMaxSec= where no file sets it.
const DefaultInhibitDelay = 5 * time.Second

// InhibitDelaySetting is one place that sets InhibitDelayMaxSec=.
type InhibitDelaySetting struct {
	File  string // without the root directory
	Value time.Duration
}

// InhibitDelayConfig returns the places that set logind's InhibitDelayMaxSec=,
// in the order in which logind reads them: the last one wins, and an empty list
// means DefaultInhibitDelay. Root is the directory that has etc, run and usr; it
// is "/" outside tests.
//
// logind.conf is read first. Drop-ins follow in the order of their file names,
// whatever directory they are in, which is why zz-fleet-agent.conf beats a
// package's unattended-upgrades-logind-maxdelay.conf and 99-fleet-agent.conf
// does not. Of several with the same name, that in /etc counts, then /run, then
// /usr/local/lib, then /usr/lib (logind.conf.d(5)). What is in the files takes
// effect when logind is told to read them: MaxDelay says what is in force.
func InhibitDelayConfig(root string) ([]InhibitDelaySetting, error) {
	dirs := []string{"/etc/systemd", "/run/systemd", "/usr/local/lib/systemd", "/usr/lib/systemd"}

	var files []string
	for _, dir := range dirs {
		main := dir + "/logind.conf"
		if _, err := os.Stat(filepath.Join(root, main)); err == nil {
			files = append(files, main)
			break
		}
	}
	dropIns := make(map[string]string) // by file name
	for _, dir := range dirs {
		entries, err := os.ReadDir(filepath.Join(root, dir, "logind.conf.d"))
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			return nil, fmt.Errorf("list logind drop-ins: %w", err)
		}
		for _, e := range entries {
			name := e.Name()
			if filepath.Ext(name) != ".conf" || strings.HasPrefix(name, ".") || dropIns[name] != "" {
				continue
			}
			dropIns[name] = dir + "/logind.conf.d/" + name
		}
	}
	names := make([]string, 0, len(dropIns))
	for name := range dropIns {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		files = append(files, dropIns[name])
	}

	var settings []InhibitDelaySetting
	for _, file := range files {
		value, ok, err := readInhibitDelay(filepath.Join(root, file))
		if err != nil {
			return nil, fmt.Errorf("read %s: %w", file, err)
		}
		if ok {
			settings = append(settings, InhibitDelaySetting{File: file, Value: value})
		}
	}
	return settings, nil
}

// readInhibitDelay returns the last valid setting in one file. A link to
// /dev/null, which masks a drop-in, reads as an empty file.
func readInhibitDelay(file string) (value time.Duration, ok bool, err error) {
	f, err := os.Open(file)
	if err != nil {
		return 0, false, err
	}
	defer f.Close()
	section := ""
	lines := bufio.NewScanner(io.LimitReader(f, 1<<20))
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if strings.HasPrefix(line, "[") {
			section = line
			continue
		}
		key, text, found := strings.Cut(line, "=")
		if !found || section != "[Login]" || strings.TrimSpace(key) != "InhibitDelayMaxSec" {
			continue // a comment's key begins with # or ;
		}
		if d, err := ParseTimeSpan(strings.TrimSpace(text)); err == nil { // logind ignores the others, too
			value, ok = d, true
		}
	}
	return value, ok, lines.Err()
}

// ParseTimeSpan parses a time span as systemd.time(7) writes it: numbers with
// units, such as "1min 30s"; a number alone counts seconds. What a time.Duration
// cannot hold is Infinite, as "infinity" is.
func ParseTimeSpan(s string) (time.Duration, error) {
	if s == "infinity" {
		return Infinite, nil
	}
	bad := fmt.Errorf("parse time span %q: want for example 30s or 1min 30s", s)
	var total float64 // in seconds
	rest := strings.TrimSpace(s)
	if rest == "" {
		return 0, bad
	}
	for rest != "" {
		digits := strings.IndexFunc(rest, func(r rune) bool { return (r < '0' || r > '9') && r != '.' })
		if digits < 0 {
			digits = len(rest)
		}
		n, err := strconv.ParseFloat(rest[:digits], 64)
		if err != nil {
			return 0, bad
		}
		rest = strings.TrimLeft(rest[digits:], " \t")
		letters := strings.IndexFunc(rest, func(r rune) bool { return r >= '0' && r <= '9' || r == '.' || r == ' ' || r == '\t' })
		if letters < 0 {
			letters = len(rest)
		}
		unit := unitSeconds(rest[:letters])
		if unit == 0 {
			return 0, bad
		}
		total += n * unit
		rest = strings.TrimLeft(rest[letters:], " \t")
	}
	if total >= Infinite.Seconds() {
		return Infinite, nil
	}
	return time.Duration(total * float64(time.Second)), nil
}

// unitSeconds returns the length of a unit of systemd.time(7), 0 for another.
func unitSeconds(unit string) float64 {
	switch unit {
	case "usec", "us", "µs", "μs":
		return 1e-6
	case "msec", "ms":
		return 1e-3
	case "", "seconds", "second", "sec", "s":
		return 1
	case "minutes", "minute", "min", "m":
		return 60
	case "hours", "hour", "hr", "h":
		return 3600
	case "days", "day", "d":
		return 24 * 3600
	case "weeks", "week", "w":
		return 7 * 24 * 3600
	case "months", "month", "M":
		return 30.44 * 24 * 3600
	case "years", "year", "y":
		return 365.25 * 24 * 3600
	}
	return 0
}
