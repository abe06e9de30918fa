package fleet

import (
	"fmt"
	"maps"
	"net/url"
	"path"
	"slices"
	"strings"
	"time"
)

// richHealth says whether the extension is of version 2 or later, which reads the
// body of an answer.
func richHealth(version string) bool { return version != "" && !strings.HasPrefix(version, "1") }

// endpoint is what a health extension asks: "http :8080/healthz".
func (e *Extension) endpoint() string {
	port := ""
	if n, ok := integer(e.Settings["port"]); ok {
		port = fmt.Sprintf(":%d", n)
	}
	return textAt(e.Settings, "protocol") + " " + port + textAt(e.Settings, "requestPath")
}

func (e *Extension) asksHTTP() bool {
	return strings.HasPrefix(strings.ToLower(textAt(e.Settings, "protocol")), "http")
}

// Health extension version 2 on an endpoint without the JSON body. That cannot be
// seen from outside; but members whose health is Healthy or Unhealthy prove the body,
// and members that are all Unknown speak against it.
func findPlainHealth(s *scene) []Finding {
	var all []Finding
	for _, j := range s.sets {
		for _, m := range j.models {
			if !m.inAzure && j.live != nil && sameEndpoint(m, j.live) {
				continue // what runs is the better witness
			}
			for _, e := range m.Health() {
				if richHealth(e.Version) && e.asksHTTP() {
					all = append(all, plainHealth(s, m, &e)...)
				}
			}
		}
	}
	return all
}

func plainHealth(s *scene, m *model, e *Extension) []Finding {
	told, unknown := 0, 0
	for _, member := range m.running() {
		if has := member.Extensions[e.Type]; has != "" && !richHealth(has) {
			continue // it still has version 1
		}
		switch member.Health {
		case Healthy, Unhealthy:
			told++
		case HealthUnknown:
			unknown++
		case Initializing, HealthMissing:
		}
	}
	asks := fmt.Sprintf("version %s asks %s", e.Version, e.endpoint())
	fix := "answer " + strings.TrimSpace(textAt(e.Settings, "requestPath")+` with {"ApplicationHealthState":"Healthy"}`) + ", as fleet-agent does, or use version 1.0, which wants 200 alone"
	switch {
	case told > 0:
		return nil
	case unknown > 0:
		return one(m.say("health", fmt.Sprintf("%s, and %s are Unknown, none is Healthy or Unhealthy", asks, of(unknown, len(m.running()), "running member")), fix))
	case s.bakesAgent() && textAt(e.Settings, "requestPath") == agentPath:
		return nil
	}
	return one(m.say("health", asks+", and nothing says that it answers with JSON", fix).less(SeverityWarning))
}

// agentPath is where fleet-agent answers the extension.
const agentPath = "/healthz"

// bakesAgent says whether the file's image has fleet-agent in it.
func (s *scene) bakesAgent() bool {
	if s.spec == nil || s.spec.Bake == nil {
		return false
	}
	return slices.ContainsFunc(s.spec.Bake.Customize, func(c CustomizeSpec) bool {
		return strings.Contains(path.Base(c.File), "fleet-agent") || strings.Contains(path.Base(c.Script), "fleet-agent")
	})
}

func sameEndpoint(a, b *model) bool {
	x, y := a.Health(), b.Health()
	return len(x) == 1 && len(y) == 1 && x[0].endpoint() == y[0].endpoint() && richHealth(x[0].Version) == richHealth(y[0].Version)
}

// healthRange is what the extension's schema allows for a number.
type healthRange struct{ least, most int }

var healthRanges = map[string]healthRange{
	"intervalInSeconds": {5, 60},
	"numberOfProbes":    {1, 24},
	"port":              {1, 65535},
	"gracePeriod":       {5, 14400},
}

