package fleet

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// A BakeFailureKind says what sort of end a bake came to.
type BakeFailureKind string

// The kinds of failures. Those of boot tests are of the image; all others say nothing
// of it.
const (
	FailTaken        BakeFailureKind = "version taken"
	FailTemplate     BakeFailureKind = "template refused"
	FailBuild        BakeFailureKind = "build failed"
	FailCanceled     BakeFailureKind = "build canceled"
	FailNothing      BakeFailureKind = "nothing published"
	FailGone         BakeFailureKind = "gone"
	FailReplication  BakeFailureKind = "replication"
	FailBoot         BakeFailureKind = "boot test failed"
	FailInconclusive BakeFailureKind = "boot test inconclusive"
)

// A BakeError is why a bake has ended without a version that may be used.
type BakeError struct {
	Kind     BakeFailureKind `json:"kind"`
	Version  string          `json:"version,omitempty"`
	Template string          `json:"template,omitempty"` // the image template, while it is there
	Title    string          `json:"title"`
	Said     string          `json:"said,omitempty"` // in Azure's words
	Hint     string          `json:"hint,omitempty"` // what to look at

	// What customization.log tells of a build that failed.
	Customizer string   `json:"customizer,omitempty"` // that began and did not end
	Validator  bool     `json:"validator,omitempty"`  // it is one
	Exit       string   `json:"exit,omitempty"`       // the exit code of its script
	Lines      []string `json:"lines,omitempty"`      // its last ones
	Log        string   `json:"log,omitempty"`        // the URL of the whole
	LogProblem string   `json:"log_problem,omitempty"`

	Staging ResourceID `json:"-"`
}

// Error implements error.
func (f *BakeError) Error() string {
	text := f.Title
	if f.Said != "" {
		text += ": " + f.Said
	}
	return text
}

// OfImage says whether the failure is one of the image, not of what makes it.
func (f *BakeError) OfImage() bool { return f.Kind == FailBoot }

// Headline says in one line what failed.
func (f *BakeError) Headline() string {
	if f.Customizer == "" {
		return f.Title
	}
	what := "customizer"
	if f.Validator {
		what = "validator"
	}
	if f.Exit == "" {
		return fmt.Sprintf("%s while the %s %s ran", f.Title, what, f.Customizer)
	}
	return fmt.Sprintf("the %s %s failed: its script exited with %s", what, f.Customizer, f.Exit)
}

// OfScript says whether it is known which script failed: then Azure's words add nothing.
func (f *BakeError) OfScript() bool { return f.Customizer != "" && f.Exit != "" }

var (
	logURL  = regexp.MustCompile(`https://[^\s"'<>]+?/customization\.log`)
	runExit = regexp.MustCompile(`non-zero exit status: (\d{1,3})\b`)
	// boilerplate is what Azure adds to every message of a run that failed.
	boilerplate = regexp.MustCompile(`(?s) ?During the image build, a failure has occurred, please review the build log.*?aka\.ms/azvmimagebuilderts\.|(?: Image Build log location: \S+)?\.? OperationId: \S+ Use this operationId to search packer logs\.`)
	missing     = regexp.MustCompile(`'?(Microsoft\.[A-Za-z]+)'?[^']*`)
)

// AddLog adds what the log tells of a build that failed.
func (f *BakeError) AddLog(s *Spec, l *BuildLog) {
	f.Customizer, f.Lines = l.Running, l.Tail()
	f.Validator = slices.ContainsFunc(s.Bake.Validate, func(v ScriptSpec) bool { return v.Name == l.Running })
	if l.Exit != "" {
		f.Exit = l.Exit
	}
}

// TagText makes a text fit for the value of a tag.
func TagText(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if runes := []rune(text); len(runes) > maxTag {
		text = string(runes[:maxTag-1]) + "…"
	}
	return text
}

// LogURL returns the address of customization.log that a run's message names, or "".
func LogURL(message string) string { return logURL.FindString(message) }

