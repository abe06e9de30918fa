package doctor

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// Azure's agent keeps extensions below waagentDir, each version in a directory of
// its own.
const (
	waagentDir      = "/var/lib/waagent"
	extensionPrefix = "Microsoft.ManagedServices.ApplicationHealthLinux-"
)

// extensionFacts is what the Application Health extension was told and what it
// said last.
type extensionFacts struct {
	err error // could not be looked at

	version  string // such as 2.0.29; empty: not installed
	file     string
	settings *extensionSettings // nil: see settingsErr
	// settingsErr is why the extension refuses its settings.
	settingsErr error

	state string    // Initializing, Healthy, Unhealthy or Unknown; empty: it has not said
	at    time.Time // when it said so
}

// extensionSettings is the extension's schema. An unknown key or a wrong type
// fails its start.
type extensionSettings struct {
	Protocol          string          `json:"protocol"`
	Port              int             `json:"port"`
	RequestPath       string          `json:"requestPath"`
	IntervalInSeconds int             `json:"intervalInSeconds"`
	NumberOfProbes    int             `json:"numberOfProbes"`
	GracePeriod       int             `json:"gracePeriod"`     // version 2 only
	VMWatchSettings   json.RawMessage `json:"vmWatchSettings"` // version 2 only
}

// port is the one that is asked.
func (s *extensionSettings) port() int {
	switch {
	case s.Port != 0:
		return s.Port
	case s.Protocol == "https":
		return 443
	}
	return 80
}

// interval and probes are the extension's defaults where nothing is set.
func (s *extensionSettings) interval() int { return max(s.IntervalInSeconds, 5) }
func (s *extensionSettings) probes() int   { return max(s.NumberOfProbes, 1) }

// rich says whether this is version 2, with the states Healthy, Unhealthy,
// Initializing and Unknown.
func (e *extensionFacts) rich() bool { return !strings.HasPrefix(e.version, "1.") }

// lookExtension reads the newest settings of the newest version.
func lookExtension(dir string) extensionFacts {
	var e extensionFacts
	entries, err := os.ReadDir(dir)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.err = err
		return e
	}
	for _, entry := range entries {
		version, ok := strings.CutPrefix(entry.Name(), extensionPrefix)
		if ok && entry.IsDir() && newer(version, e.version) {
			e.version = version
		}
	}
	if e.version == "" {
		return e
	}
	home := filepath.Join(dir, extensionPrefix+e.version)
	e.file = newest(filepath.Join(home, "config"), ".settings")
	text, err := readFile(e.file)
	if err != nil {
		e.err = err
		return e
	}
	e.settings, e.settingsErr = parseSettings(text)
	if text, err := readFile(newest(filepath.Join(home, "status"), ".status")); err == nil {
		e.state, e.at = parseExtensionStatus(text)
	}
	return e
}

// newer compares versions number by number.
func newer(a, b string) bool {
	as, bs := strings.Split(a, "."), strings.Split(b, ".")
	for i := range min(len(as), len(bs)) {
		x, _ := strconv.Atoi(as[i]) // what is no number counts as 0
		y, _ := strconv.Atoi(bs[i])
		if x != y {
			return x > y
		}
	}
	return len(as) > len(bs) || b == ""
}

// newest returns the file with the highest number before ext in a directory.
func newest(dir, ext string) string {
	best := -1
	entries, _ := os.ReadDir(dir) // then the file that is returned is not there either
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ext); ok {
			if n, err := strconv.Atoi(name); err == nil {
				best = max(best, n)
			}
		}
	}
	return filepath.Join(dir, strconv.Itoa(max(best, 0))+ext)
}

// parseSettings reads a settings file of Azure's agent.
func parseSettings(text []byte) (*extensionSettings, error) {
	var file struct {
		RuntimeSettings []struct {
			HandlerSettings struct {
				PublicSettings json.RawMessage `json:"publicSettings"`
			} `json:"handlerSettings"`
		} `json:"runtimeSettings"`
	}
	if err := json.Unmarshal(text, &file); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	s := &extensionSettings{}
	if len(file.RuntimeSettings) == 0 || len(file.RuntimeSettings[0].HandlerSettings.PublicSettings) == 0 {
		return s, nil
	}
	dec := json.NewDecoder(bytes.NewReader(file.RuntimeSettings[0].HandlerSettings.PublicSettings))
	dec.DisallowUnknownFields()
	if err := dec.Decode(s); err != nil {
		return nil, fmt.Errorf("read settings: %w", err)
	}
	return s, nil
}

// parseExtensionStatus reads what the extension tells the platform.
func parseExtensionStatus(text []byte) (state string, at time.Time) {
	var reports []struct {
		TimestampUTC time.Time `json:"timestampUTC"`
		Status       struct {
			Substatus []struct {
				Name             string
				FormattedMessage struct{ Message string }
			}
		}
	}
	if json.Unmarshal(text, &reports) != nil || len(reports) == 0 {
		return "", time.Time{}
	}
	for _, s := range reports[0].Status.Substatus {
		if s.Name == "ApplicationHealthState" {
			state = s.FormattedMessage.Message
		}
	}
	return state, reports[0].TimestampUTC
}