// healthKeys are all that may stand in the settings, and whether only version 2
// knows them.
var healthKeys = map[string]bool{
	"protocol": false, "port": false, "requestPath": false, "intervalInSeconds": false, "numberOfProbes": false,
	"gracePeriod": true, "vmWatchSettings": true,
}

// The extension's defaults, and bounds that depend on its version.
const (
	defaultInterval = 5
	defaultProbes   = 1
	settleLimit     = 240 // interval times probes
	settleLimitV1   = 120
	quotedGrace     = 7200 // one of Microsoft's pages has this as the maximum
)

var findHealthSettings = eachModel(func(m *model) []Finding {
	var all []Finding
	for _, e := range m.Health() {
		fix := "set " + strings.Join(wantedSettings(&e), ", ")
		if len(e.Settings) == 0 {
			all = append(all, m.say("health", "the settings are empty: nothing is asked, and every member is Healthy for ever", fix))
			continue
		}
		for _, fault := range healthFaults(&e) {
			all = append(all, m.say("health", fault, fix))
		}
		if grace, ok := integer(e.Settings["gracePeriod"]); ok && grace > quotedGrace && grace <= healthRanges["gracePeriod"].most {
			all = append(all, m.say("health.grace", fmt.Sprintf("gracePeriod is %d; one of Microsoft's pages says that 7200 is the most", grace),
				"set gracePeriod to 7200 or less").less(SeverityWarning))
		}
	}
	return all
})

// wantedSettings says what the settings have to be, in short.
func wantedSettings(e *Extension) []string {
	wanted := []string{"protocol http, https or tcp", "requestPath for http and https only", "port for tcp", "intervalInSeconds 5 to 60", "numberOfProbes 1 to 24"}
	if richHealth(e.Version) {
		wanted = append(wanted, "gracePeriod 5 to 14400")
	}
	return wanted
}

// healthFaults says what the extension refuses its settings for.
func healthFaults(e *Extension) []string {
	var faults []string
	rich := richHealth(e.Version)
	for _, key := range slices.Sorted(maps.Keys(e.Settings)) {
		since2, known := healthKeys[key]
		switch {
		case !known:
			faults = append(faults, fmt.Sprintf("there is no setting %q", key))
		case since2 && !rich:
			faults = append(faults, fmt.Sprintf("version %s has no %s", e.Version, key))
		}
		bounds, bounded := healthRanges[key]
		if !bounded {
			continue
		}
		if n, whole := integer(e.Settings[key]); !whole || n < bounds.least || n > bounds.most {
			faults = append(faults, fmt.Sprintf("%s is %v, must be %d to %d", key, e.Settings[key], bounds.least, bounds.most))
		}
	}
	return append(faults, endpointFaults(e)...)
}

func endpointFaults(e *Extension) []string {
	var faults []string
	requestPath, _ := e.Settings["requestPath"].(string)
	_, hasPort := e.Settings["port"]
	switch protocol := e.Settings["protocol"]; protocol {
	case "http", "https":
		if requestPath == "" {
			faults = append(faults, fmt.Sprintf("protocol %s needs a requestPath", protocol))
		}
	case "tcp":
		if requestPath != "" {
			faults = append(faults, "protocol tcp has no requestPath, and there is "+requestPath)
		}
		if !hasPort {
			faults = append(faults, "protocol tcp needs a port")
		}
	default:
		faults = append(faults, fmt.Sprintf("protocol is %q, must be http, https or tcp", fmt.Sprint(or(protocol, ""))))
	}
	interval, probes := healthPace(e)
	limit := settleLimit
	if !richHealth(e.Version) {
		limit = settleLimitV1
	}
	if interval*probes > limit {
		faults = append(faults, fmt.Sprintf("intervalInSeconds %d times numberOfProbes %d is %d, over %d", interval, probes, interval*probes, limit))
	}
	return faults
}

// or returns v, or other when v is nil.
func or(v, other any) any {
	if v == nil {
		return other
	}
	return v
}