// RunMessage is the message of a run without what is shown apart, or says nothing.
func RunMessage(message string) string {
	return strings.TrimSpace(boilerplate.ReplaceAllString(message, ""))
}

// ExitStatus returns the exit code that a text of Packer or Azure names, or "".
func ExitStatus(text string) string {
	if m := runExit.FindStringSubmatch(text); m != nil {
		return m[1]
	}
	return ""
}

// An advice is what to do about a failure that is known by Azure's words.
type advice struct {
	words []string // one of them stands in the text, in lower case
	do    string
}

// advices are tried in order. {…} are filled in by Advice.
var advices = []advice{
	{[]string{"missingsubscriptionregistration", "not registered to use namespace", "is not registered"}, "az provider register -n {provider}; wait until it is Registered, and bake again"},
	{[]string{"containergroupquota", "container group quota"}, "a build takes 4 cores of Azure Container Instances: ask for more quota of StandardCores in {location}, or wait until other builds have ended"},
	{[]string{"quota", "operationnotallowed", "cores"}, "ask for more quota in {location}, or name a smaller bake.vm_size"},
	{[]string{"does not have authorization", "authorizationfailed", "does not have permission", "linkedauthorizationfailed"}, "the identity {identity} needs the role that fleetctl apply makes; run fleetctl plan"},
	{[]string{"timed out", "timeout", "time out", "context deadline exceeded"}, "raise bake.timeout, which is {timeout}, or do less in the customizers"},
	{[]string{"keybasedauthenticationnotpermitted", "shared key", "key based authentication", "allowsharedkeyaccess", "requestdisallowedbypolicy", "disallowed by policy"}, "a policy forbids what Image Builder needs of its storage account; exempt its staging resource groups (IT_…)"},
	{[]string{"internaloperationerror", "internal error", "internalservererror"}, "Azure failed; bake again, and ask Microsoft if it stays"},
}

// Advice says what to do about the failure, in order.
func (f *BakeError) Advice(s *Spec) []string {
	var all []string
	if f.Hint != "" {
		all = append(all, f.Hint)
	}
	if f.LogProblem != "" {
		account, _, _ := strings.Cut(strings.TrimPrefix(f.Log, "https://"), ".")
		all = append(all, strings.TrimSpace("to read the log, you need the role Storage Blob Data Reader on the storage account "+account))
	}
	return append(all, f.remedy(s))
}

// remedies are what to do about failures of which it is the same always.
var remedies = map[BakeFailureKind]string{
	FailTaken:        "write a version with {n} into bake.version, or the next number by hand: versions are never used twice",
	FailReplication:  "the version stays excluded; when Azure has it in every region, fleetctl bake goes on with it",
	FailInconclusive: "the version stays excluded and untested; fleetctl bake goes on with the boot test",
	FailBoot:         "the version stays excluded, and promote refuses it; change the image, and bake again",
	FailCanceled:     "fleetctl bake bakes under the next number",
	FailNothing:      "fleetctl bake bakes under the next number",
}

func (f *BakeError) remedy(s *Spec) string {
	if do := remedies[f.Kind]; do != "" {
		return do
	}
	if f.OfScript() {
		return "mend " + f.Customizer + ", and bake again: it takes the next number"
	}
	if do := adviceFor(f.Said, s); do != "" {
		return do
	}
	return "look at the words of Azure above, and bake again"
}

// adviceFor returns what to do about words of Azure, or "".
func adviceFor(said string, s *Spec) string {
	low := strings.ToLower(said)
	for _, a := range advices {
		for _, words := range a.words {
			if !strings.Contains(low, words) {
				continue
			}
			provider := "NAMESPACE"
			if m := missing.FindStringSubmatch(said); m != nil {
				provider = m[1]
			}
			return strings.NewReplacer(
				"{provider}", provider, "{location}", s.Location, "{timeout}", durationText(s.buildTimeout()), "{identity}", s.IdentityID().Name(),
			).Replace(a.do)
		}
	}
	return ""
}
