package strict

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

// A Format is a further condition on a text, or on every text of a list or map. What
// is wrong is said in two parts: msg, which is empty when nothing is, and a hint at
// what to write instead.
type Format struct {
	// Check looks at a text that is not empty; nil takes any.
	Check func(f *Field, text string) (msg, hint string)
	// Key looks at a key that the user chose, of the map at path; nil takes any.
	Key func(key, path string) (msg, hint string)
	// Pattern is the condition as far as a regular expression can say it, for the
	// JSON Schema.
	Pattern string
	// Loose says that numbers and truths are texts as well, as they are written.
	Loose bool
	// Repeats says that a text may stand in a list more than once, as arguments may.
	Repeats bool
}

// The formats that every table may use, in words.
const (
	FormatListen   = "host:port, where the host may be empty"
	FormatAddress  = "host:port"
	FormatHost     = "host name or address"
	FormatURL      = "http or https URL"
	FormatEndpoint = "http or https URL of scheme and host only"
	FormatRegexp   = "regular expression"
	FormatPath     = "absolute path"
	FormatName     = "name"
	FormatNames    = "names"
	FormatTexts    = "not empty"
	FormatCommand  = "program and arguments"
	FormatBytes    = "percentage or bytes"
	FormatCount    = "percentage or number"
	FormatPercent  = "percentage" // of a whole number
)

const namePattern = `^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$`

var nameRE = Lazily(namePattern)

// mapExample returns the map at path with its keys that are required, or the
// first one when none is.
func (s *Schema) mapExample(path string) string {
	if path == "" {
		return `keys such as "` + s.topKey + `:", each on a line of its own`
	}
	if row := s.row[path]; row != nil && row.Example != "" {
		return row.Example
	}
	var keys []string
	for i, name := range s.children[path] {
		row := s.row[join(path, name)]
		if row.Required || (i == 0 && row.Sample() != "") {
			keys = append(keys, row.Write())
		}
	}
	return "{" + strings.Join(keys, ", ") + "}"
}

// checkText says what is wrong with a text, and what to write instead; msg is
// empty when nothing is.
func (s *Schema) checkText(f *Field, text string) (msg, hint string) {
	quoted := strconv.Quote(Clip(text))
	if len(f.OneOf) > 0 {
		if slices.Contains(f.OneOf, text) {
			return "", ""
		}
		if near := graph.Nearest(text, f.OneOf); near != "" {
			return "unknown value " + quoted, fmt.Sprintf("did you mean %q?", near)
		}
		return "unknown value " + quoted, "write " + OrList(f.OneOf)
	}
	if text == "" {
		if (f.Required && f.Format != FormatCommand) || f.Format == FormatNames || f.Format == FormatTexts {
			return "must not be empty", "write " + f.Write()
		}
		return "", "" // left out
	}
	switch f.Format {
	case FormatListen:
		return f.checkAddress(text, true)
	case FormatAddress:
		return f.checkAddress(text, false)
	case FormatHost:
		if strings.ContainsFunc(text, notInHost) || (strings.Contains(text, ":") && net.ParseIP(text) == nil) || badIPv4(text) || len(text) > 253 {
			return quoted + " is not a host name", "write " + f.Write()
		}
	case FormatURL, FormatEndpoint:
		return f.checkURL(text)
	case FormatRegexp:
		if _, err := regexp.Compile(text); err != nil {
			return strings.TrimPrefix(Clip(err.Error()), "error parsing regexp: "), "see https://github.com/google/re2/wiki/Syntax; single quotes keep YAML from reading backslashes"
		}
	case FormatPath:
		return f.CheckPath(text)
	case FormatName, FormatNames:
		if !nameRE().MatchString(text) {
			return quoted + " is not a name", "write at most 63 letters, digits, '.', '_' and '-', the first a letter or a digit"
		}
	case FormatCommand:
		if strings.ContainsRune(text, 0) {
			return "the value has a NUL byte", "remove it"
		}
	default:
		if check := s.formats[f.Format].Check; check != nil {
			return check(f, text)
		}
	}
	return "", ""
}

// CheckPath is the condition of FormatPath.
func (f *Field) CheckPath(s string) (msg, hint string) {
	quoted := strconv.Quote(Clip(s))
	switch {
	case strings.ContainsRune(s, 0):
		return quoted + " is not a path", "write " + f.Write()
	case !filepath.IsAbs(s):
		return quoted + " is not an absolute path", "write it from the root, such as " + f.Sample()
	default:
		return "", ""
	}
}

// checkKey says what is wrong with a key of the map at path, whose keys the user
// chooses.
func (s *Schema) checkKey(f *Field, key, path string) (msg, hint string) {
	if check := s.formats[f.Format].Key; check != nil {
		return check(key, path)
	}
	return "", ""
}

// checkAddress checks host:port. An address to listen on may leave the host out
// and the port to the system.
func (f *Field) checkAddress(s string, listen bool) (msg, hint string) {
	msg = addressFault(s, listen)
	if msg == "" {
		return "", ""
	}
	_, usual, _ := net.SplitHostPort(f.Sample())
	for _, meant := range meantAddresses(s, usual) {
		if addressFault(meant, listen) == "" {
			return strconv.Quote(Clip(s)) + " " + msg, fmt.Sprintf("write %q", Clip(meant))
		}
	}
	return strconv.Quote(Clip(s)) + " " + msg, fmt.Sprintf(`write host:port, such as "127.0.0.1:%s" or "[::1]:%s"`, usual, usual)
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
func (f *Field) checkURL(s string) (msg, hint string) {
	hint = "write " + f.Write()
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
	case f.Format == FormatEndpoint && (strings.Trim(u.Path, "/") != "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil):
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
