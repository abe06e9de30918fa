package armjudge

import (
	"flag"
	"fmt"
	"io"
	"maps"
	"os"
	"slices"
	"strings"
	"sync"
)

// article are the types of resources that the commands of the article write, with a
// command of each.
var article = map[string]string{
	"Microsoft.Authorization/roleAssignments":                   "az role assignment create",
	"Microsoft.Authorization/roleDefinitions":                   "its custom role in the place of Contributor",
	"Microsoft.Compute/galleries":                               "az sig create",
	"Microsoft.Compute/galleries/images":                        "az sig image-definition create",
	"Microsoft.Compute/galleries/images/versions":               "az sig image-version update",
	"Microsoft.Compute/virtualMachines":                         "its members are virtual machines",
	"Microsoft.Compute/virtualMachineScaleSets":                 "az vmss create, update, update-instances",
	"Microsoft.Compute/virtualMachineScaleSets/extensions":      "az vmss extension set",
	"Microsoft.Compute/virtualMachineScaleSets/virtualMachines": "az vmss update --instance-id",
	"Microsoft.Insights/autoscaleSettings":                      "az monitor autoscale create, rule create",
	"Microsoft.ManagedIdentity/userAssignedIdentities":          "az identity create",
	"Microsoft.Resources/resourceGroups":                        "az group create",
	"Microsoft.VirtualMachineImages/imageTemplates":             "az deployment group create, of a template",
}

// A Session is the tests of a package. It runs them, and says what was judged.
type Session struct {
	// M runs the tests: a *testing.M.
	M interface{ Run() int }
	// Article wants each type of resource that the article writes among what was judged,
	// and each excuse to be needed, when all tests of the package ran and none failed.
	Article bool
}

// Run runs the tests, and returns the exit code.
func (s Session) Run() int {
	code := s.M.Run()
	return total.verdict(os.Stdout, code, s.Article && whole(flag.CommandLine))
}

// whole says whether the flags ask for all tests.
func whole(flags *flag.FlagSet) bool {
	for name, usual := range map[string]string{"test.run": "", "test.skip": "", "test.list": "", "test.count": "1", "test.short": "false"} {
		if f := flags.Lookup(name); f != nil && f.Value.String() != usual {
			return false
		}
	}
	return true
}

// total is what was judged for all tests of this process.
var total tally

type tally struct {
	mu       sync.Mutex // guards what follows
	servers  int
	sent     map[string]int // by "PATCH Microsoft.Compute/galleries"
	findings int
	excused  map[excuse]int
}

func (t *tally) add(sent map[string]int, findings int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.sent == nil {
		t.sent = make(map[string]int)
	}
	t.servers++
	t.findings += findings
	for what, n := range sent {
		t.sent[what] += n
	}
}

func (t *tally) excuse(e excuse) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.excused == nil {
		t.excused = make(map[excuse]int)
	}
	t.excused[e]++
}

// verdict prints what was judged, and returns the exit code of the tests, or 1 when it
// has to be all and is not.
func (t *tally) verdict(w io.Writer, code int, all bool) int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if types, err := published(); types == nil && err == nil {
		_, _ = fmt.Fprintln(w, "judged nothing: shared/azure/types is not beside the repository")
		return code
	}
	if t.servers == 0 {
		return code
	}
	bodies, excused := 0, 0
	var kinds []string
	for _, what := range slices.Sorted(maps.Keys(t.sent)) {
		bodies += t.sent[what]
		kinds = append(kinds, fmt.Sprintf("%d %s", t.sent[what], what))
	}
	for _, n := range t.excused {
		excused += n
	}
	_, _ = fmt.Fprintf(w, "judged %d bodies sent to %d servers, of %d types of resources: %d findings, %d excused; %s\n",
		bodies, t.servers, len(t.types()), t.findings, excused, strings.Join(kinds, ", "))
	if !all || code != 0 {
		return code
	}
	for _, name := range slices.Sorted(maps.Keys(article)) {
		if t.types()[strings.ToLower(name)] == 0 {
			_, _ = fmt.Fprintf(w, "no test had a body of %s judged, which the article writes: %s\n", name, article[name])
			code = 1
		}
	}
	for _, e := range excuses {
		if t.excused[e] == 0 {
			_, _ = fmt.Fprintf(w, "no test needs this excuse any more: %s of %s\n", e.path, e.what)
			code = 1
		}
	}
	return code
}

// types are the bodies by the type of resource, in lower case.
func (t *tally) types() map[string]int {
	all := make(map[string]int)
	for what, n := range t.sent {
		all[strings.ToLower(strings.Fields(what)[1])] += n
	}
	return all
}
