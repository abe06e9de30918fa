package fleetfile

import (
	"fmt"
	"net/url"
	"path"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
	"github.com/fleet-agent/fleet-agent/internal/graph"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// The formats of fleet.yaml, in words; the others are those of package strict.
const (
	formatSubscription  = "id of a subscription"
	formatGroup         = "name of a resource group"
	formatRegion        = "region"
	formatRegions       = "regions"
	formatTags          = "names and values of tags"
	formatGallery       = "name in a gallery"
	formatImagePart     = "part of an image's name"
	formatSourceVersion = "latest or N.N.N"
	formatBakeVersion   = "N.N.N or N.N.{n}"
	formatVMSize        = "size of a virtual machine"
	formatIdentity      = "name or id of an identity"
	formatFile          = "local file"
	formatTmp           = "path below /tmp"
	formatScript        = "local file or https URL"
	formatSHA256        = "64 hexadecimal digits"
	formatArgs          = "arguments"
	formatArtifacts     = "https URL of a container"
	formatLike          = "scale set of this file, or id of a scale set"
	formatSets          = "names of scale sets"
	formatSetID         = "id of a scale set"
	formatID            = "id of a resource"
	formatAdmin         = "user name"
	formatRequestPath   = "path of a URL"
	formatQuery         = "PromQL"
	formatClock         = "time of day, in quotes"
	formatTimezone      = "time zone"
	formatJournal       = "https URL or local directory"
)

const (
	guid           = `[0-9a-fA-F]{8}(-[0-9a-fA-F]{4}){3}-[0-9a-fA-F]{12}`
	groupPart      = `[A-Za-z0-9_.()-]{0,89}[A-Za-z0-9_()-]`
	idPattern      = `^/subscriptions/` + guid + `/resource[gG]roups/` + groupPart + `/providers/[A-Za-z0-9.]+(/[A-Za-z0-9_.()-]+/[A-Za-z0-9_.()-]+)+$`
	setIDPattern   = `^/subscriptions/` + guid + `/resource[gG]roups/` + groupPart + `/providers/[mM]icrosoft\.[cC]ompute/virtual[mM]achine[sS]cale[sS]ets/` + setName + `$`
	setName        = `[A-Za-z0-9]([A-Za-z0-9_.-]{0,62}[A-Za-z0-9_])?`
	versionNumbers = `(0|[1-9][0-9]{0,9})\.(0|[1-9][0-9]{0,9})\.`
)

// formats returns the formats of fleet.yaml.
func formats() map[string]strict.Format {
	return map[string]strict.Format{
		formatSubscription:  matching(`^`+guid+`$`, "is not the id of a subscription"),
		formatGroup:         matching(`^`+groupPart+`$`, "is not the name of a resource group"),
		formatRegion:        {Check: checkRegion},
		formatRegions:       {Key: checkRegionKey},
		formatTags:          {Check: checkTag, Key: checkTagName, Loose: true},
		formatGallery:       matching(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,78}[A-Za-z0-9])?$`, "is not a name in a gallery"),
		formatImagePart:     matching(`^[A-Za-z0-9]([A-Za-z0-9_.-]{0,126}[A-Za-z0-9])?$`, "is not part of an image's name"),
		formatSourceVersion: matching(`^(latest|[0-9]+\.[0-9]+\.[0-9]+)$`, "is not a version of an image"),
		formatBakeVersion:   matching(`^`+versionNumbers+`(\{n\}|0|[1-9][0-9]{0,9})$`, "is not an image version"),
		formatVMSize:        matching(`^[A-Za-z0-9]+(_[A-Za-z0-9-]+)+$`, "is not the size of a virtual machine"),
		formatIdentity:      {Check: checkIdentity},
		formatFile:          {Check: checkFile},
		formatTmp:           {Check: checkTmp, Pattern: `^/tmp/.`},
		formatScript:        {Check: checkScript},
		formatSHA256:        matching(`^[0-9a-fA-F]{64}$`, "is not a SHA-256"),
		formatArgs:          {Check: checkArg, Loose: true, Repeats: true},
		formatArtifacts:     {Check: checkArtifacts, Pattern: `^https://`},
		formatLike:          {Check: checkLike},
		formatSets:          {Key: checkSetName},
		formatSetID:         matching(setIDPattern, "is not the id of a scale set"),
		formatID:            matching(idPattern, "is not the id of a resource"),
		formatAdmin:         matching(`^[a-z_][a-z0-9_-]{0,31}$`, "is not a user name"),
		formatRequestPath:   matching(`^/[^\s?#]*$`, "is not the path of a URL"),
		formatQuery:         {Check: checkQuery},
		formatClock:         matching(`^([01][0-9]|2[0-3]):[0-5][0-9]$`, "is not a time of day"),
		formatTimezone:      {Check: checkTimezone},
		formatJournal:       {Check: checkJournal},
	}
}

