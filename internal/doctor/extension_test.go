package doctor

import (
	"errors"
	"io/fs"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// settingsFile is what Azure's agent writes.
func settingsFile(public string) string {
	return `{"runtimeSettings":[{"handlerSettings":{"protectedSettings":"","publicSettings":` + public + `}}]}`
}

// reported is a status file of version 2.
func reported(state string) string {
	return `[{"version":1,"timestampUTC":"2026-11-22T22:00:30Z","status":{"operation":"enable","status":"success","substatus":[
		{"name":"AppHealthStatus","status":"error","formattedMessage":{"lang":"en","message":"Application found to be unhealthy"}},
		{"name":"ApplicationHealthState","status":"error","formattedMessage":{"lang":"en","message":"` + state + `"}}]}}]`
}

// The version in force is the one that Azure's agent has enabled, whatever else
// lies beside it.
func TestExtensionInForce(t *testing.T) {
	for name, test := range map[string]struct {
		states           map[string]string // HandlerState by version; empty: no file
		runs             string
		version, handler string
	}{
		"the newest of the enabled":       {map[string]string{"2.0.9": "Enabled", "2.0.10": "Enabled"}, "", "2.0.10", "Enabled"},
		"not a newer one that is removed": {map[string]string{"2.0.9": "Enabled", "2.0.10": "NotInstalled"}, "", "2.0.9", "Enabled"},
		"nor one that was only unpacked":  {map[string]string{"2.0.9": "Enabled", "2.0.10": ""}, "", "2.0.9", "Enabled"},
		"nor one that failed":             {map[string]string{"2.0.9": "Enabled\n", "2.0.10": "FailedUpgrade"}, "", "2.0.9", "Enabled"},
		"the newer is version 1":          {map[string]string{"1.0.7": "Enabled", "2.0.10": "NotInstalled"}, "", "1.0.7", "Enabled"},
		"none but the one that runs":      {map[string]string{"2.0.9": "", "2.0.10": "Installed"}, "2.0.9", "2.0.9", ""},
		"an upgrade that failed":          {map[string]string{"2.0.9": "Installed", "2.0.10": "FailedUpgrade"}, "", "2.0.10", "FailedUpgrade"},
		"all removed":                     {map[string]string{"2.0.9": "NotInstalled", "2.0.10": ""}, "", "", ""},
	} {
		t.Run(name, func(t *testing.T) {
			root := t.TempDir()
			waagent := filepath.Join(root, "waagent")
			for version, state := range test.states {
				writeTree(t, waagent, map[string]string{extensionPrefix + version + "/config/0.settings": settingsFile(`{}`)})
				if state != "" {
					writeTree(t, waagent, map[string]string{extensionPrefix + version + "/config/HandlerState": state})
				}
			}
			if test.runs != "" {
				runs(t, root, 7, "/var/lib/waagent/"+extensionPrefix+test.runs+"/bin/applicationhealth-extension")
			}
			e := lookExtension(waagent, filepath.Join(root, "proc"))
			require.NoError(t, errors.Join(e.err, e.settingsErr, e.runningErr))
			require.Equal(t, test.version, e.version)
			require.Equal(t, test.handler, e.handler)
			require.Equal(t, test.runs, e.running)
		})
	}
}

func TestExtensionFiles(t *testing.T) {
	t.Run("settings by number, reports by time", func(t *testing.T) {
		dir := t.TempDir()
		writeTree(t, dir, map[string]string{
			extensionPrefix + "2.0.10/config/9.settings":   settingsFile(`{"protocol":"tcp"}`),
			extensionPrefix + "2.0.10/config/10.settings":  settingsFile(`{"protocol":"https","port":443,"requestPath":"/healthz","intervalInSeconds":10,"numberOfProbes":3,"gracePeriod":60,"vmWatchSettings":{"enabled":true}}`),
			extensionPrefix + "2.0.10/config/HandlerState": "Enabled",
			extensionPrefix + "2.0.10/status/10.status":    reported("Unknown"),
			extensionPrefix + "2.0.10/status/0.status":     reported("Healthy"),
			"Microsoft.Azure.Other-9.9/config/1.settings":  "x",
			"waagent.log": "x",
		})
		old := filepath.Join(dir, extensionPrefix+"2.0.10/status/0.status")
		require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(-time.Hour)))
		e := lookExtension(dir, "/nonexistent")
		require.NoError(t, errors.Join(e.err, e.settingsErr))
		require.True(t, e.rich())
		require.Equal(t, "https", e.settings.Protocol)
		require.Equal(t, 10, e.settings.interval())
		require.Equal(t, 3, e.settings.probes())
		require.Equal(t, extensionReport{status: "success", state: "Unknown", at: time.Date(2026, 11, 22, 22, 0, 30, 0, time.UTC)}, e.said)

		require.NoError(t, os.Chtimes(old, time.Time{}, time.Now().Add(time.Hour)))
		require.Equal(t, "Healthy", lookExtension(dir, "/nonexistent").said.state, "numbers begin anew when a scale set is made again")
	})
	t.Run("nothing", func(t *testing.T) {
		require.Equal(t, extensionFacts{}, lookExtension(filepath.Join(t.TempDir(), "absent"), "/nonexistent"))
		require.Equal(t, extensionFacts{}, lookExtension(t.TempDir(), "/nonexistent"))
	})
	t.Run("no settings yet", func(t *testing.T) {
		dir := t.TempDir()
		writeTree(t, dir, map[string]string{extensionPrefix + "1.0.7/config/HandlerState": "Enabled"})
		e := lookExtension(dir, "/nonexistent")
		require.ErrorIs(t, e.err, fs.ErrNotExist)
		require.False(t, e.rich())
	})
}

