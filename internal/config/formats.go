package config

import (
	"fmt"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"unicode"

	"github.com/fleet-agent/fleet-agent/internal/graph"
)

// The formats: conditions on a text, or on every text of a list or map, in words.
const (
	formatListen     = "host:port, where the host may be empty"
	formatAddress    = "host:port"
	formatHost       = "host name or address"
	formatURL        = "http or https URL"
	formatEndpoint   = "http or https URL of scheme and host only"
	formatRegexp     = "regular expression"
	formatPath       = "absolute path"
	formatRunDir     = "absolute path, at most 94 bytes"
	formatName       = "name"
	formatNames      = "names"
	formatTexts      = "not empty"
	formatUnit       = "systemd unit"
	formatTarget     = "systemd target"
	formatHook       = "instance name of fleet-hook@.service"
	formatCommand    = "program and arguments"
	formatEnv        = "names and values of environment variables"
	formatHeaders    = "names and values of HTTP headers"
	formatAPIVersion = "date, in quotes"
	formatEventTypes = "event types"
	formatBytes      = "percentage or bytes"
	formatCount      = "percentage or number"
)

// maxRunDir keeps the path of the control socket, run_dir/control.sock, within
// the 107 bytes that a unix socket's address may have.
const maxRunDir = 107 - len("/control.sock")

