package adopt

import (
	"errors"
	"fmt"
	"path"
	"slices"
	"strings"
)

// maxName is the longest name of a unit (UNIT_NAME_MAX of systemd).
const maxName = 255

// types of units that can be workloads, and all the others.
var (
	workloadTypes = []string{".service", ".socket", ".timer", ".path"}
	otherTypes    = []string{".target", ".slice", ".scope", ".mount", ".automount", ".swap", ".device"}
)

// A refusal is the error about a unit that must not be a workload.
type refusal struct{ unit, why string }

func (r refusal) Error() string { return "refuse " + r.unit + ": " + r.why }

func refuse(unit, why string) error { return refusal{unit, why} }

// reason is why a unit was refused, or else the error.
func reason(err error) string {
	if r, ok := errors.AsType[refusal](err); ok {
		return r.why
	}
	return err.Error()
}

// never are the units that a drain must not stop, by how their names begin.
var never = []struct{ prefix, why string }{
	{"systemd-", "it is a part of systemd: the drain needs it, and so does the shutdown"},
	{"dbus", "the agent asks for every stop over D-Bus, so the drain would cut itself off"},
	{"polkit", "it allows the agent to stop units, so the drain would cut itself off"},
	{"fleet-", "the agent does the draining"},
	{"walinuxagent", runsExtension},
	{"waagent", runsExtension},
	{"azure-proxy-agent", "it lets the agent ask the metadata service"},
	{"hv-", "it talks to Azure's host"},
	{"hv_", "it talks to Azure's host"},
	{"cloud-", "cloud-init sets the machine up, and has nothing to finish"},
	{"ssh", lookAround},
	{"getty@", lookAround},
	{"serial-getty@", lookAround},
	{"network", overNetwork},
	{"NetworkManager", overNetwork},
}

const (
	runsExtension = "Azure's agent runs the health extension: the VM would count as not healthy while it drains"
	lookAround    = "an operator could not look at a drain that hangs"
	overNetwork   = "the workloads finish their work over the network"
)

// fullName checks a unit's name and completes it as systemctl does: "nginx" is
// nginx.service.
func fullName(name string) (string, error) {
	bad := func(why string) (string, error) { return "", fmt.Errorf("%q is no name of a unit: %s", name, why) }
	full := name
	if ext := path.Ext(name); !slices.Contains(workloadTypes, ext) && !slices.Contains(otherTypes, ext) {
		full += ".service"
	}
	prefix := strings.TrimSuffix(full, path.Ext(full))
	allowed := func(r rune) bool {
		return r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z' || r >= '0' && r <= '9' || strings.ContainsRune(`:-_.\@`, r)
	}
	switch i := strings.IndexFunc(full, func(r rune) bool { return !allowed(r) }); {
	case name == "":
		return bad("it is empty")
	case i >= 0:
		return bad(fmt.Sprintf("%q is not allowed in one", []rune(full[i:])[0]))
	case len(full) > maxName:
		return bad(fmt.Sprintf("it is longer than %d characters", maxName))
	case prefix == "", prefix[0] == '@', prefix[0] == '.':
		return bad("it has nothing before the " + strings.TrimPrefix(full, strings.TrimLeft(prefix, ".")))
	}
	return full, nil
}

// allow refuses names that no workload has.
func allow(name string) error {
	for _, n := range never {
		if strings.HasPrefix(name, n.prefix) {
			return refuse(name, n.why)
		}
	}
	if !slices.Contains(workloadTypes, path.Ext(name)) {
		return refuse(name, "only "+strings.Join(workloadTypes, ", ")+" units can be workloads")
	}
	if template, instance, ok := cutInstance(name); ok && instance == "" {
		return refuse(name, "it is a template: name an instance, such as "+strings.Replace(template, "@", "@1", 1))
	}
	return nil
}

// cutInstance splits app@1.service into its template app@.service and "1"; ok is
// false for a unit that comes from no template.
func cutInstance(name string) (template, instance string, ok bool) {
	ext := path.Ext(name)
	prefix, instance, ok := strings.Cut(strings.TrimSuffix(name, ext), "@")
	return prefix + "@" + ext, instance, ok
}