func TestExtensionProcess(t *testing.T) {
	root := t.TempDir()
	proc := filepath.Join(root, "proc")
	running := func() string {
		t.Helper()
		version, err := runningExtension(proc)
		require.NoError(t, err)
		return version
	}
	require.Empty(t, running(), "no /proc at all")
	const home = "/var/lib/waagent/" + extensionPrefix
	runs(t, root, 1, "/usr/lib/systemd/systemd")
	runs(t, root, 12, home+"2.0.29/bin/vmwatch_linux_amd64")
	runs(t, root, 13, "/home/me/applicationhealth-extension")
	runs(t, root, 14, "applicationhealth-extension")
	writeTree(t, proc, map[string]string{"15/comm": "kthreadd", "self/comm": ""})
	require.Empty(t, running())
	runs(t, root, 16, home+"2.0.29/bin/applicationhealth-extension-arm64")
	require.Equal(t, "2.0.29", running())
	require.NoError(t, os.RemoveAll(filepath.Join(proc, "16")))
	runs(t, root, 17, home+"2.0.28/bin/applicationhealth-extension (deleted)")
	require.Equal(t, "2.0.28", running(), "an upgrade has removed its files")
}

// What the extension refused when it was run; version 1 lacks two of the keys.
func TestSettings(t *testing.T) {
	for public, want := range map[string][2]string{ // for versions 1 and 2; empty: accepted
		`{}`:                            {},
		`null`:                          {},
		`{"protocol":"http","port":80}`: {},
		`{"port":59507.0}`:              {},
		`{"numberOfProbes":1e1}`:        {},
		`{"intervalInSeconds":60,"numberOfProbes":2}`:    {},
		`{"protocol":"https","requestPath":"//healthz"}`: {},

		`{"port":"80"}`:            both("port must be a whole number"),
		`{"port":80.5}`:            both("port must be a whole number"),
		`{"port":0}`:               both("port is 0, must be 1 to 65535"),
		`{"port":65536}`:           both("port is 65536, must be 1 to 65535"),
		`{"Port":80}`:              both(`there is no key "Port": write port`),
		`{"requestpath":"/x"}`:     both(`there is no key "requestpath": write requestPath`),
		`{"requestPath":null}`:     both("requestPath must be a string"),
		`{"protocol":"HTTP"}`:      both(`protocol is "HTTP", must be one of tcp, http, https`),
		`{"protocol":null}`:        both("protocol must be a string"),
		`{"timeout":5}`:            both(`there is no key "timeout"`),
		`{"timeout":5,"port":0}`:   both(`port is 0, must be 1 to 65535; there is no key "timeout"`),
		`[]`:                       both("cannot unmarshal array"),
		`{"intervalInSeconds":0}`:  both("intervalInSeconds is 0, must be 5 to 60"),
		`{"intervalInSeconds":61}`: both("intervalInSeconds is 61, must be 5 to 60"),
		`{"numberOfProbes":0}`:     both("numberOfProbes is 0, must be 1 to 24"),
		`{"intervalInSeconds":60,"numberOfProbes":5}`:    both("intervalInSeconds 60 times numberOfProbes 5 is over "),
		`{"intervalInSeconds":60,"numberOfProbes":4}`:    {"is over 120", ""},
		`{"protocol":"tcp"}`:                             both("protocol tcp needs a port"),
		`{"protocol":"tcp","port":80,"requestPath":"/"}`: both("protocol tcp has no requestPath"),

		`{"gracePeriod":600}`:  {"version 1 does not know gracePeriod", ""},
		`{"gracePeriod":0}`:    {"version 1 does not know gracePeriod", "gracePeriod is 0, must be 5 to 14400"},
		`{"gracePeriod":null}`: {"version 1 does not know gracePeriod", "gracePeriod must be a whole number"},
		`{"GracePeriod":600}`:  both(`write gracePeriod`),
		`{"gracePeriod":1e20}`: {"version 1 does not know", "must be 5 to 14400"},
		`{"vmWatchSettings":{"enabled":true,"signalFilters":{"enabledTags":["Network"]},"what":1}}`: {"version 1 does not know vmWatchSettings", ""},
		`{"vmWatchSettings":null}`:                                   {"version 1 does not know", "vmWatchSettings must be an object"},
		`{"vmWatchSettings":"on"}`:                                   {"version 1 does not know", "vmWatchSettings must be an object"},
		`{"vmWatchSettings":{"enabled":"true"}}`:                     {"version 1 does not know", "vmWatchSettings.enabled must be true or false"},
		`{"vmWatchSettings":{"memoryLimitInBytes":1}}`:               {"version 1 does not know", "vmWatchSettings.memoryLimitInBytes is 1, must be at least 30000000"},
		`{"vmWatchSettings":{"signalFilters":{"disabledTags":[1]}}}`: {"version 1 does not know", "vmWatchSettings.signalFilters.disabledTags must be a list of strings"},
	} {
		t.Run(public, func(t *testing.T) {
			for i, want := range want {
				s, err := parseSettings([]byte(settingsFile(public)), i == 1)
				if want == "" {
					require.NoError(t, err)
					require.NotNil(t, s)
					continue
				}
				require.ErrorContains(t, err, want)
				require.Nil(t, s)
			}
		})
	}
	for text, want := range map[string]string{
		``:                         "",
		`{"runtimeSettings":[]}`:   "0 runtimeSettings in place of one",
		`{"runtimeSettings":[{}`:   "unexpected end",
		`{"runtimeSettings":[{}]}`: "",
		`{"runtimeSettings":[{"handlerSettings":{"protectedSettings":"AA=="}}]}`:                                       "without a certificate",
		`{"runtimeSettings":[{"handlerSettings":{"protectedSettings":"AA==","protectedSettingsCertThumbprint":"x"}}]}`: "",
	} {
		s, err := parseSettings([]byte(text), true)
		if want == "" {
			require.NoError(t, err, text)
			require.Equal(t, &extensionSettings{}, s)
			continue
		}
		require.ErrorContains(t, err, want, text)
	}
	_, err := parseSettings([]byte(settingsFile(`{"a":1,"b":1,"c":1,"d":1,"e":1,"`+strings.Repeat("f", 9999)+`":1}`)), true)
	require.Less(t, len(err.Error()), 300, "a message is for people")
}