// matching is the format of the texts that match a pattern.
func matching(pattern, is string) strict.Format {
	re := strict.Lazily(pattern)
	return strict.Format{Pattern: pattern, Check: func(f *strict.Field, s string) (msg, hint string) {
		if !re().MatchString(s) {
			return quote(s) + " " + is, "write " + f.Write()
		}
		return "", ""
	}}
}

func quote(s string) string { return strconv.Quote(strict.Clip(s)) }

func checkRegion(_ *strict.Field, s string) (msg, hint string) { return checkRegionKey(s, "") }

func checkRegionKey(s, _ string) (msg, hint string) {
	name := fleet.NormalLocation(s)
	letter := func(r rune) bool { return 'a' <= r && r <= 'z' || '0' <= r && r <= '9' }
	switch {
	case slices.Contains(regions, name):
		return "", ""
	case name == "" || strings.ContainsFunc(name, func(r rune) bool { return !letter(r) }):
		return quote(s) + " is not a region", "write one as az account list-locations names it, such as eastus"
	case meantRegion(name) != "":
		return "unknown region " + quote(s), fmt.Sprintf("did you mean %q?", meantRegion(name))
	default:
		return "", "" // one that is newer than this program
	}
}

// Azure's limits of tags.
const maxTagName, maxTagValue = 512, 256

func checkTagName(key, _ string) (msg, hint string) {
	switch {
	case key == "" || strings.ContainsAny(key, `<>%&\?/`):
		return quote(key) + " is not the name of a tag", `write one without < > % & \ ? and /`
	case strings.EqualFold(key, fleet.TagApplied):
		return quote(key) + " is the tag by which fleetctl apply knows what it has brought to the file", "remove it"
	case len(key) > maxTagName:
		return fmt.Sprintf("the name of the tag has more than %d bytes", maxTagName), "shorten it"
	default:
		return "", ""
	}
}

func checkTag(_ *strict.Field, s string) (msg, hint string) {
	if len(s) > maxTagValue {
		return fmt.Sprintf("has more than %d bytes, which is the most that a tag may have", maxTagValue), "shorten it"
	}
	return "", ""
}

func checkSetName(key, _ string) (msg, hint string) {
	if !setNameRE().MatchString(key) {
		return quote(key) + " is not the name of a scale set", "write at most 64 letters, digits, '_', '.' and '-', the first a letter or a digit"
	}
	return "", ""
}

var (
	setNameRE  = strict.Lazily(`^` + setName + `$`)
	idRE       = strict.Lazily(idPattern)
	setIDRE    = strict.Lazily(setIDPattern)
	identityRE = strict.Lazily(`^[A-Za-z0-9][A-Za-z0-9_-]{2,127}$`)
)

func checkIdentity(f *strict.Field, s string) (msg, hint string) {
	if !identityRE().MatchString(s) && !idRE().MatchString(s) {
		return quote(s) + " is neither the name nor the id of an identity", "write " + f.Write()
	}
	return "", ""
}

func checkLike(f *strict.Field, s string) (msg, hint string) {
	if strings.HasPrefix(s, "/") && !setIDRE().MatchString(s) {
		return quote(s) + " is not the id of a scale set", "write " + f.Write()
	}
	return "", "" // a name is looked up when all are known
}

