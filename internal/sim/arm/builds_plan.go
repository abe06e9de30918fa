package arm

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// The states of a run, and its sub-states in the order that Microsoft's types have.
const (
	runRunning   = "Running"
	runCanceling = "Canceling"
	runCanceled  = "Canceled"
	runPartially = "PartiallySucceeded"

	stateQueued       = "Queued"
	stateBuilding     = "Building"
	stateCustomizing  = "Customizing"
	stateOptimizing   = "Optimizing"
	stateValidating   = "Validating"
	stateDistributing = "Distributing"
)

// A step is something that happens in a build at an instant.
type step struct {
	At    time.Duration `json:"at"` // since the run began
	State string        `json:"state,omitempty"`
	Lines []logLine     `json:"lines,omitempty"`
	// Failed ends the run, and why.
	Failed string `json:"failed,omitempty"`
	// Waits: nothing more happens by itself: the build is stuck, or somebody else
	// performs it.
	Waits bool `json:"waits,omitempty"`
}

// A logLine is one of customization.log.
type logLine struct {
	Text string `json:"text"`
	Err  bool   `json:"err,omitempty"` // PACKER ERR
}

// out are lines that Packer prints on standard output.
func out(lines ...string) []logLine {
	var all []logLine
	for _, l := range lines {
		all = append(all, logLine{Text: l})
	}
	return all
}

// telemetry is what Packer notes of a provisioner.
func telemetry(what string) logLine { return logLine{Text: "[INFO] (telemetry) " + what, Err: true} }

// A planner lines up the steps of a build.
type planner struct {
	takes buildTime
	rule  *buildRule // nil: it goes well
	at    time.Duration
	steps []step
}

// buildSteps is the schedule of a build: a pure function of the template and of what a
// scenario says. The last step has the sub-state Distributing, a failure, or waits.
func buildSteps(template object, takes buildTime, rule *buildRule, outside bool, region, account string) []step {
	p := planner{takes: takes, rule: rule}
	if rule != nil && buildFailures[rule.Fails].message != "" && buildFailures[rule.Fails].state != stateDistributing {
		return p.early(rule.text(region, account))
	}
	p.add(step{State: stateQueued}, takes.Queued)
	p.add(step{State: stateBuilding, Lines: out(
		"azure-arm: output will be in this color.", "", "==> azure-arm: Running builder ...", "==> azure-arm: Creating Azure Resource Manager (ARM) client ...",
		"==> azure-arm: Validating deployment template ...", "==> azure-arm: Deploying deployment template ...",
	)}, takes.Building)
	if p.stuck(stateBuilding) {
		return p.steps
	}
	connected := out("==> azure-arm: Waiting for SSH to become available...", "==> azure-arm: Connected to SSH!")
	if outside {
		p.add(step{State: stateCustomizing, Waits: true}, 0)
		return p.steps
	}
	p.add(step{State: stateCustomizing, Lines: connected}, 0)
	if p.stuck(stateCustomizing) {
		return p.steps
	}
	if p.scripts(items(template, "properties.customize"), takes.Customizer, "customizer") {
		return p.steps
	}
	p.add(step{Lines: out(
		"==> azure-arm: Provisioning with shell script: /tmp/DeprovisioningScript.sh", "==> azure-arm: Powering off machine ...",
		"==> azure-arm: Generalizing machine ...", "==> azure-arm: Capturing image ...", "==> azure-arm: Deleting individual resources ...",
		"==> Builds finished. The artifacts of successful builds are:", "--> azure-arm: Azure.ResourceManagement.VMImage:",
	)}, takes.Customizer)
	p.steps[len(p.steps)-1].Lines = append(p.steps[len(p.steps)-1].Lines, telemetry("Finalizing."))
	p.after(template)
	return p.steps
}

// after lines up what follows the customizers.
func (p *planner) after(template object) {
	if str(template, "properties.optimize.vmBoot.state") == "Enabled" {
		p.add(step{State: stateOptimizing}, p.takes.Optimizing)
		if p.stuck(stateOptimizing) {
			return
		}
	}
	if checks := items(template, "properties.validate.inVMValidations"); len(checks) > 0 {
		p.add(step{State: stateValidating}, 0)
		if p.stuck(stateValidating) || p.scripts(checks, p.takes.Validating, "validator") && !boolean(template, "properties.validate.continueDistributeOnFailure") {
			return
		}
		if last := &p.steps[len(p.steps)-1]; last.Failed != "" {
			last.Failed = "" // it is distributed all the same
		}
	}
	p.add(step{State: stateDistributing}, 0)
	p.stuck(stateDistributing)
}

// add lines up a step, and says how long it takes.
func (p *planner) add(s step, takes time.Duration) {
	s.At = p.at
	p.steps = append(p.steps, s)
	p.at += takes
}

// stuck says whether the build stops in a sub-state and never goes on.
func (p *planner) stuck(state string) bool {
	if p.rule == nil || p.rule.Fails != "stuck-running" {
		return false
	}
	in := p.rule.State
	if in == "" {
		in = stateBuilding
	}
	if in == state {
		p.steps[len(p.steps)-1].Waits = true
	}
	return in == state
}

