package arm

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

// What Azure documents of Run Command.
const (
	runCommandLeast = 20 * time.Second
	runCommandMost  = 90 * time.Minute
	runCommandTail  = 4096 // bytes of output that are returned: the last ones
)

// A RunCommandRule is what scripts answer on machines. Empty fields fit everything; of
// several rules that fit, the first counts.
type RunCommandRule struct {
	Set      string // pattern of the scale set's name
	Version  string // exact version of the image
	Contains string // part of the script

	Stdout, Stderr string
	Takes          time.Duration
	Fails          string // why the operation fails; a script that fails is no failure of it
}

// commandOf is the Run Command that is under way on a machine, or nil.
func (tx *txn) commandOf(r *resource) *operation {
	if o := tx.store.Operations[str(r.Hidden, "command")]; o != nil && o.Status == statusInProgress {
		return o
	}
	return nil
}

// runCommand runs a script on a machine: the action, not the resource runCommands.
func runCommand(tx *txn, c *call, r *resource) (answer, error) {
	script, err := commandScript(c.Body)
	switch {
	case err != nil:
		return answer{}, err
	case str(r.Hidden, "power") != "running":
		return answer{}, conflict("OperationNotAllowed", "The operation requires the VM to be running (or set to run).")
	case atWork(r):
		return answer{}, concurrent()
	case tx.commandOf(r) != nil:
		return answer{}, conflict("Conflict", "Run command extension execution is in progress. Please wait for completion before invoking a run command.")
	}
	o := operation{Kind: vmType, Resource: r.ID, Location: location(str(r.Body, "location")), Name: "runcommand", Method: c.Method}
	rule, scripted := tx.commandRule(r, script)
	takes := min(max(rule.Takes, runCommandLeast), runCommandMost)
	switch {
	case !scripted && tx.real(r):
		o.Args, takes = object{"script": script}, -1 // until the machine has answered
	case rule.Takes > runCommandMost:
		o.Fails = commandTimedOut()
	case rule.Fails != "":
		o.Fails = commandFailed(rule.Fails)
	default:
		o.Output = commandOutput(rule.Stdout, rule.Stderr)
	}
	begun := tx.start(o, takes)
	tx.editHidden(r.ID, func(hidden object) { hidden["command"] = begun.ID })
	if takes < 0 {
		tx.schedule(tx.now.Add(runCommandMost), vmType, r.ID, "command ended", object{"operation": begun.ID})
	}
	return accepted(begun), nil
}

// variableName is what a parameter is called that a script can read.
var variableName = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// commandScript is the script of a call: its lines, with the parameters as variables and
// as arguments.
func commandScript(body object) (string, error) {
	if id := str(body, "commandId"); !strings.EqualFold(id, "RunShellScript") {
		return "", unknown("the command '%s': it runs RunShellScript", id)
	}
	given, _ := body["script"].([]any)
	if len(given) == 0 {
		return "", unknown("RunShellScript without a script, for which Azure runs a sample")
	}
	var lines, values []string
	for _, v := range given {
		line, ok := v.(string)
		if !ok {
			return "", invalid("script", "The value of parameter script is invalid.")
		}
		lines = append(lines, line)
	}
	script := strings.Join(lines, "\n") + "\n"
	parameters, _ := body["parameters"].([]any)
	if len(parameters) == 0 {
		return script, nil
	}
	var head strings.Builder
	for _, v := range parameters {
		p, _ := v.(object)
		name, value := str(p, "name"), quoteShell(str(p, "value"))
		if variableName.MatchString(name) {
			fmt.Fprintf(&head, "export %s=%s\n", name, value)
		}
		values = append(values, value)
	}
	head.WriteString("set -- " + strings.Join(values, " ") + "\n")
	if strings.HasPrefix(script, "#!") { // the first line stays the first
		first, rest, _ := strings.Cut(script, "\n")
		return first + "\n" + head.String() + rest, nil
	}
	return head.String() + script, nil
}

// quoteShell is a word for a shell.
func quoteShell(s string) string { return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'" }

// commandRule is the rule that says what a script answers on a machine; found is false
// when there is none.
func (tx *txn) commandRule(r *resource, script string) (rule RunCommandRule, found bool) {
	id := setOf(r)
	for _, rule := range tx.server.rules.Machines.RunCommands {
		if matchName(rule.Set, id[strings.LastIndexByte(id, '/')+1:]) && strings.Contains(script, rule.Contains) &&
			(rule.Version == "" || rule.Version == str(r.Body, "properties.storageProfile.imageReference.exactVersion")) {
			return rule, true
		}
	}
	return RunCommandRule{}, false
}

// commandOutput is the output of the operation. The script's exit status is not in it,
// and whether it failed is not either.
func commandOutput(stdout, stderr string) object {
	return object{"value": []any{object{
		"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded",
		"message": "Enable succeeded: \n[stdout]\n" + lastBytes(stdout) + "\n[stderr]\n" + lastBytes(stderr),
	}}}
}

// lastBytes is the end of an output, as much of it as is returned.
func lastBytes(s string) string {
	return strings.ToValidUTF8(s[max(len(s)-runCommandTail, 0):], "")
}

func commandTimedOut() *armError {
	return conflict("VMExtensionProvisioningTimeout", "Provisioning of VM extension RunCommandLinux has timed out. "+
		"Extension provisioning has taken too long to complete. The extension did not report a message.")
}

func commandFailed(why string) *armError {
	return conflict("VMAgentStatusCommunicationError", "VM has not reported status for VM agent or extensions: %s", why)
}

// ReportCommand says what became of the script of a Run Command. Its operation ends
// then, but never sooner than Azure's would.
func (s *Server) ReportCommand(id string, result CommandResult) error {
	return s.within(func(tx *txn) error {
		o := tx.store.Operations[id]
		if o == nil || o.Status != statusInProgress || o.Name != "runcommand" {
			return nil // it has timed out
		}
		at := o.Start.Add(runCommandLeast)
		if at.Before(tx.now) {
			at = tx.now
		}
		tx.schedule(at, vmType, o.Resource, "command ended", object{
			"operation": id, "stdout": lastBytes(result.Stdout), "stderr": lastBytes(result.Stderr), "failure": result.Failure, "ended": true,
		})
		return nil
	})
}

// commandEnded ends the operation of a Run Command, with what its script said or because
// of its time.
func (tx *txn) commandEnded(_ string, args object) {
	id := str(args, "operation")
	switch failure := str(args, "failure"); {
	case tx.store.Operations[id] == nil:
	case !boolean(args, "ended"):
		tx.finish(id, commandTimedOut())
	case failure != "":
		tx.finish(id, commandFailed(failure))
	default:
		tx.update(id, func(o *operation) { o.Output = commandOutput(str(args, "stdout"), str(args, "stderr")) })
		tx.finish(id, nil)
	}
}
