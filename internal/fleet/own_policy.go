package fleet

import (
	"slices"
	"strings"
)

// setWrites are the PATCHes of a set that is there: what needs no evidence, what stands
// behind the gate, and what follows that.
type setWrites struct{ free, gated, again Change }

// writes says what the PATCHes of a set are. To let the platform upgrade or repair members
// needs evidence; to keep it from that, or to set it otherwise, needs none.
func (p *setPlanner) writes(extension *Change) setWrites {
	m := &p.model
	autoOS := p.live("properties", "upgradePolicy", "automaticOSUpgradePolicy", "enableAutomaticOSUpgrade") == true
	mode := UpgradeMode(textAt(p.seen.Seen.Body, "properties", "upgradePolicy", "mode"))
	repairs := p.live("properties", "automaticRepairsPolicy", "enabled") == true
	action := textAt(p.seen.Seen.Body, "properties", "automaticRepairsPolicy", "repairAction")

	free, gated, again := p.managedBody(), Document{}, Document{}
	take := func(name string) { // from behind no gate to behind it
		properties, _ := free["properties"].(Document)
		gated[name] = properties[name]
		delete(properties, name)
	}
	if m.Upgrade.Mode == Rolling && mode != Rolling || m.Upgrade.AutoOS && !autoOS {
		take("upgradePolicy")
	}
	otherAction := m.Repairs.Enabled && repairs && !strings.EqualFold(action, m.Repairs.Action) && (action != "" || m.Repairs.Action != "Replace")
	if m.Repairs.Enabled && !repairs || otherAction {
		take("automaticRepairsPolicy")
	}
	if otherAction { // Azure changes the action of a policy that is off
		again["automaticRepairsPolicy"] = gated["automaticRepairsPolicy"]
		gated["automaticRepairsPolicy"] = Document{"enabled": false}
	}

	w := setWrites{free: p.diff(free), gated: p.diff(Document{"properties": gated}), again: p.diff(Document{"properties": again})}
	stale := slices.ContainsFunc(p.set.Members, func(member Member) bool { return member.runs() && member.stale() })
	if _, later := gated["upgradePolicy"]; later && mode == Automatic && (stale || w.pending(extension) != "") {
		// In this mode Azure brings a model to all members at once.
		properties, _ := free["properties"].(Document)
		properties["upgradePolicy"] = Document{"mode": string(Manual)}
		w.free = p.diff(free)
	}
	if w.again.Action == ActionUpdate {
		w.again.Write.IfMatch = ""
		putAt(w.again.Write.Body, again["automaticRepairsPolicy"], "properties", "automaticRepairsPolicy")
	}
	return w
}

// pending says what makes members stale that is not written yet; empty: nothing.
func (w *setWrites) pending(extension *Change) string {
	switch {
	case extension.Action == ActionCreate || extension.Action == ActionUpdate:
		return "the health extension is not yet what the file says"
	case w.free.changesModel():
		return "the model is not yet what the file says"
	}
	return ""
}

// join makes one PATCH of two, where nothing of the model is pending and the gate is open.
func (w *setWrites) join(open bool) {
	if !open || w.free.Action != ActionUpdate || w.gated.Action != ActionUpdate {
		return
	}
	w.gated.Properties = slices.Concat(w.free.Properties, w.gated.Properties)
	w.gated.Write.Body = overlaid(w.free.Write.Body, w.gated.Write.Body)
	w.free = Change{Action: ActionNone}
}

// mode is the upgrade mode in which members are brought to the model.
func (w *setWrites) mode(set *Set) UpgradeMode {
	if to, ok := dig(w.free.body(), "properties", "upgradePolicy", "mode").(string); ok {
		return UpgradeMode(to)
	}
	if set.Model.Upgrade.Mode == "" {
		return Manual
	}
	return set.Model.Upgrade.Mode
}

func (c *Change) body() Document {
	if c.Write == nil {
		return nil
	}
	return c.Write.Body
}