func healthPace(e *Extension) (interval, probes int) {
	interval, probes = defaultInterval, defaultProbes
	if n, ok := integer(e.Settings["intervalInSeconds"]); ok {
		interval = clamp(n)
	}
	if n, ok := integer(e.Settings["numberOfProbes"]); ok {
		probes = clamp(n)
	}
	return interval, probes
}

// clamp keeps a product of two from overflowing.
func clamp(n int) int { return max(0, min(n, 1<<20)) }

// autoOSWait is how long automatic OS upgrade waits for a member.
const autoOSWait = 5 * time.Minute

var findHealthGrace = eachModel(func(m *model) []Finding {
	var all []Finding
	for _, e := range m.Health() {
		if !richHealth(e.Version) || len(e.Settings) == 0 {
			continue
		}
		grace, given := integer(e.Settings["gracePeriod"])
		interval, probes := healthPace(&e)
		switch {
		case !given:
			all = append(all, m.say("health.grace",
				fmt.Sprintf("no gracePeriod: a member has %d s from the start of the extension to its first good answer", interval*probes),
				"set gracePeriod to the time that a boot and a warm start take, 300 for example"))
		case m.Upgrade.AutoOS && time.Duration(clamp(grace))*time.Second > autoOSWait:
			all = append(all, m.say("health.grace",
				fmt.Sprintf("gracePeriod is %d s, and automatic OS upgrade waits for 300 s", grace),
				"set gracePeriod to 300 or less, and make members start faster"))
		}
	}
	return all
})

var findHealthSources = eachModel(func(m *model) []Finding {
	var all []Finding
	extensions := m.Health()
	switch {
	case len(extensions) > 1:
		all = append(all, m.say("health", count(len(extensions), "Application Health extension"), "remove all but one"))
	case len(extensions) == 1 && m.HealthProbe != "":
		all = append(all, m.say("health", "the Application Health extension and the load balancer's probe "+ResourceID(m.HealthProbe).Name(),
			"remove the probe from the model's network profile; load balancing itself keeps its own"))
	case len(extensions) == 0 && m.HealthProbe != "" && m.Flexible:
		all = append(all, m.say("health", "the load balancer's probe "+ResourceID(m.HealthProbe).Name()+", which a Flexible scale set does not upgrade by",
			"add the Application Health extension and remove the probe from the model"))
	case len(extensions) == 0 && m.HealthProbe == "":
		all = append(all, m.withoutHealth()...)
	}
	return all
})

func (m *model) withoutHealth() []Finding {
	var needs []string
	if m.Upgrade.Mode == Rolling {
		needs = append(needs, "mode Rolling")
	}
	if m.Upgrade.AutoOS {
		needs = append(needs, "automatic OS upgrade")
	}
	if m.Repairs.Enabled {
		needs = append(needs, "automatic repairs")
	}
	const fix = "add the Application Health extension, and bring the members to the model"
	if len(needs) == 0 {
		return one(m.say("health", "no source of health: nothing can judge an upgrade", fix).less(SeverityWarning))
	}
	return one(m.say("health", "no Application Health extension, which is needed for "+strings.Join(needs, " and "), fix))
}

var findMembersWithoutHealth = eachLive(func(_ *scene, m *model) []Finding {
	extensions := m.Health()
	if len(extensions) != 1 {
		return nil
	}
	e := extensions[0]
	var lack, other []*Member
	for _, member := range m.running() {
		if member.Extensions == nil {
			continue
		}
		switch has, there := member.extension(e.Type); {
		case !there:
			lack = append(lack, member)
		case !sameRelease(has, e.Version):
			other = append(other, member)
		}
	}
	var all []Finding
	if len(lack) > 0 {
		all = append(all, m.say("", fmt.Sprintf("%s without %s: %s", of(len(lack), len(m.running()), "running member"), e.Type, memberNames(lack)),
			"bring "+memberNames(lack)+" to the model; install it on those that were attached, or take them out of the scale set"))
	}
	if len(other) > 0 {
		all = append(all, m.say("", fmt.Sprintf("%s with another version of %s than the model's %s: %s", of(len(other), len(m.running()), "running member"), e.Type, e.Version, memberNames(other)),
			"bring "+memberNames(other)+" to the model"))
	}
	return all
})

