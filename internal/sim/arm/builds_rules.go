package arm

import (
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"
)

// A buildRule is an entry of a scenario's list builds: what becomes of the templates
// that it matches.
type buildRule struct {
	Template   string    `json:"template"`
	Count      int       `json:"count"` // 0: all
	Used       int       `json:"used"`
	Fails      string    `json:"fails"`
	Customizer string    `json:"customizer"`
	ExitCode   int       `json:"exitCode"`
	Output     []string  `json:"output"`
	Code       string    `json:"code"`
	Message    string    `json:"message"`
	Regions    []string  `json:"regions"`
	For        int64     `json:"for"` // nanoseconds; 0: for ever
	State      string    `json:"state"`
	Publishes  bool      `json:"publishes"`
	Takes      buildTime `json:"takes"`

	index int // of the customizer, from 1 on, in place of its name
}

// buildTime is how long the parts of a build take.
type buildTime struct {
	Creating   time.Duration `json:"creating"`
	Queued     time.Duration `json:"queued"`
	Building   time.Duration `json:"building"`
	Customizer time.Duration `json:"customizer"` // each
	Optimizing time.Duration `json:"optimizing"`
	Validating time.Duration `json:"validating"`
	Canceling  time.Duration `json:"canceling"`
}

// usualBuild is a build about which the scenario says nothing. With the ten minutes
// of replication it takes some twelve.
var usualBuild = buildTime{
	Creating: 150 * time.Second, Queued: 20 * time.Second, Building: 70 * time.Second, Customizer: 20 * time.Second,
	Optimizing: 30 * time.Second, Validating: 30 * time.Second, Canceling: time.Minute,
}

// or takes what is not given from another.
func (t buildTime) or(other buildTime) buildTime {
	for _, pair := range []struct{ to, from *time.Duration }{
		{&t.Creating, &other.Creating},
		{&t.Queued, &other.Queued},
		{&t.Building, &other.Building},
		{&t.Customizer, &other.Customizer},
		{&t.Optimizing, &other.Optimizing},
		{&t.Validating, &other.Validating},
		{&t.Canceling, &other.Canceling},
	} {
		if *pair.to == 0 {
			*pair.to = *pair.from
		}
	}
	return t
}

// A phase is when a rule is asked for.
type phase int

const (
	submitting phase = iota
	running
	canceling
)

// A failure is what a rule's "fails" means.
type failure struct {
	at phase
	// state is the sub-state in which a run fails; code is that of a submission's
	// provisioningError.
	state, code string
	message     string
}

// The failures of builds, by what a scenario calls them. A message may have the
// placeholders {region}, {account}.
var buildFailures = map[string]failure{
	"submission": {at: submitting, code: "Other", message: "Internal error occurred. This is a generic error. To identify possible causes, go to https://aka.ms/azvmimagebuilderts."},
	"internal-error": {
		at: submitting, code: "InternalOperationError",
		message: "Internal error occurred. This is a generic error. To identify possible causes, go to https://aka.ms/azvmimagebuilderts.",
	},
	"policy": {
		at: submitting, code: "NoCustomizerScript",
		message: "Failed to create the staging resources: Status=403 Code=\"RequestDisallowedByPolicy\" Message=\"Resource '{account}' was disallowed by policy. " +
			"Policy identifiers: '[{\\\"policyAssignment\\\":{\\\"name\\\":\\\"Storage accounts should prevent shared key access\\\"}}]'.\"",
	},
	"stuck-creating": {at: submitting},
	"quota": {
		at: running, state: stateBuilding,
		message: "Failed while waiting for packerizer: Error creating container group: Status=409 Code=\"ContainerGroupQuotaReached\" " +
			"Message=\"Resource type 'Microsoft.ContainerInstance/containerGroups' container group quota 'StandardCores' exceeded in region '{region}'. " +
			"Limit: '10', Usage: '10' Requested: '4'.\"",
	},
	"shared-key": {
		at: running, state: stateQueued,
		message: "Failed while waiting for packerizer: Error accessing the storage account '{account}': StatusCode=403, " +
			"ErrorCode=KeyBasedAuthenticationNotPermitted, ErrorMessage=Key based authentication is not permitted on this storage account.",
	},
	"customizer":      {at: running, state: stateCustomizing},
	"validator":       {at: running, state: stateValidating},
	"distribution":    {at: running, state: stateDistributing, message: "the gallery does not answer"},
	"region":          {at: running, state: stateDistributing},
	"stuck-running":   {at: running, state: stateBuilding},
	"stuck-canceling": {at: canceling},
}

// buildRules is the id of the hidden resource that holds the rules of builds.
const buildRules = "/fleetsim/builds"

// rules returns the rules of builds.
func (tx *txn) buildRules() []buildRule {
	r := tx.get(buildRules)
	if r == nil {
		return nil
	}
	var list []buildRule
	_ = json.Unmarshal([]byte(str(r.Hidden, "rules")), &list) // written by this program
	return list
}

// setBuildRules keeps the rules of builds.
func (tx *txn) setBuildRules(list []buildRule) error {
	text, err := json.Marshal(list)
	if err != nil {
		return fmt.Errorf("keep the rules of builds: %w", err)
	}
	tx.put(resource{ID: buildRules, Type: registration, Hidden: object{"rules": string(text)}})
	return nil
}

// matches says whether a rule is about a template. Names are compared without regard
// to case, as Azure does.
func (r *buildRule) matches(template string) bool {
	if r.Template == "" {
		return true
	}
	ok, err := path.Match(strings.ToLower(r.Template), strings.ToLower(template))
	return ok && err == nil // a scenario's patterns were checked
}

// takeRule is the first rule that makes a template fail in a phase, which is counted,
// or nil.
func (tx *txn) takeRule(template string, at phase) (*buildRule, error) {
	list := tx.buildRules()
	for i := range list {
		r := &list[i]
		if r.Fails == "" || buildFailures[r.Fails].at != at || !r.matches(template) || r.Count > 0 && r.Used >= r.Count {
			continue
		}
		r.Used++
		return r, tx.setBuildRules(list)
	}
	return nil, nil //nolint:nilnil // no rule and no error are a proper pair
}

// buildTimes is how long the parts of a template's build take.
func (tx *txn) buildTimes(template string) buildTime {
	for _, r := range tx.buildRules() {
		if r.Takes != (buildTime{}) && r.matches(template) {
			return r.Takes.or(usualBuild)
		}
	}
	return usualBuild
}

// text is the rule's message, or that of its failure, with its placeholders filled.
func (r *buildRule) text(region, account string) string {
	message := r.Message
	if message == "" {
		message = buildFailures[r.Fails].message
	}
	return strings.NewReplacer("{region}", region, "{account}", account).Replace(message)
}
