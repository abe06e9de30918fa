package main

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"
)

// maintainer signs the packages' changelogs; the nfpm configurations name it too.
const maintainer = "fleet-agent maintainers <fleet-agent@users.noreply.github.com>"

// unreleased heads the changes since the last release.
const unreleased = "Unreleased"

// changelogWidth is how long a line may be.
const changelogWidth = 78

var sectionRE = regexp.MustCompile(`^## \[([^\]]+)\](?: - (\d{4}-\d{2}-\d{2}))?`)

// A release is one section of CHANGELOG.md.
type release struct {
	version string // or "Unreleased"
	date    time.Time
	items   []string
}

// debianChangelog turns CHANGELOG.md into a changelog as dpkg knows it: an entry
// for the version being built, with what is written under that version or, before
// its release, under Unreleased; below it the earlier releases.
func debianChangelog(markdown, pkg, version string, date time.Time) (string, error) {
	releases, err := readChangelog(markdown)
	if err != nil {
		return "", fmt.Errorf("read the changelog: %w", err)
	}
	top := release{version: version, date: date}
	earlier := slices.DeleteFunc(releases, func(r release) bool {
		if r.version == version || r.version == unreleased {
			top.items = append(top.items, r.items...)
			return true
		}
		return false
	})
	var entries []string
	for _, r := range append([]release{top}, earlier...) {
		if len(r.items) == 0 {
			r.items = []string{"No change that users notice."}
		}
		var b strings.Builder
		fmt.Fprintf(&b, "%s (%s-1) unstable; urgency=medium\n\n", pkg, r.version)
		for _, item := range r.items {
			b.WriteString(wrap("  * ", "    ", strings.ReplaceAll(item, "`", "")))
		}
		fmt.Fprintf(&b, "\n -- %s  %s\n", maintainer, r.date.Format(time.RFC1123Z))
		entries = append(entries, b.String())
	}
	return strings.Join(entries, "\n"), nil
}

// readChangelog reads the sections and the items of their lists.
func readChangelog(markdown string) ([]release, error) {
	var releases []release
	for line := range strings.Lines(markdown) {
		line = strings.TrimSpace(line)
		if m := sectionRE.FindStringSubmatch(line); m != nil {
			r := release{version: m[1]}
			if r.version != unreleased {
				var err error
				if r.date, err = time.Parse(time.DateOnly, m[2]); err != nil {
					return nil, fmt.Errorf("section %s: %w", r.version, err)
				}
			}
			releases = append(releases, r)
			continue
		}
		if len(releases) == 0 || line == "" || strings.HasPrefix(line, "#") || strings.HasPrefix(line, "[") {
			continue
		}
		last := &releases[len(releases)-1]
		if item, ok := strings.CutPrefix(line, "- "); ok {
			last.items = append(last.items, item)
		} else if n := len(last.items); n > 0 {
			last.items[n-1] += " " + line
		}
	}
	if len(releases) == 0 {
		return nil, errors.New("it has no section such as ## [Unreleased]")
	}
	return releases, nil
}

// wrap fills lines; first and rest are what they begin with.
func wrap(first, rest, text string) string {
	var b strings.Builder
	line := first
	empty := true
	for word := range strings.FieldsSeq(text) {
		if !empty && len(line)+1+len(word) > changelogWidth {
			b.WriteString(line + "\n")
			line, empty = rest, true
		}
		if !empty {
			line += " "
		}
		line, empty = line+word, false
	}
	b.WriteString(line + "\n")
	return b.String()
}