func both(want string) [2]string { return [2]string{want, want} }

func TestReports(t *testing.T) {
	for _, text := range []string{"", "[]", "{", `[{"status":null}]`} {
		require.Zero(t, parseReport([]byte(text)), text)
	}
	refused := parseReport([]byte(`[{"version":1,"timestampUTC":"2026-11-22T22:00:30Z","status":{"operation":"Enable","configurationAppliedTime":"2026-11-22T22:00:30Z",
		"status":"error","formattedMessage":{"lang":"en","message":"Enable failed: failed to get configuration: json validation error"}}}]`))
	require.True(t, refused.refused())
	require.Equal(t, "Enable failed: failed to get configuration: json validation error", refused.message)
	stopped := parseReport([]byte(`[{"timestampUTC":"2026-11-22T22:00:30Z","status":{"status":"error","formattedMessage":{"message":"Enable failed: Application health process terminated"}}}]`))
	require.False(t, stopped.refused())
	begun := parseReport([]byte(`[{"timestampUTC":"2026-11-22T22:00:30+00:00","status":{"status":"transitioning","formattedMessage":{"message":"Enable in progress"}}}]`))
	require.False(t, begun.refused())
	require.False(t, begun.at.IsZero(), "as the shim writes it")

	version1 := `[{"timestampUTC":"2026-11-22T22:00:30Z","status":{"status":"success","substatus":[{"name":"AppHealthStatus","status":"STATUS","formattedMessage":{"message":"Application found to be x"}}]}}]`
	require.Equal(t, "Healthy", parseReport([]byte(strings.Replace(version1, "STATUS", "success", 1))).state)
	require.Equal(t, "Unhealthy", parseReport([]byte(strings.Replace(version1, "STATUS", "error", 1))).state)
}

func TestLocalhost(t *testing.T) {
	f := &facts{root: t.TempDir()}
	require.Empty(t, f.lookLocalhost())
	writeTree(t, f.root, map[string]string{"etc/hosts": "# 10.0.0.1 localhost\n127.0.0.1\tLocalhost web # localhost6\n\n" +
		"::1 ip6-localhost ip6-loopback\nfe80::1%eth0 other\nodd localhost\n::ffff:127.0.0.9 x localhost\n"})
	require.Equal(t, []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("127.0.0.9")}, f.lookLocalhost())
}