// early is a build that fails before Packer begins.
func (p *planner) early(message string) []step {
	p.add(step{State: stateQueued}, p.takes.Queued)
	if buildFailures[p.rule.Fails].state == stateBuilding {
		p.add(step{State: stateBuilding}, p.takes.Building)
	}
	p.add(step{Failed: message}, 0)
	return p.steps
}

// scripts lines up customizers or validators, and says whether one of them fails.
func (p *planner) scripts(list []object, takes time.Duration, what string) bool {
	failing := -1
	if p.rule != nil && p.rule.Fails == what {
		failing = p.failing(list)
	}
	for i, c := range list {
		if i == failing {
			p.fail(c, takes)
			return true
		}
		p.script(c, takes)
	}
	return false
}

// failing is the index of the one that fails: the first that the rule names, or the
// last one.
func (p *planner) failing(list []object) int {
	if p.rule.index > 0 {
		return p.rule.index - 1
	}
	for i, c := range list {
		if p.rule.names(str(c, "name")) {
			return i
		}
	}
	return len(list) - 1
}

// names says whether a rule means a customizer by its name.
func (r *buildRule) names(customizer string) bool {
	return r.Customizer != "" && (&buildRule{Template: r.Customizer}).matches(customizer)
}

// begin is what Packer prints when it comes to a customizer.
func begin(c object, n int) []logLine {
	if str(c, "type") == "File" {
		return append([]logLine{telemetry("Starting provisioner file")},
			logLine{Text: fmt.Sprintf("==> azure-arm: Uploading %d.customizer.fp => %s", n, str(c, "destination"))})
	}
	return append([]logLine{telemetry("Starting provisioner shell")}, logLine{Text: fmt.Sprintf("==> azure-arm: Provisioning with shell script: /tmp/packer-shell%09d", 100000007*(n+1)%1000000000)})
}

// script lines up a customizer that goes well: each command has its share of the time.
func (p *planner) script(c object, takes time.Duration) {
	p.add(step{Lines: begin(c, len(p.steps))}, 0)
	commands := inlineLines(c)
	share := takes / time.Duration(len(commands)+1)
	rest := takes
	for _, command := range commands {
		if text, prints := echoed(command); prints {
			p.add(step{Lines: out("    azure-arm: " + text)}, 0)
		}
		p.at += share
		rest -= share
	}
	p.at += rest
	word := "shell"
	if str(c, "type") == "File" {
		word = "file"
	}
	p.add(step{Lines: []logLine{telemetry("ending " + word)}}, 0)
}

// fail lines up a customizer that fails: it says what its first command says, then
// what the rule has, and ends with the rule's exit code.
func (p *planner) fail(c object, takes time.Duration) {
	p.add(step{Lines: begin(c, len(p.steps))}, 0)
	if commands := inlineLines(c); len(commands) > 0 {
		if text, prints := echoed(commands[0]); prints {
			p.add(step{Lines: out("    azure-arm: " + text)}, 0)
		}
	}
	p.at += takes / 2
	for _, text := range p.rule.Output {
		p.add(step{Lines: out("    azure-arm: " + text)}, 0)
	}
	code := p.rule.ExitCode
	if code == 0 {
		code = 1
	}
	p.add(step{Lines: exitLines(fmt.Sprintf("Script exited with non-zero exit status: %d. Allowed exit codes are: [0]", code))}, 5*time.Second)
	p.add(step{Failed: "Failed while waiting for packerizer: Microservice has failed: Failed while processing request: Error when executing packerizer: " +
		"Packer build command has failed: exit status 1."}, 0)
}

// exitLines are Packer's last words about a build that failed.
func exitLines(why string) []logLine {
	lines := out("==> azure-arm: Provisioning step had errors: Running the cleanup provisioner, if present...", "==> azure-arm: Deleting individual resources ...",
		"Build 'azure-arm' errored after 3 minutes: "+why, "==> Some builds didn't complete successfully and had errors:", "--> azure-arm: "+why,
		"==> Builds finished but no artifacts were created.")
	return append(lines, telemetry("Finalizing."))
}

// inlineLines are the commands of a customizer, a line each.
func inlineLines(c object) []string {
	list, _ := c["inline"].([]any)
	var lines []string
	for _, v := range list {
		text, _ := v.(string)
		lines = append(lines, strings.Split(text, "\n")...)
	}
	return lines
}

// echoes are the commands whose output is plain to see.
var echoes = regexp.MustCompile(`^\s*echo (?:'([^']*)'|"([^"$` + "`" + `\\]*)"|([A-Za-z0-9 _.,:/=@%+-]*))\s*$`)

// echoed is what a command prints, when it is a plain echo.
func echoed(command string) (text string, prints bool) {
	m := echoes.FindStringSubmatch(command)
	if m == nil {
		return "", false
	}
	return m[1] + m[2] + strings.Join(strings.Fields(m[3]), " "), true
}
