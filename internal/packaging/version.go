package main

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// describeRE is a tag, and how many commits after it: v1.2.3-rc.1-5-gabc1234.
var describeRE = regexp.MustCompile(`^v?([0-9]+\.[0-9]+\.[0-9]+)(?:-([0-9A-Za-z.]+))??(?:-([0-9]+)-g([0-9a-f]+))?$`)

var commitRE = regexp.MustCompile(`^[0-9a-f]{7,40}$`)

// debianVersion turns the answer of `git describe --tags --always --dirty` into
// the version of a package, without its revision, that sorts as the commits do:
//
//	v1.2.3                 1.2.3
//	v1.3.0-rc.1            1.3.0~rc.1               before 1.3.0
//	v1.2.3-5-gabc1234      1.2.3+5.gabc1234         after 1.2.3
//	abc1234                0.0.0~git20260102030405.abc1234
//	...-dirty              ...+dirty
//	dev                    0.0.0~dev                outside a repository
func debianVersion(describe string, date time.Time) (string, error) {
	base, dirty := strings.CutSuffix(describe, "-dirty")
	suffix := ""
	if dirty {
		suffix = "+dirty"
	}
	if base == "dev" {
		return "0.0.0~dev" + suffix, nil
	}
	if commitRE.MatchString(base) {
		return "0.0.0~git" + date.UTC().Format("20060102150405") + "." + base + suffix, nil
	}
	m := describeRE.FindStringSubmatch(base)
	if m == nil {
		return "", fmt.Errorf("%q is not a version such as v1.2.3, nor what git describe makes of one", describe)
	}
	version := m[1]
	if m[2] != "" {
		version += "~" + m[2]
	}
	if m[3] != "" {
		version += "+" + m[3] + ".g" + m[4]
	}
	return version + suffix, nil
}