var (
	nameRE       = lazily(`^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`)
	unitRE       = lazily(`^[A-Za-z0-9:_.\\@-]{1,240}\.(service|socket|target|timer|mount|automount|swap|path|slice|scope|device)$`)
	hookRE       = lazily(`^[A-Za-z0-9:_.-]{1,200}$`)
	envRE        = lazily(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerRE     = lazily("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	apiVersionRE = lazily(`^20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?$`)
	eventTypeRE  = lazily(`^[A-Z][A-Za-z0-9]{0,62}$`)
)

// eventTypes are the types of Scheduled Events that Azure documents.
var eventTypes = []string{"Preempt", "Terminate", "Reboot", "Redeploy", "Freeze"}

// example returns a value as one might write it.
func (f *FieldDoc) example() string {
	switch {
	case f.Example != "":
		return f.Example
	case len(f.OneOf) > 0 && f.Default == "":
		return f.OneOf[0]
	default:
		return f.Default
	}
}

// write returns the key with an example of a value.
func (f *FieldDoc) write() string {
	_, name := split(f.Path)
	return name + ": " + f.example()
}

// number returns an example of a number.
func (f *FieldDoc) number() string {
	if _, err := strconv.Atoi(f.example()); err == nil {
		return f.example()
	}
	return f.Min
}

// maxItems is how many items a list of maps may have.
func (f *FieldDoc) maxItems() int {
	n, err := strconv.Atoi(f.Max)
	if err != nil {
		panic("config: no bound for the list " + f.Path)
	}
	return n
}

// mapExample returns the map at path with its keys that are required, or the
// first one when none is.
func (s *schema) mapExample(path string) string {
	if path == "" {
		return `keys such as "checks:", each on a line of its own`
	}
	if row := s.row[path]; row != nil && row.Example != "" {
		return row.Example
	}
	var keys []string
	for i, name := range s.children[path] {
		row := s.row[join(path, name)]
		if row.Required || (i == 0 && row.example() != "") {
			keys = append(keys, row.write())
		}
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// checkText says what is wrong with a text, and what to write instead; msg is
// empty when nothing is.
func (f *FieldDoc) checkText(s string) (msg, hint string) {
	quoted := strconv.Quote(clip(s))
	if len(f.OneOf) > 0 {
		if slices.Contains(f.OneOf, s) {
			return "", ""
		}
		if near := graph.Nearest(s, f.OneOf); near != "" {
			return "unknown value " + quoted, fmt.Sprintf("did you mean %q?", near)
		}
		return "unknown value " + quoted, "write " + orList(f.OneOf)
	}
	if s == "" {
		if (f.Required && f.Format != formatCommand) || f.Format == formatNames || f.Format == formatTexts {
			return "must not be empty", "write " + f.write()
		}
		return "", "" // left out
	}
	bad := func(is string) (string, string) { return quoted + " " + is, "write " + f.write() }
	switch f.Format {
	case formatListen:
		return f.checkAddress(s, true)
	case formatAddress:
		return f.checkAddress(s, false)
	case formatHost:
		if strings.ContainsFunc(s, notInHost) || (strings.Contains(s, ":") && net.ParseIP(s) == nil) || badIPv4(s) || len(s) > 253 {
			return bad("is not a host name")
		}
	case formatURL, formatEndpoint:
		return f.checkURL(s)
	case formatRegexp:
		if _, err := regexp.Compile(s); err != nil {
			return strings.TrimPrefix(clip(err.Error()), "error parsing regexp: "), "see https://github.com/google/re2/wiki/Syntax; single quotes keep YAML from reading backslashes"
		}
	case formatPath, formatRunDir:
		switch {
		case strings.ContainsRune(s, 0):
			return bad("is not a path")
		case !filepath.IsAbs(s):
			return quoted + " is not an absolute path", "write it from the root, such as " + f.example()
		case f.Format == formatRunDir && len(s) > maxRunDir:
			return fmt.Sprintf("has %d bytes, more than %d: a unix socket is made in it", len(s), maxRunDir), "choose a shorter path"
		}
	case formatName, formatNames:
		if !nameRE().MatchString(s) {
			return quoted + " is not a name", "write at most 63 letters, digits, '.', '_' and '-', the first a letter or a digit"
		}
	case formatUnit, formatTarget:
		return f.checkUnit(s)
	case formatHook:
		if !hookRE().MatchString(s) {
			return quoted + " is not an instance name", "write the NAME of fleet-hook@NAME.service, such as " + f.example()
		}
	case formatAPIVersion:
		if !apiVersionRE().MatchString(s) {
			return bad("is not an api-version")
		}
	case formatHeaders:
		if strings.ContainsAny(s, "\r\n\x00") {
			return "the value has a line break", "write it on one line"
		}
	case formatCommand, formatEnv:
		if strings.ContainsRune(s, 0) {
			return "the value has a NUL byte", "remove it"
		}
	default:
	}
	return "", ""
}

// checkKey says what is wrong with a key of a map whose keys the user chooses.
func checkKey(format string, key, path string) (msg, hint string) {
	quoted := strconv.Quote(clip(key))
	switch format {
	case formatHeaders:
		if !headerRE().MatchString(key) {
			return quoted + " is not the name of a header", "write letters, digits and '-'"
		}
	case formatEnv:
		if !envRE().MatchString(key) {
			return quoted + " is not the name of an environment variable", "write letters, digits and '_'"
		}
		if strings.HasPrefix(key, "FLEET_") && strings.HasPrefix(path, "drain.") {
			return quoted + " is set by the agent", "choose a name that does not begin with FLEET_"
		}
	case formatEventTypes:
		if slices.Contains(eventTypes, key) {
			return "", ""
		}
		if near := graph.Nearest(key, eventTypes); near != "" {
			return "unknown event type " + quoted, fmt.Sprintf("did you mean %q?", near)
		}
		if !eventTypeRE().MatchString(key) {
			return quoted + " is not an event type", "write " + orList(eventTypes) + ", or the type as Azure spells it"
		}
	default:
	}
	return "", ""
}

// checkAddress checks host:port. An address to listen on may leave the host out
// and the port to the system.
func (f *FieldDoc) checkAddress(s string, listen bool) (msg, hint string) {
	msg = addressFault(s, listen)
	if msg == "" {
		return "", ""
	}
	_, usual, _ := net.SplitHostPort(f.example())
	for _, meant := range meantAddresses(s, usual) {
		if addressFault(meant, listen) == "" {
			return strconv.Quote(clip(s)) + " " + msg, fmt.Sprintf("write %q", clip(meant))
		}
	}
	return strconv.Quote(clip(s)) + " " + msg, fmt.Sprintf(`write host:port, such as "127.0.0.1:%s" or "[::1]:%s"`, usual, usual)
}

// addressFault says what is wrong with host:port; it is empty when nothing is.
func addressFault(s string, listen bool) string {
	if strings.Contains(s, "://") {
		return "is a URL, not an address"
	}
	if bare := strings.Trim(s, "[]"); net.ParseIP(bare) != nil {
		if _, _, ok := cutPort(bare); ok {
			return "is not an address"
		}
		return "has no port"
	}
	host, port, err := net.SplitHostPort(s)
	_, zeros := withoutZeros(port)
	n, number := parseWhole(port)
	switch {
	case err != nil && !strings.Contains(s, ":"):
		if _, err := strconv.Atoi(s); err == nil {
			return "has no host"
		}
		return "has no port"
	case err != nil || strings.ContainsFunc(host, notInHost) || strings.Contains(host, ":") && net.ParseIP(host) == nil:
		return "is not an address"
	case host == "" && !listen:
		return "has no host"
	case zeros:
		return leadingZero
	case !number || n < 0 || n > 65535 || n == 0 && !listen:
		return "has no port between 1 and 65535"
	case badIPv4(host):
		return "has a host that is no IPv4 address"
	default:
		return ""
	}
}

// meantAddresses is what somebody who wrote s may have meant, the likeliest first.
func meantAddresses(s, usual string) []string {
	if _, rest, ok := strings.Cut(s, "://"); ok {
		s, _, _ = strings.Cut(rest, "/")
		s = s[strings.LastIndexByte(s, '@')+1:]
	}
	bare := strings.Trim(s, "[]")
	host, port, err := net.SplitHostPort(s)
	if h, p, ok := cutPort(bare); ok {
		host, port, err = h, p, nil
	}
	if err != nil {
		if port, ok := meantWhole(s); ok {
			return []string{net.JoinHostPort("127.0.0.1", port)}
		}
		return []string{net.JoinHostPort(bare, usual)}
	}
	host, _ = withoutZeros(host)
	if number, ok := meantWhole(port); ok {
		port = number
	}
	if host == "" {
		return []string{net.JoinHostPort("", port), net.JoinHostPort("127.0.0.1", port), net.JoinHostPort("127.0.0.1", usual)}
	}
	return []string{net.JoinHostPort(host, port), net.JoinHostPort(host, usual)}
}

// notInHost reports whether a host name cannot have the character.
func notInHost(r rune) bool {
	return r == '/' || r == '@' || unicode.IsSpace(r) || unicode.IsControl(r) || oddCharacters[r] != ""
}

// badIPv4 reports whether a host looks like an IPv4 address and is none: with a
// leading zero it would be looked up as a name.
func badIPv4(host string) bool {
	return host != "" && strings.Trim(host, "0123456789.") == "" && net.ParseIP(host) == nil
}

// cutPort cuts an IPv6 address that has lost its brackets before what was meant
// as a port: "::1:8080" is an address too, but hardly meant as one.
func cutPort(s string) (host, port string, ok bool) {
	i := strings.LastIndexByte(s, ':')
	if i < 0 || net.ParseIP(s[:i]) == nil {
		return "", "", false
	}
	n, err := strconv.Atoi(s[i+1:])
	return s[:i], s[i+1:], err == nil && n >= 1000
}

// checkURL checks a URL without telling what it is: it may hold a secret.
func (f *FieldDoc) checkURL(s string) (msg, hint string) {
	hint = "write " + f.write()
	if name, _ := oddIn(s); name != "" {
		return "has a " + name, "remove it"
	}
	if strings.ContainsFunc(s, unicode.IsSpace) {
		return "has a space in it", "remove it, or write %20 where it is meant"
	}
	u, err := url.Parse(s)
	switch {
	case err != nil:
		return "is not a URL", hint
	case u.Scheme != "http" && u.Scheme != "https":
		return "is not an http or https URL", hint
	case u.Hostname() == "":
		return "is a URL without a host", hint
	case badIPv4(u.Hostname()):
		return "is a URL whose host is no IPv4 address", hint
	case f.Format == formatEndpoint && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil):
		return "must be scheme and host only", hint
	}
	if port := u.Port(); port != "" {
		if meant, zeros := withoutZeros(port); zeros {
			return "is a URL whose port has a leading zero", "write the port as " + meant
		}
		if n, ok := parseWhole(port); !ok || n < 1 || n > 65535 {
			return "is a URL whose port is not between 1 and 65535", hint
		}
	}
	return "", ""
}

// checkUnit checks the name of a systemd unit.
func (f *FieldDoc) checkUnit(s string) (msg, hint string) {
	quoted := strconv.Quote(clip(s))
	suffix := ".service"
	if f.Format == formatTarget {
		suffix = ".target"
	}
	switch {
	case unitRE().MatchString(s) && (f.Format == formatUnit || strings.HasSuffix(s, suffix)):
		return "", ""
	case unitRE().MatchString(s):
		return quoted + " is not a target", "write " + f.write() + ", or use unit: " + s
	case unitRE().MatchString(s + suffix):
		return quoted + " has no suffix", fmt.Sprintf("write %q", s+suffix)
	default:
		return quoted + " is not the name of a systemd unit", "write " + f.write()
	}
}