func checkFile(f *strict.Field, s string) (msg, hint string) {
	switch {
	case strings.Contains(s, "://"):
		return quote(s) + " is a URL, not a local file", "write " + f.Write()
	case strings.HasSuffix(s, "/") || strings.ContainsRune(s, 0):
		return quote(s) + " is not a file", "write " + f.Write()
	case strings.HasPrefix(s, "~") && !strings.HasPrefix(s, "~/"):
		return quote(s) + " begins with ~, which stands for your own home only", "write ~/ or the whole path"
	default:
		return "", ""
	}
}

func checkTmp(f *strict.Field, s string) (msg, hint string) {
	if path.Clean(s) != s || !strings.HasPrefix(s, "/tmp/") || strings.ContainsFunc(s, unicode.IsControl) || strings.Contains(s, `\`) {
		return quote(s) + " is not a path below /tmp", "write " + f.Write() + ": Image Builder may write nowhere else"
	}
	return "", ""
}

func checkScript(f *strict.Field, s string) (msg, hint string) {
	if !strings.Contains(s, "://") {
		return checkFile(f, s)
	}
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" {
		return "is neither a local file nor an https URL without login and query", "write " + f.Write()
	}
	return "", ""
}

// maxArg bounds an argument of a script.
const maxArg = 4 << 10

// placeholderRE is what may be meant for ArgVersion or ArgImage. Other braces are the
// script's.
var placeholderRE = strict.Lazily(`\{[A-Za-z]+\}`)

func checkArg(_ *strict.Field, s string) (msg, hint string) {
	switch {
	case len(s) > maxArg:
		return fmt.Sprintf("has more than %d bytes", maxArg), "bake a file with it, and let the script read that"
	case strings.ContainsFunc(s, unicode.IsControl):
		return quote(s) + " has a line break or another control character", "bake a file with it, and let the script read that"
	}
	known := []string{fleet.ArgVersion, fleet.ArgImage}
	for _, found := range placeholderRE().FindAllString(s, -1) {
		if near := graph.Nearest(found, known); near != "" && !slices.Contains(known, found) {
			return quote(found) + " stands for nothing", "did you mean " + near + "?"
		}
	}
	return "", ""
}

// containerRE is the name of a container of blobs.
var containerRE = strict.Lazily(`^[a-z0-9](-?[a-z0-9])*$`)

func checkArtifacts(f *strict.Field, s string) (msg, hint string) {
	u, err := url.Parse(s)
	if err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
		return "is not an https URL without login and query", "write " + f.Write()
	}
	container, _, _ := strings.Cut(strings.Trim(u.Path, "/"), "/")
	if len(container) < 3 || len(container) > 63 || !containerRE().MatchString(container) {
		return quote(container) + " is not the name of a container of blobs", "write " + f.Write()
	}
	return "", ""
}

// remote says whether a script is at a URL.
func remote(script string) bool { return strings.HasPrefix(script, "https://") }

// checkQuery finds what the image version cannot be put into.
func checkQuery(_ *strict.Field, s string) (msg, hint string) {
	rest := strings.ReplaceAll(s, "{{.Version}}", "")
	if strings.Contains(rest, "{{") || strings.Contains(rest, "}}") {
		return "has {{ }} around something else than .Version", "write {{.Version}} where the image version stands"
	}
	return "", ""
}

func checkTimezone(f *strict.Field, s string) (msg, hint string) {
	if _, err := time.LoadLocation(s); err != nil || s == "Local" {
		return quote(s) + " is not a time zone", "write " + f.Write() + ", or UTC"
	}
	return "", ""
}

func checkJournal(f *strict.Field, s string) (msg, hint string) {
	if !strings.Contains(s, "://") {
		return checkFile(f, s)
	}
	u, err := url.Parse(s)
	switch {
	case err != nil || u.Scheme != "https" || u.Hostname() == "" || u.User != nil || u.RawQuery != "":
		return "is neither a local directory nor an https URL without login and query", "write " + f.Write()
	case strings.Trim(path.Dir(strings.Trim(u.Path, "/")), "./") == "":
		return "is a URL without a container and a path in it", "write " + f.Write()
	default:
		return "", ""
	}
}
