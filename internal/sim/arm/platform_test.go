package arm

import (
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// TestPlatformScenario: what the platform does in the example that is about it, and that
// the documentation shows it as it is.
func TestPlatformScenario(t *testing.T) {
	sc, err := Example("platform")
	require.NoError(t, err)
	clock := NewClock(sc.Start(), 0)
	w := newWorld(t, func(c *Config) { c.Clock, c.Rules = clock, sc.Rules() })
	require.NoError(t, w.server.Apply(sc))
	setID := func(name string) string { return strings.TrimSuffix(aSet, "vmss-authz") + name }

	w.server.Advance(92 * time.Minute)
	require.Contains(t, w.do("PATCH", setID("vmss-batch"), `{"tags":{}}`).refused(409, "OperationNotAllowed"), "upgrading the virtual machine agent")
	w.server.Advance(28 * time.Minute)

	var lines []string
	for _, e := range slices.Backward(w.events(sinceEpoch)) {
		caller, _, _ := strings.Cut(str(e, "caller"), "/")
		if !strings.HasPrefix(caller, "Microsoft.") {
			continue // of this test
		}
		operation := str(e, "operationName.value")
		lines = append(lines, fmt.Sprintf("%s %-18s %-20s %s", str(e, "eventTimestamp")[11:19], caller, name(str(e, "resourceId")), operation[strings.IndexByte(operation, '/')+1:]))
	}
	text := "```\n" + strings.Join(lines, "\n") + "\n```\n"
	doc, err := os.ReadFile("../../../docs/simulated-azure.md")
	require.NoError(t, err)
	require.Contains(t, string(doc), text, "what the documentation has to show:\n%s", text)

	h := items(object{"all": anys(w.all(setID("vmss-portal") + "/osUpgradeHistory"))}, "all")
	require.Len(t, h, 1)
	require.Equal(t, []string{"Faulted", "Platform", "1.8.0", unhealthyUpgraded}, []string{
		str(h[0], "properties.runningStatus.code"), str(h[0], "properties.startedBy"),
		str(h[0], "properties.targetImageReference.exactVersion"), str(h[0], "properties.error.code"),
	})
	require.EqualValues(t, 1, dig(h[0], "properties.rollbackInfo.successfullyRolledbackInstanceCount"))

	all, err := w.server.Disks()
	require.NoError(t, err)
	all = slices.DeleteFunc(all, func(d Disk) bool { return d.Version != "1.8.0" })
	require.Len(t, all, 1, "one member ever had it")
	line, err := json.Marshal([]any{all[0].Member, all[0].From, all[0].Ran, all[0].Until})
	require.NoError(t, err)
	require.Contains(t, string(doc), "'.disks[] | select(.version == \"1.8.0\") | [.member, .from, .ran, .until]'\n"+string(line)+"\n```\n")
	require.Equal(t, 3, capacityOf(w.get(setID("vmss-authz")).body))
	for _, set := range []string{"vmss-portal", "vmss-authz", "vmss-batch"} {
		list := w.all(vms + "?$expand=instanceView&$filter=" + "'virtualMachineScaleSet/id'%20eq%20'" + setID(set) + "'")
		require.Equal(t, map[string]int{"running HealthState/healthy": 3}, states(list), set)
	}
}

// TestBatchesAsDocumented: the table of the documentation is what the arithmetic gives.
func TestBatchesAsDocumented(t *testing.T) {
	doc, err := os.ReadFile("../../../docs/simulated-azure.md")
	require.NoError(t, err)
	_, table, _ := strings.Cut(string(doc), "|---:|---:|---:|---:|---:|---:|\n")
	rows := 0
	for row := range strings.Lines(table) {
		var cells []int
		for cell := range strings.SplitSeq(strings.Trim(row, "|\n"), "|") {
			if n, err := strconv.Atoi(strings.ReplaceAll(strings.TrimSpace(cell), ",", "")); err == nil {
				cells = append(cells, n)
			}
		}
		if len(cells) == 0 {
			break
		}
		rows++
		n, halts := cells[0], 0
		for !exceeds(halts, n, 20) {
			halts++
		}
		require.Equal(t, []int{n, batchSize(n, 5), batchSize(n, 20), batchSize(n, 40), batchSize(n, 100), halts}, cells)
	}
	require.Equal(t, 7, rows)
}

func name(id string) string { return id[strings.LastIndexByte(id, '/')+1:] }

func anys(list []object) []any {
	all := make([]any, len(list))
	for i, o := range list {
		all[i] = o
	}
	return all
}