// extension returns the version of an extension that the member has.
func (m *Member) extension(kind string) (version string, there bool) {
	for name, version := range m.Extensions {
		if strings.EqualFold(name, kind) {
			return version, true
		}
	}
	return "", false
}

// sameRelease compares the major and minor numbers of two versions, as far as both
// have them.
func sameRelease(a, b string) bool {
	x, y := strings.SplitN(a, ".", 3), strings.SplitN(b, ".", 3)
	for i := range min(2, len(x), len(y)) {
		if x[i] != y[i] && x[i] != "" && y[i] != "" {
			return false
		}
	}
	return true
}

// expiresSoon is how long before its end a signature is warned of.
const expiresSoon = 7 * 24 * time.Hour

func findExpiredSignatures(s *scene) []Finding {
	all := eachModel(func(m *model) []Finding {
		var all []Finding
		for _, e := range m.Extensions {
			if end, found := firstEnd(e.Settings, 0); found {
				all = append(all, expiry(s.now, end, "the settings of "+e.Name, func(seen, fix string) Finding { return m.say("", seen, fix) })...)
			}
		}
		return all
	})(s)
	return append(all, eachStep(func(s *scene, b *build, st *step) []Finding {
		var all []Finding
		for _, address := range []string{st.script, st.file} {
			if end, found := signatureEnd(address); found {
				all = append(all, expiry(s.now, end, "the address in "+st.label(), func(seen, fix string) Finding { return b.say(st.key, seen, fix) })...)
			}
		}
		return all
	})(s)...)
}

// expiry judges the end of a shared access signature. The signature itself is secret
// and in no message.
func expiry(now, end time.Time, where string, say func(seen, fix string) Finding) []Finding {
	fix := "let the members or the build read the storage with a managed identity, or sign anew"
	day := end.UTC().Format("2006-01-02 15:04 MST")
	switch {
	case now.IsZero() || end.Sub(now) > expiresSoon:
		return nil
	case end.After(now):
		return one(say("a shared access signature in "+where+" ends "+day, fix).less(SeverityWarning))
	}
	return one(say("a shared access signature in "+where+" ended "+day, fix))
}

// maxDepth bounds how deep settings are looked through.
const maxDepth = 10

// firstEnd returns the earliest end of a signature in any text below v.
func firstEnd(v any, depth int) (end time.Time, found bool) {
	keep := func(t time.Time, ok bool) {
		if ok && (!found || t.Before(end)) {
			end, found = t, true
		}
	}
	switch v := v.(type) {
	case string:
		return signatureEnd(v)
	case map[string]any:
		for _, below := range v {
			if depth < maxDepth {
				keep(firstEnd(below, depth+1))
			}
		}
	case []any:
		for _, below := range v {
			if depth < maxDepth {
				keep(firstEnd(below, depth+1))
			}
		}
	}
	return end, found
}

// signatureEnd reads the end (se=) of a shared access signature, in an address or as
// such.
func signatureEnd(address string) (time.Time, bool) {
	_, query, hasQuery := strings.Cut(address, "?")
	if !hasQuery {
		query = address
	}
	if !strings.Contains(query, "sig=") {
		return time.Time{}, false
	}
	values, err := url.ParseQuery(query)
	if err != nil {
		return time.Time{}, false
	}
	for _, layout := range []string{time.RFC3339, "2006-01-02T15:04Z", time.DateOnly} {
		if end, err := time.Parse(layout, values.Get("se")); err == nil {
			return end, true
		}
	}
	return time.Time{}, false
}
