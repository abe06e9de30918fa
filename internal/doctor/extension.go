package doctor

import (
	"encoding/json"
	"errors"
	"io/fs"
	"net/netip"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Azure's agent keeps extensions below waagentDir, each version in a directory of
// its own. Versions that it has taken out of use can stay there.
const (
	waagentDir      = "/var/lib/waagent"
	extensionPrefix = "Microsoft.ManagedServices.ApplicationHealthLinux-"
)

// The states that Azure's agent keeps of each version, in its file HandlerState.
// Without that file a version was unpacked and no more, as in state NotInstalled.
const (
	handlerEnabled       = "Enabled"
	handlerFailedUpgrade = "FailedUpgrade"
)

// handlerIdle are the states of a version that is there and not in use: installed
// or disabled, or left by an upgrade.
var handlerIdle = []string{"Installed", handlerFailedUpgrade}

// extensionFacts is what the Application Health extension was told, whether it
// runs, and what it said last.
type extensionFacts struct {
	err error // could not be looked at

	version string // the one in force, such as 2.0.29; empty: not installed
	handler string // its HandlerState
	file    string
	// settings are nil when settingsErr is set: why the extension refuses them.
	settings    *extensionSettings
	settingsErr error

	said extensionReport
	// running is the version whose program runs; empty: none does, or it is not
	// known (runningErr).
	running    string
	runningErr error
}

// extensionReport is what the extension tells the platform; zero: nothing yet.
type extensionReport struct {
	status  string // of its operation: transitioning, success, error
	message string
	state   string // Initializing, Healthy, Unhealthy or Unknown; empty: it has not said
	at      time.Time
}

// terminated ends the message of an extension that was stopped by a signal.
const terminated = "Application health process terminated"

// refused says that the extension could not start, for its settings or anything
// else that it says.
func (r *extensionReport) refused() bool {
	return r.status == "error" && !strings.HasSuffix(r.message, terminated)
}

// rich says whether this is version 2, with the states Healthy, Unhealthy,
// Initializing and Unknown. Version 1 goes by the code of an answer alone.
func (e *extensionFacts) rich() bool { return !strings.HasPrefix(e.version, "1.") }

// url is what the extension asks for. Version 2 takes all of requestPath for a
// path, and escapes what means something else in a URL; version 1 does not look.
func (e *extensionFacts) url() string {
	s, host := e.settings, "localhost"
	if s.port() != defaultPorts[s.Protocol] {
		host += ":" + strconv.Itoa(s.port())
	}
	if e.rich() {
		return (&url.URL{Scheme: s.Protocol, Host: host, Path: s.RequestPath}).String()
	}
	return s.Protocol + "://" + host + "/" + strings.TrimPrefix(s.RequestPath, "/")
}

// patience is how old the last report of an extension that works can be: it
// reports after each probe, and a probe may take 30 s.
func (e *extensionFacts) patience() time.Duration {
	return 2 * (time.Duration(e.settings.interval())*time.Second + 30*time.Second)
}

// lookExtension reads what there is below the directory of Azure's agent and of
// the processes.
func lookExtension(waagent, proc string) extensionFacts {
	var e extensionFacts
	entries, err := os.ReadDir(waagent)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		e.err = err
		return e
	}
	e.running, e.runningErr = runningExtension(proc)
	best := 0
	for _, entry := range entries {
		version, ok := strings.CutPrefix(entry.Name(), extensionPrefix)
		if !ok || !entry.IsDir() {
			continue
		}
		text, _ := readFile(filepath.Join(waagent, entry.Name(), "config", "HandlerState")) // missing: NotInstalled
		handler := strings.TrimSpace(string(text))
		rank := inForce(handler, version == e.running)
		if rank > best || rank == best && rank > 0 && newer(version, e.version) {
			best, e.version, e.handler = rank, version, handler
		}
	}
	if e.version == "" {
		return e
	}
	home := filepath.Join(waagent, extensionPrefix+e.version)
	e.file = newestSettings(filepath.Join(home, "config"))
	text, err := readFile(e.file)
	if err != nil {
		e.err = err
		return e
	}
	e.settings, e.settingsErr = parseSettings(text, e.rich())
	e.said = lastReport(filepath.Join(home, "status"))
	return e
}

