package fleet

import (
	"errors"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

var bakeNow = time.Date(2026, 3, 5, 14, 0, 0, 0, time.UTC)

func bakedSpec(version string) *Spec {
	return &Spec{
		Name: "pay", Subscription: "s", ResourceGroup: "rg", Location: "eastus",
		Gallery: &GallerySpec{Name: "g", Image: DefinitionSpec{Name: "app"}, Replicas: 1, EndOfLife: time.Hour},
		Bake:    &BakeSpec{Version: version, Timeout: time.Hour, Validate: []ScriptSpec{{Name: "boots"}}},
	}
}

// made is a template of the fleet's, one minute old, and what is different.
func made(version, content string, change func(*BakeTemplate)) BakeTemplate {
	t := BakeTemplate{Version: version, Tags: map[string]string{
		TagFleet: "pay", TagContent: content, TagCall: "another", TagReserved: bakeNow.Add(-time.Minute).Format(time.RFC3339),
	}}
	t.ID, t.Provisioning = ResourceID("/subscriptions/s/resourceGroups/rg/providers/Microsoft.VirtualMachineImages/imageTemplates/app-"+version), Succeeded
	if change != nil {
		change(&t)
	}
	return t
}

// published is a version of the fleet's as Image Builder leaves it.
func published(version, content string, more map[string]string) Version {
	tags := map[string]string{TagFleet: "pay", TagContent: content}
	maps.Copy(tags, more)
	return Version{Name: version, Provisioning: Succeeded, Excluded: true, Tags: tags}
}

func ran(state string) func(*BakeTemplate) {
	return func(t *BakeTemplate) {
		t.RunState, t.RunStart, t.RunEnd = state, bakeNow.Add(-30*time.Minute), bakeNow.Add(-time.Minute)
	}
}

func running(since time.Duration) func(*BakeTemplate) {
	return func(t *BakeTemplate) { t.RunState, t.RunStart = "Running", bakeNow.Add(-since) }
}

func creating(since time.Duration) func(*BakeTemplate) {
	return func(t *BakeTemplate) {
		t.Provisioning, t.Tags[TagReserved] = "Creating", bakeNow.Add(-since).Format(time.RFC3339)
	}
}

// TestChooseBake: which number a call bakes under, and what it does about the others.
func TestChooseBake(t *testing.T) {
	booted := map[string]string{TagBooted: "2026-03-01T00:00:00Z"}
	for name, tc := range map[string]struct {
		version   string // of the file; empty: 1.8.{n}
		races     int
		untested  bool // no boot test is asked for
		templates []BakeTemplate
		versions  []Version
		want      string // "reserve 1.8.0" or "take 1.8.0"
		left      string
		rejected  string
		swept     string
		other     string
		err       string
	}{
		"nothing is there":                {want: "reserve 1.8.0"},
		"versions count":                  {versions: []Version{published("1.8.9", "x", booted), published("1.8.10", "x", booted), published("1.9.40", "x", booted)}, want: "reserve 1.8.11"},
		"templates count":                 {templates: []BakeTemplate{made("1.8.3", "y", nil)}, want: "reserve 1.8.4"},
		"of another fleet, too":           {templates: []BakeTemplate{made("1.8.3", "x", func(t *BakeTemplate) { t.Tags[TagFleet] = "other" })}, want: "reserve 1.8.4"},
		"a version made by hand counts":   {versions: []Version{{Name: "1.8.7"}}, want: "reserve 1.8.8"},
		"an unfinished one is gone on":    {templates: []BakeTemplate{made("1.8.3", "x", nil)}, want: "take 1.8.3"},
		"the older of two":                {templates: []BakeTemplate{made("1.8.10", "x", running(time.Minute)), made("1.8.9", "x", nil)}, want: "take 1.8.9", other: "1.8.10"},
		"not after a lost race":           {races: 1, templates: []BakeTemplate{made("1.8.3", "x", nil)}, want: "reserve 1.8.4", other: "1.8.3"},
		"but what it made itself":         {races: 1, templates: []BakeTemplate{made("1.8.3", "x", func(t *BakeTemplate) { t.Tags[TagCall] = "me" })}, want: "take 1.8.3"},
		"not what it is deleting":         {templates: []BakeTemplate{made("1.8.3", "x", func(t *BakeTemplate) { t.Tags[TagCall], t.Provisioning = "me", "Deleting" })}, want: "reserve 1.8.4"},
		"a version without its test":      {versions: []Version{published("1.8.3", "x", nil)}, want: "take 1.8.3"},
		"one that needs none is finished": {untested: true, versions: []Version{func() Version { v := published("1.8.3", "x", nil); v.EndOfLife = bakeNow; return v }()}, want: "reserve 1.8.4"},
		"one that is booted is finished":  {versions: []Version{published("1.8.3", "x", booted)}, want: "reserve 1.8.4"},
		"one that is failed is finished":  {versions: []Version{published("1.8.3", "x", map[string]string{TagFailed: ""})}, want: "reserve 1.8.4"},
		"one that is promoted, too":       {versions: []Version{func() Version { v := published("1.8.3", "x", nil); v.Excluded = false; return v }()}, want: "reserve 1.8.4"},
		"booted, and its template is left": {
			templates: []BakeTemplate{made("1.8.3", "x", ran(Succeeded))}, versions: []Version{published("1.8.3", "x", booted)}, want: "take 1.8.3",
		},
		"of another content, it is swept": {
			templates: []BakeTemplate{made("1.8.3", "y", ran(Succeeded))}, versions: []Version{published("1.8.3", "y", booted)}, want: "reserve 1.8.4", swept: "app-1.8.3",
		},
		"a build that failed":         {templates: []BakeTemplate{made("1.8.3", "x", ran(Failed))}, want: "reserve 1.8.4", swept: "app-1.8.3"},
		"and published all the same":  {templates: []BakeTemplate{made("1.8.3", "y", ran("PartiallySucceeded"))}, versions: []Version{published("1.8.3", "y", nil)}, want: "reserve 1.8.4", swept: "app-1.8.3", rejected: "1.8.3 the build has succeeded only partially"},
		"and publishes at this time":  {templates: []BakeTemplate{made("1.8.3", "y", ran(Failed))}, versions: []Version{func() Version { v := published("1.8.3", "y", nil); v.Provisioning = "Creating"; return v }()}, want: "reserve 1.8.4"},
		"a submission that failed":    {templates: []BakeTemplate{made("1.8.3", "x", func(t *BakeTemplate) { t.Provisioning = Failed })}, want: "reserve 1.8.4", swept: "app-1.8.3"},
		"another's, just now":         {templates: []BakeTemplate{made("1.8.3", "y", func(t *BakeTemplate) { t.Provisioning = Failed })}, want: "reserve 1.8.4"},
		"published nothing":           {templates: []BakeTemplate{made("1.8.3", "x", func(t *BakeTemplate) { ran(Succeeded)(t); t.RunEnd = bakeNow.Add(-time.Hour) })}, want: "reserve 1.8.4", swept: "app-1.8.3"},
		"creating, not for long":      {templates: []BakeTemplate{made("1.8.3", "x", creating(14*time.Minute))}, want: "take 1.8.3"},
		"creating for ever":           {templates: []BakeTemplate{made("1.8.3", "x", creating(16*time.Minute))}, want: "reserve 1.8.4", left: "1.8.3 Creating since 2026-03-05 13:44 UTC"},
		"running, not for too long":   {templates: []BakeTemplate{made("1.8.3", "x", running(119*time.Minute))}, want: "take 1.8.3"},
		"running for ever":            {templates: []BakeTemplate{made("1.8.3", "y", running(121*time.Minute))}, want: "reserve 1.8.4", left: "1.8.3 Running since 2026-03-05 11:59 UTC, longer than its 1h"},
		"canceling":                   {templates: []BakeTemplate{made("1.8.3", "x", func(t *BakeTemplate) { t.RunState = "Canceling" })}, want: "reserve 1.8.4", left: "1.8.3 Canceling, of a run from an unknown time"},
		"left behind, and it is back": {templates: []BakeTemplate{made("1.8.3", "x", ran(Succeeded))}, versions: []Version{published("1.8.3", "x", nil), published("1.8.4", "y", map[string]string{TagLeft: "1.8.2 1.8.3", TagBooted: ""})}, want: "reserve 1.8.5", rejected: "1.8.3 left behind by 1.8.4", swept: "app-1.8.3"},
		"left by another fleet":       {versions: []Version{published("1.8.3", "x", nil), published("1.8.4", "y", map[string]string{TagLeft: "1.8.3", TagFleet: "other"})}, want: "take 1.8.3"},
		"a number of one's own":       {version: "1.8.3", versions: []Version{published("1.8.2", "x", booted)}, want: "reserve 1.8.3"},
		"that is taken":               {version: "1.8.3", versions: []Version{published("1.8.3", "x", booted)}, err: "the version 1.8.3 is taken: by the image version of that number, published at an unknown time"},
		"that is taken by a template": {version: "1.8.3", templates: []BakeTemplate{made("1.8.3", "y", nil)}, err: "the version 1.8.3 is taken: by the image template app-1.8.3, reserved at 2026-03-05 13:59 UTC"},
		"that is its own":             {version: "1.8.3", templates: []BakeTemplate{made("1.8.3", "x", nil)}, want: "take 1.8.3"},
		"the major is the hole":       {version: "{n}.0.1", versions: []Version{published("4.0.1", "y", booted), published("9.1.1", "y", booted)}, want: "reserve 5.0.1"},
	} {
		t.Run(name, func(t *testing.T) {
			if tc.version == "" {
				tc.version = "1.8.{n}"
			}
			c, err := ChooseBake(&BakeSurvey{
				Spec: bakedSpec(tc.version), Now: bakeNow, Templates: tc.templates, Versions: tc.versions,
				Call: BakeCall{ID: "me", Started: bakeNow, Content: "x", BootTest: !tc.untested, Races: tc.races},
			})
			if tc.err != "" {
				require.EqualError(t, err, tc.err)
				_, ok := errors.AsType[*BakeError](err)
				require.True(t, ok)
				return
			}
			require.NoError(t, err)
			got := "take " + c.Version
			if c.Reserve {
				got = "reserve " + c.Version
			}
			require.Equal(t, tc.want, got)
			require.Equal(t, tc.left, leftText(c.Left))
			require.Equal(t, tc.rejected, leftText(c.Reject))
			var swept []string
			for _, id := range c.Sweep {
				swept = append(swept, id.Name())
			}
			require.Equal(t, tc.swept, strings.Join(swept, " "))
			require.Equal(t, tc.other, strings.Join(c.Other, " "))
		})
	}
}

func leftText(list []LeftBake) string {
	var texts []string
	for _, l := range list {
		texts = append(texts, l.Version+" "+l.Why)
	}
	return strings.Join(texts, "; ")
}

// TestReservation: the request makes the template only when there is none, and says
// whose it is and what it leaves behind.
func TestReservation(t *testing.T) {
	s := &BakeSurvey{Spec: bakedSpec("1.8.{n}"), Now: bakeNow, Call: BakeCall{ID: "me"}}
	c := &BakeChoice{Version: "1.8.9", Reserve: true, Left: []LeftBake{{"1.8.7", ""}, {"1.8.8", ""}}}
	w := c.Reservation(s, &Content{Hash: "x"})
	require.Equal(t, "PUT imageTemplates/app-1.8.9", w.String())
	require.True(t, w.IfNew)
	tags := dig(w.Body, "tags")
	for name, want := range map[string]string{TagFleet: "pay", TagContent: "x", TagCall: "me", TagReserved: "2026-03-05T14:00:00Z", TagLeft: "1.8.7 1.8.8"} {
		require.Equal(t, want, textAt(tags, name), name)
	}
	artifact := dig(listAt(w.Body, "properties", "distribute")[0], "artifactTags")
	require.Equal(t, "1.8.7 1.8.8", textAt(artifact, TagLeft))
	require.Empty(t, textAt(artifact, TagCall))

	for range 100 {
		c.Left = append(c.Left, LeftBake{Version: "1.8.100"})
	}
	left := c.leftTag()
	require.LessOrEqual(t, len(left), maxTag)
	require.True(t, strings.HasSuffix(left, "1.8.100"), "the newest are named")
}

// TestNextBake: the step that follows from what is seen.
func TestNextBake(t *testing.T) {
	everywhere := func(state string) *Version {
		v := published("1.8.3", "x", nil)
		v.EndOfLife = bakeNow.Add(time.Hour)
		v.Regions = []Region{{Name: "eastus", State: state}}
		return &v
	}
	tagged := func(name string) *Version {
		v := everywhere(Replicated)
		v.Tags[name] = "why"
		return v
	}
	with := func(v *Version, change func(*Version)) *Version {
		change(v)
		return v
	}
	refused := func(said string) func(*BakeTemplate) {
		return func(t *BakeTemplate) {
			t.Provisioning = Failed
			t.Properties = map[string]any{"provisioningError": map[string]any{"message": said}}
		}
	}
	for name, tc := range map[string]struct {
		template func(*BakeTemplate) // nil: there is none
		image    *Version
		untested bool
		started  time.Duration // how long ago the call did
		do       BakeDo
		why      string
		kind     BakeFailureKind
		until    time.Duration // from now
	}{
		"being made":                {template: creating(time.Minute), do: BakeAwaitTemplate, until: 14 * time.Minute},
		"hangs while it is made":    {template: creating(time.Hour), do: BakeLeave, why: "Creating since 2026-03-05 13:00 UTC"},
		"made":                      {template: ran(""), do: BakeRun},
		"running":                   {template: running(time.Minute), do: BakeAwaitRun, until: 119 * time.Minute},
		"hangs while it runs":       {template: running(3 * time.Hour), do: BakeLeave, why: "Running since 2026-03-05 11:00 UTC, longer than its 1h"},
		"canceling":                 {template: ran("Canceling"), do: BakeLeave, why: "Canceling, of a run from 2026-03-05 13:30 UTC"},
		"canceled":                  {template: ran("Canceled"), do: BakeFail, kind: FailCanceled},
		"failed":                    {template: ran(Failed), do: BakeFail, kind: FailBuild},
		"failed, and published":     {template: ran(Failed), image: everywhere(Replicated), do: BakeReject, why: "the build failed"},
		"failed, and publishes":     {template: ran(Failed), image: with(everywhere(""), func(v *Version) { v.Provisioning = "Creating" }), do: BakeFail, kind: FailBuild},
		"failed, and rejected":      {template: ran(Failed), image: tagged(TagFailed), do: BakeFail, kind: FailBuild},
		"partially":                 {template: ran("PartiallySucceeded"), image: everywhere(ReplicationFailed), do: BakeReject, why: "the build has succeeded only partially"},
		"a role that is late":       {template: refused("The client does not have authorization to do it"), do: BakeRetry, why: "The client does not have authorization to do it"},
		"a role that does not come": {template: refused("The client does not have authorization to do it"), started: 11 * time.Minute, do: BakeFail, kind: FailTemplate},
		"refused":                   {template: refused("quota"), do: BakeFail, kind: FailTemplate},
		"gone":                      {do: BakeFail, kind: FailGone},
		"not published yet":         {template: ran(Succeeded), do: BakeAwaitVersion, until: 9 * time.Minute},
		"never published":           {template: func(t *BakeTemplate) { ran(Succeeded)(t); t.RunEnd = bakeNow.Add(-time.Hour) }, do: BakeFail, kind: FailNothing},
		"being published":           {template: ran(Succeeded), image: with(everywhere(""), func(v *Version) { v.Provisioning = Updating }), do: BakeAwaitVersion, until: 6 * time.Hour},
		"published":                 {template: ran(Succeeded), image: with(everywhere(Replicated), func(v *Version) { v.EndOfLife = time.Time{} }), do: BakeSeal},
		"deletion blocked":          {image: with(everywhere(Replicated), func(v *Version) { v.BlockDelete = true }), do: BakeSeal},
		"tags lost":                 {template: ran(Succeeded), image: with(everywhere(Replicated), func(v *Version) { v.Tags = nil }), do: BakeSeal},
		"sealed":                    {template: ran(Succeeded), image: everywhere(Replicating), do: BakeAwaitReplication, until: 6 * time.Hour},
		"replication not told":      {template: ran(Succeeded), image: everywhere(""), do: BakeAwaitReplication, until: 6 * time.Hour},
		"replication too slow":      {image: everywhere(Replicating), started: 7 * time.Hour, do: BakeFail, kind: FailReplication},
		"replication failed":        {image: everywhere(ReplicationFailed), do: BakeFail, kind: FailReplication},
		"not to a region":           {image: with(everywhere(""), func(v *Version) { v.Regions = nil }), do: BakeFail, kind: FailReplication},
		"version failed":            {image: with(everywhere(""), func(v *Version) { v.Provisioning = Failed }), do: BakeFail, kind: FailReplication},
		"replicated":                {template: ran(Succeeded), image: everywhere(Replicated), do: BakeBoot},
		"no test, template left":    {template: ran(Succeeded), image: everywhere(Replicated), untested: true, do: BakeClean},
		"no test":                   {image: everywhere(Replicated), untested: true, do: BakeDone},
		"booted, template left":     {template: ran(Succeeded), image: tagged(TagBooted), do: BakeClean},
		"booted":                    {image: tagged(TagBooted), do: BakeDone},
		"test failed, left":         {template: ran(Succeeded), image: tagged(TagFailed), do: BakeClean},
		"test failed":               {image: tagged(TagFailed), do: BakeFail, kind: FailBoot},
	} {
		t.Run(name, func(t *testing.T) {
			l := &BakeLook{
				Spec: bakedSpec("1.8.{n}"), Now: bakeNow, Version: "1.8.3", Image: tc.image,
				Call: BakeCall{ID: "me", Started: bakeNow.Add(-tc.started), Content: "x", BootTest: !tc.untested},
			}
			if tc.template != nil {
				l.Template = new(made("1.8.3", "x", tc.template))
			}
			step := NextBake(l)
			require.Equal(t, tc.do, step.Do)
			require.Equal(t, tc.why, step.Why)
			if tc.kind != "" {
				require.Equal(t, tc.kind, step.Failure.Kind)
				require.Equal(t, "1.8.3", step.Failure.Version)
			} else {
				require.Nil(t, step.Failure)
			}
			if tc.until != 0 {
				require.Equal(t, bakeNow.Add(tc.until), step.Until)
			} else {
				require.Zero(t, step.Until)
			}
		})
	}
}

// TestTemplateOf: what Azure says of a template, whatever the letters of its keys.
func TestTemplateOf(t *testing.T) {
	run := map[string]any{"runState": "Failed", "runSubState": "Building", "message": "m", "startTime": "2026-03-05T14:00:00Z", "endTime": "2026-03-05T14:09:00.5Z"}
	properties := map[string]any{"provisioningState": "Succeeded", "lastRunStatus": run, "exactStagingResourceGroup": "/g"}
	d := Document{"id": "/t/APP-1.8.3", "location": "East US", "tags": map[string]any{"a": "b", "c": 1.0}, "properties": properties}
	want := Template{
		ID: "/t/APP-1.8.3", Location: "eastus", Provisioning: Succeeded, RunState: Failed, RunSubState: "Building", RunMessage: "m",
		RunStart: bakeNow, RunEnd: bakeNow.Add(9*time.Minute + 500*time.Millisecond), Properties: properties,
	}
	require.Equal(t, want, TemplateOf(d))
	got := ReadBakeTemplate(bakedSpec("1.8.{n}"), d)
	require.Equal(t, &BakeTemplate{Template: want, Version: "1.8.3", Tags: map[string]string{"a": "b"}}, got)
	require.Equal(t, ResourceID("/g"), got.Staging())
	require.Equal(t, Template{}, TemplateOf(nil))
	for _, other := range []string{"/t/other-1.8.3", "/t/app-1.8", "/t/app-", "/t/app", ""} {
		require.Nil(t, ReadBakeTemplate(bakedSpec("1.8.{n}"), Document{"id": other}), other)
	}
}

const someLog = `[43d66b64] PACKER ERR 2026/03/05 14:04:00 [INFO] (telemetry) Starting provisioner shell
[43d66b64] PACKER OUT ==> azure-arm: Provisioning with shell script: /tmp/packer-shell1
[43d66b64] PACKER OUT     azure-arm: fleetctl: customizer agent begins
[43d66b64] PACKER OUT     azure-arm: fine
[43d66b64] PACKER OUT     azure-arm: fleetctl: customizer agent ends
[43d66b64] PACKER OUT     azure-arm: fleetctl: customizer boots begins
[43d66b64] PACKER OUT ==> azure-arm: dpkg: error: it's broken
[43d66b64] PACKER OUT ==> azure-arm: Provisioning step had errors: Running the cleanup provisioner, if present...
[43d66b64] PACKER ERR ==> Builds finished: Script exited with non-zero exit status: 3. Allowed exit codes are: [0]
`

// TestBuildLog: however the log is cut, the customizer that failed is known, with its
// last lines.
func TestBuildLog(t *testing.T) {
	for size := 1; size <= len(someLog); size += 7 {
		var l BuildLog
		var lines []string
		for rest := someLog; rest != ""; {
			n := min(size, len(rest))
			lines = append(lines, l.Add([]byte(rest[:n]))...)
			rest = rest[n:]
		}
		require.Equal(t, "boots", l.Running)
		require.Equal(t, "3", l.Exit)
		require.Equal(t, []string{"dpkg: error: it's broken"}, l.Tail())
		require.Equal(t, "fine", lines[2])

		f := &BakeError{Kind: FailBuild, Title: "the build failed"}
		f.AddLog(bakedSpec("1.8.{n}"), &l)
		require.Equal(t, "the validator boots failed: its script exited with 3", f.Headline())
	}
	var l BuildLog
	for range 100 {
		l.Add([]byte("PACKER OUT     azure-arm: " + strings.Repeat("x", 2*maxLogLine) + "\n"))
	}
	require.Len(t, l.Tail(), logTail)
	require.LessOrEqual(t, len(l.Tail()[0]), maxLogLine)
}

func FuzzBuildLog(f *testing.F) {
	f.Add([]byte(someLog), 10)
	f.Add([]byte("PACKER OUT \r\n\n\x00[x"), 1)
	f.Fuzz(func(t *testing.T, text []byte, cut int) {
		var whole, parts BuildLog
		want := whole.Add(text)
		cut = max(0, min(cut, len(text)))
		got := append(parts.Add(text[:cut]), parts.Add(text[cut:])...)
		if !strings.Contains(string(text), strings.Repeat("x", maxLogLine)) && len(text) < maxLogLine {
			require.Equal(t, want, got)
			require.Equal(t, whole.Tail(), parts.Tail())
			require.Equal(t, whole.Running, parts.Running)
		}
		require.LessOrEqual(t, len(whole.Tail()), logTail)
		require.LessOrEqual(t, len(whole.rest), maxLogLine)
	})
}

// TestRunMessage: what Azure says to everybody is left out, and the address of the log
// is found.
func TestRunMessage(t *testing.T) {
	const message = "Packer build command has failed: exit status 1. During the image build, a failure has occurred, please review the build log to identify which build/customization step failed. " +
		"For more troubleshooting steps go to https://aka.ms/azvmimagebuilderts. Image Build log location: https://x.blob.core.windows.net/packerlogs/6f/customization.log. OperationId: 6f. Use this operationId to search packer logs."
	require.Equal(t, "https://x.blob.core.windows.net/packerlogs/6f/customization.log", LogURL(message))
	require.Equal(t, "Packer build command has failed: exit status 1.", RunMessage(message))
	require.Equal(t, "odd", RunMessage("odd"))
	require.Empty(t, LogURL("http://x.blob.core.windows.net/packerlogs/6f/customization.log"))
	require.Len(t, []rune(TagText(strings.Repeat("ä ", 400))), maxTag)
}
