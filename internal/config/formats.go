package config

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/graph"
	"github.com/fleet-agent/fleet-agent/internal/strict"
)

// The formats of the agent's own, in words; the others are those of package strict.
const (
	formatRunDir     = "absolute path, at most 94 bytes"
	formatUnit       = "systemd unit"
	formatTarget     = "systemd target"
	formatHook       = "instance name of fleet-hook@.service"
	formatEnv        = "names and values of environment variables"
	formatHeaders    = "names and values of HTTP headers"
	formatAPIVersion = "date, in quotes"
	formatEventTypes = "event types"
)

// maxRunDir keeps the path of the control socket, run_dir/control.sock, within
// the 107 bytes that a unix socket's address may have.
const maxRunDir = 107 - len("/control.sock")

const (
	hookPattern       = `^[A-Za-z0-9:_.-]{1,200}$`
	apiVersionPattern = `^20[0-9]{2}-[0-9]{2}-[0-9]{2}(-preview)?$`
)

var (
	unitRE       = strict.Lazily(`^[A-Za-z0-9:_.\\@-]{1,240}\.(service|socket|target|timer|mount|automount|swap|path|slice|scope|device)$`)
	hookRE       = strict.Lazily(hookPattern)
	envRE        = strict.Lazily(`^[A-Za-z_][A-Za-z0-9_]*$`)
	headerRE     = strict.Lazily("^[A-Za-z0-9!#$%&'*+.^_`|~-]+$")
	apiVersionRE = strict.Lazily(apiVersionPattern)
	eventTypeRE  = strict.Lazily(`^[A-Z][A-Za-z0-9]{0,62}$`)
)

// eventTypes are the types of Scheduled Events that Azure documents.
var eventTypes = []string{"Preempt", "Terminate", "Reboot", "Redeploy", "Freeze"}

// newSchema binds the table of keys (see fields.go) to Config.
func newSchema() *strict.Schema {
	return strict.New(strict.Table{
		Type:   reflect.TypeFor[Config](),
		Fields: fieldTable(),
		Formats: map[string]strict.Format{
			formatRunDir:     {Check: checkRunDir, Pattern: "^(/|$)"},
			formatUnit:       {Check: checkUnit},
			formatTarget:     {Check: checkUnit},
			formatHook:       {Check: checkHook, Pattern: hookPattern},
			formatEnv:        {Check: checkEnv, Key: checkEnvName, Loose: true},
			formatHeaders:    {Check: checkHeader, Key: checkHeaderName, Loose: true},
			formatAPIVersion: {Check: checkAPIVersion, Pattern: apiVersionPattern},
			formatEventTypes: {Key: checkEventType},
		},
		Kinds:  map[string][]string{"checks[]": checkKinds, "drain.plan[]": stepKinds},
		TopKey: "checks",
	})
}

// The keys of which a check, and a step, has exactly one.
var (
	checkKinds = []string{"http", "tcp", "tls", "grpc", "dns", "exec", "unit", "disk", "file", "certificate", "pressure", "clock", "heartbeat"}
	stepKinds  = []string{"target", "unit", "hook", "exec", "connections", "webhook", "sleep"}
)

func quote(s string) string { return strconv.Quote(strict.Clip(s)) }

func checkRunDir(f *strict.Field, s string) (msg, hint string) {
	if msg, hint := f.CheckPath(s); msg != "" {
		return msg, hint
	}
	if len(s) > maxRunDir {
		return fmt.Sprintf("has %d bytes, more than %d: a unix socket is made in it", len(s), maxRunDir), "choose a shorter path"
	}
	return "", ""
}

// checkUnit checks the name of a systemd unit.
func checkUnit(f *strict.Field, s string) (msg, hint string) {
	suffix := ".service"
	if f.Format == formatTarget {
		suffix = ".target"
	}
	switch {
	case unitRE().MatchString(s) && (f.Format == formatUnit || strings.HasSuffix(s, suffix)):
		return "", ""
	case unitRE().MatchString(s):
		return quote(s) + " is not a target", "write " + f.Write() + ", or use unit: " + s
	case unitRE().MatchString(s + suffix):
		return quote(s) + " has no suffix", fmt.Sprintf("write %q", s+suffix)
	default:
		return quote(s) + " is not the name of a systemd unit", "write " + f.Write()
	}
}

func checkHook(f *strict.Field, s string) (msg, hint string) {
	if !hookRE().MatchString(s) {
		return quote(s) + " is not an instance name", "write the NAME of fleet-hook@NAME.service, such as " + f.Sample()
	}
	return "", ""
}

func checkAPIVersion(f *strict.Field, s string) (msg, hint string) {
	if !apiVersionRE().MatchString(s) {
		return quote(s) + " is not an api-version", "write " + f.Write()
	}
	return "", ""
}

func checkHeader(_ *strict.Field, s string) (msg, hint string) {
	if strings.ContainsAny(s, "\r\n\x00") {
		return "the value has a line break", "write it on one line"
	}
	return "", ""
}

func checkHeaderName(key, _ string) (msg, hint string) {
	if !headerRE().MatchString(key) {
		return quote(key) + " is not the name of a header", "write letters, digits and '-'"
	}
	return "", ""
}

func checkEnv(_ *strict.Field, s string) (msg, hint string) {
	if strings.ContainsRune(s, 0) {
		return "the value has a NUL byte", "remove it"
	}
	return "", ""
}

func checkEnvName(key, path string) (msg, hint string) {
	if !envRE().MatchString(key) {
		return quote(key) + " is not the name of an environment variable", "write letters, digits and '_'"
	}
	if strings.HasPrefix(key, "FLEET_") && strings.HasPrefix(path, "drain.") {
		return quote(key) + " is set by the agent", "choose a name that does not begin with FLEET_"
	}
	return "", ""
}

func checkEventType(key, _ string) (msg, hint string) {
	if slices.Contains(eventTypes, key) {
		return "", ""
	}
	if near := graph.Nearest(key, eventTypes); near != "" {
		return "unknown event type " + quote(key), fmt.Sprintf("did you mean %q?", near)
	}
	if !eventTypeRE().MatchString(key) {
		return quote(key) + " is not an event type", "write " + strict.OrList(eventTypes) + ", or the type as Azure spells it"
	}
	return "", ""
}
