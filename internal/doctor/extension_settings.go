package doctor

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math"
	"slices"
	"strings"
)

// extensionSettings is what the extension goes by, once it has accepted it; zero
// is what is left out.
type extensionSettings struct {
	Protocol          string `json:"protocol"`
	Port              int    `json:"port"`
	RequestPath       string `json:"requestPath"`
	IntervalInSeconds int    `json:"intervalInSeconds"`
	NumberOfProbes    int    `json:"numberOfProbes"`
	GracePeriod       int    `json:"gracePeriod"` // version 2 only
}

// defaultPorts are those that a protocol has without one.
var defaultPorts = map[string]int{"http": 80, "https": 443}

// port is the one that is asked.
func (s *extensionSettings) port() int {
	if s.Port != 0 {
		return s.Port
	}
	return defaultPorts[s.Protocol]
}

// interval and probes are the extension's defaults where nothing is set.
func (s *extensionSettings) interval() int { return max(s.IntervalInSeconds, 5) }
func (s *extensionSettings) probes() int   { return max(s.NumberOfProbes, 1) }

// kind is a type of JSON, as messages call it.
type kind string

const (
	kindText    kind = "a string"
	kindInteger kind = "a whole number"
	kindTruth   kind = "true or false"
	kindObject  kind = "an object"
	kindTexts   kind = "a list of strings"
)

// rule is what the extension's JSON schema says of a value.
type rule struct {
	kind        kind
	least, most float64         // of a number; most 0: as large as it likes
	words       []string        // what a string may be; empty: anything
	keys        map[string]rule // of an object; one that is not here may be anything
	since       int             // the first version of the extension that knows the key
}

// settingsRules is the schema of the public settings, in which no other key may
// stand (main/schema.go of the extension, 2.0.29 and 1.0.7). It tells upper from
// lower case.
var settingsRules = map[string]rule{
	"protocol":          {kind: kindText, words: []string{"tcp", "http", "https"}},
	"port":              {kind: kindInteger, least: 1, most: 65535},
	"requestPath":       {kind: kindText},
	"intervalInSeconds": {kind: kindInteger, least: 5, most: 60},
	"numberOfProbes":    {kind: kindInteger, least: 1, most: 24},
	"gracePeriod":       {kind: kindInteger, least: 5, most: 14400, since: 2},
	"vmWatchSettings": {kind: kindObject, since: 2, keys: map[string]rule{
		"enabled":            {kind: kindTruth},
		"memoryLimitInBytes": {kind: kindInteger, least: 30_000_000},
		"maxCpuPercentage":   {kind: kindInteger, least: 1, most: 100},
		"signalFilters": {kind: kindObject, keys: map[string]rule{
			"enabledTags":            {kind: kindTexts},
			"disabledTags":           {kind: kindTexts},
			"enabledOptionalSignals": {kind: kindTexts},
			"disabledSignals":        {kind: kindTexts},
		}},
		"parameterOverrides":    {kind: kindObject},
		"environmentAttributes": {kind: kindObject},
		"globalConfigUrl":       {kind: kindText},
		"disableConfigReader":   {kind: kindTruth},
	}},
}

// settleLimits bound intervalInSeconds times numberOfProbes, by version.
var settleLimits = map[int]int{1: 120, 2: 240}

// parseSettings reads a settings file of Azure's agent as the extension does,
// and says why the extension refuses it. Protected settings, which it can have
// no use for, are not decrypted; what it makes of them is in its report.
func parseSettings(text []byte, rich bool) (*extensionSettings, error) {
	var file struct {
		RuntimeSettings []struct {
			HandlerSettings struct {
				PublicSettings                  map[string]any
				ProtectedSettings               string
				ProtectedSettingsCertThumbprint string
			}
		}
	}
	s := &extensionSettings{}
	if len(text) == 0 {
		return s, nil // no settings
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	if n := len(file.RuntimeSettings); n != 1 {
		return nil, fmt.Errorf("read settings: %d runtimeSettings in place of one", n)
	}
	given := file.RuntimeSettings[0].HandlerSettings
	if given.ProtectedSettings != "" && given.ProtectedSettingsCertThumbprint == "" {
		return nil, errors.New("protected settings without a certificate to decrypt them")
	}
	version := 1
	if rich {
		version = 2
	}
	var wrong faults
	wrong.settings(given.PublicSettings, version)
	if len(wrong) > 0 {
		return nil, errors.New(strings.Join(wrong, "; "))
	}
	// The rules have left only what fits; numbers such as 8080.0 lose their form.
	plain, err := json.Marshal(given.PublicSettings)
	if err == nil {
		err = json.Unmarshal(plain, s)
	}
	if err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	switch limit := settleLimits[version]; {
	case s.Protocol == "tcp" && s.Port == 0:
		wrong.add("protocol tcp needs a port")
	case s.Protocol == "tcp" && s.RequestPath != "":
		wrong.add("protocol tcp has no requestPath")
	case s.interval()*s.probes() > limit:
		wrong.add("intervalInSeconds %d times numberOfProbes %d is over %d", s.interval(), s.probes(), limit)
	default:
		return s, nil
	}
	return nil, errors.New(strings.Join(wrong, "; "))
}

// faults are what the extension refuses settings for: the first maxFaults.
type faults []string

const maxFaults = 5

func (w *faults) add(format string, args ...any) {
	if len(*w) < maxFaults {
		*w = append(*w, fmt.Sprintf(format, args...))
	}
}

// settings checks the public settings for a version of the extension.
func (w *faults) settings(given map[string]any, version int) {
	for _, key := range slices.Sorted(maps.Keys(given)) {
		r, known := settingsRules[key]
		switch {
		case known && r.since > version:
			w.add("version %d does not know %s", version, key)
		case known:
			w.value(key, given[key], r)
		default:
			w.unknown(key)
		}
	}
}

// unknown tells a key that is not known, or only in other letters.
func (w *faults) unknown(key string) {
	for name := range settingsRules {
		if strings.EqualFold(name, key) {
			w.add("there is no key %.40q: write %s", key, name)
			return
		}
	}
	w.add("there is no key %.40q", key)
}

// value checks one value and, of an object, those in it.
func (w *faults) value(name string, v any, r rule) {
	if !r.kind.is(v) {
		w.add("%s must be %s", name, r.kind)
		return
	}
	switch v := v.(type) {
	case string:
		if len(r.words) > 0 && !slices.Contains(r.words, v) {
			w.add("%s is %.40q, must be one of %s", name, v, strings.Join(r.words, ", "))
		}
	case float64:
		switch {
		case r.most > 0 && (v < r.least || v > r.most):
			w.add("%s is %.0f, must be %.0f to %.0f", name, v, r.least, r.most)
		case v < r.least:
			w.add("%s is %.0f, must be at least %.0f", name, v, r.least)
		}
	case map[string]any:
		for _, key := range slices.Sorted(maps.Keys(v)) {
			if inner, ok := r.keys[key]; ok {
				w.value(name+"."+key, v[key], inner)
			}
		}
	}
}

// is says whether a decoded value is of this kind.
func (k kind) is(v any) bool {
	switch v := v.(type) {
	case string:
		return k == kindText
	case float64:
		return k == kindInteger && v == math.Trunc(v)
	case bool:
		return k == kindTruth
	case map[string]any:
		return k == kindObject
	case []any:
		return k == kindTexts && !slices.ContainsFunc(v, func(one any) bool { return !kindText.is(one) })
	}
	return false // null
}