// inForce ranks a version by how sure it is that Azure goes by it; 0: it does not.
func inForce(handler string, runs bool) int {
	switch {
	case handler == handlerEnabled:
		return 3
	case runs:
		return 2
	case slices.Contains(handlerIdle, handler):
		return 1
	}
	return 0
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

// newestSettings returns the file with the highest number, as the extension
// chooses it.
func newestSettings(dir string) string {
	const ext = ".settings"
	best := 0
	entries, _ := os.ReadDir(dir) // then the file that is returned is not there either
	for _, e := range entries {
		if name, ok := strings.CutSuffix(e.Name(), ext); ok {
			if n, err := strconv.Atoi(name); err == nil {
				best = max(best, n)
			}
		}
	}
	return filepath.Join(dir, strconv.Itoa(best)+ext)
}

// lastReport reads the status file that was written last: numbers can begin anew.
func lastReport(dir string) extensionReport {
	var last fs.FileInfo
	entries, _ := os.ReadDir(dir) // without a report nothing was said
	for _, e := range entries {
		if info, err := e.Info(); err == nil && strings.HasSuffix(e.Name(), ".status") && (last == nil || info.ModTime().After(last.ModTime())) {
			last = info
		}
	}
	if last == nil {
		return extensionReport{}
	}
	text, _ := readFile(filepath.Join(dir, last.Name())) // it can be gone again
	return parseReport(text)
}

// parseReport reads what the extension tells the platform. Version 1 tells no
// ApplicationHealthState, only whether the application is healthy.
func parseReport(text []byte) extensionReport {
	type message struct{ Message string }
	var reports []struct {
		TimestampUTC string
		Status       struct {
			Status           string
			FormattedMessage message
			Substatus        []struct {
				Name, Status     string
				FormattedMessage message
			}
		}
	}
	if json.Unmarshal(text, &reports) != nil || len(reports) == 0 {
		return extensionReport{}
	}
	s := &reports[0].Status
	r := extensionReport{status: s.Status, message: s.FormattedMessage.Message}
	r.at, _ = time.Parse(time.RFC3339, reports[0].TimestampUTC) // zero: when is not known
	for _, sub := range s.Substatus {
		switch {
		case sub.Name == "ApplicationHealthState":
			r.state = sub.FormattedMessage.Message
		case sub.Name == "AppHealthStatus" && r.state == "":
			r.state = map[string]string{"success": "Healthy", "error": "Unhealthy"}[sub.Status]
		}
	}
	return r
}

// runningExtension finds the extension among the processes by the program that
// each runs, as the extension itself does, and returns its version.
func runningExtension(proc string) (version string, err error) {
	programs, err := filepath.Glob(filepath.Join(proc, "[0-9]*", "exe"))
	if err != nil {
		return "", err
	}
	var hidden error
	for _, link := range programs {
		program, err := os.Readlink(link)
		if errors.Is(err, fs.ErrPermission) {
			hidden = err
		}
		program = strings.TrimSuffix(program, " (deleted)")
		dir, name := filepath.Split(program)
		version, ok := strings.CutPrefix(filepath.Base(filepath.Dir(filepath.Clean(dir))), extensionPrefix)
		if ok && (name == "applicationhealth-extension" || name == "applicationhealth-extension-arm64") {
			return version, nil
		}
	}
	return "", hidden
}

// lookLocalhost reads the addresses that the extension reaches: those that
// /etc/hosts gives to localhost.
func (f *facts) lookLocalhost() []netip.Addr {
	var list []netip.Addr
	for line := range strings.Lines(f.read("/etc/hosts")) {
		line, _, _ = strings.Cut(line, "#")
		fields := strings.Fields(line)
		if len(fields) < 2 || !slices.ContainsFunc(fields[1:], func(name string) bool { return strings.EqualFold(name, "localhost") }) {
			continue
		}
		if addr, err := netip.ParseAddr(fields[0]); err == nil {
			list = append(list, addr.Unmap())
		}
	}
	return list
}
