package fleet

import (
	"net/http"
	"slices"
	"strings"
)

// kindExtension is the health extension in words.
const kindExtension = "health extension"

// healthSettings are the settings of the health extension that the file says: one that it
// leaves out is not there.
var healthSettings = []string{"protocol", "port", "requestPath", "intervalInSeconds", "numberOfProbes", "gracePeriod"}

// usualOfHealth is what the health extension takes where its settings do not say.
var usualOfHealth = map[string]any{
	"properties.settings.intervalInSeconds": float64(5), "properties.settings.numberOfProbes": float64(1),
}

// extensionChange is the health extension of a set that is there. It is a resource of its
// own, whatever its name: what others have set in it stays, protected settings too.
func (p *setPlanner) extensionChange() Change {
	path := []string{"properties", "virtualMachineProfile", "extensionProfile", "extensions"}
	var found []Document
	for _, one := range listAt(p.seen.Seen.Body, path...) {
		if isHealthExtension(textAt(one, "properties", "publisher"), textAt(one, "properties", "type")) {
			extension, _ := one.(Document)
			found = append(found, extension)
		}
	}
	none := Change{Action: ActionNone, Kind: kindExtension, Name: p.name}
	refused := func(note string) Change {
		none.Action, none.Note = ActionRefused, note
		return none
	}
	if len(p.model.Extensions) == 0 {
		for _, e := range found {
			p.tell(PropertyChange{Path: strings.Join(path, ".") + "[" + textAt(e, "name") + "]", Is: textAt(e, "properties", "type"), Category: DiffUnmanaged, Note: "the file has no health: it stays"})
		}
		return none
	}
	declared, seen := p.model.Extensions[0], Seen{}
	switch {
	case len(found) > 1:
		return refused("it has two health extensions, " + textAt(found[0], "name") + " and " + textAt(found[1], "name") + ": take one of them away")
	case len(found) == 1 && strings.EqualFold(textAt(found[0], "properties", "type"), HealthTypeWindows):
		return refused("its health extension is that of Windows, and the file's is that of Linux")
	case len(found) == 1:
		declared.Name, seen.Body = textAt(found[0], "name"), withoutState(found[0])
	}
	body := extensionBody(&declared)
	delete(body, "name")
	properties, _ := body["properties"].(Document)
	settings, _ := properties["settings"].(map[string]any)
	if seen.Body != nil {
		for _, name := range []string{"publisher", "type", "autoUpgradeMinorVersion", "enableAutomaticUpgrade"} {
			delete(properties, name) // the same, or not for the file to say
		}
	}
	id := p.plan.ID + ResourceID("/extensions/"+declared.Name)
	c := Diff(&Desired{Kind: kindExtension, Name: p.name + "/" + declared.Name, ID: id, Body: body, Usual: usualOfHealth}, seen)
	if seen.Body != nil {
		c.settle(seen.Body, settings)
	}
	p.categorize(&c, false)
	return c
}

// settle makes the settings of a health extension whole, as Azure takes them: what others
// have set in them stays, and what the file leaves out of its own goes.
func (c *Change) settle(seen Document, settings Document) {
	const path = "properties.settings"
	there := dig(seen, strings.Split(path, ".")...)
	gone := Document{}
	for _, name := range healthSettings {
		if is := dig(there, name); is != nil && settings[name] == nil {
			gone[name] = nil
			c.Properties = append(c.Properties, PropertyChange{Path: path + "." + name, Is: is})
		}
	}
	if len(gone) > 0 && c.Action == ActionNone {
		c.Action, c.Write = ActionUpdate, &Write{Method: http.MethodPatch, ID: c.ID, Body: Document{}}
	}
	if !c.changes(path) {
		return
	}
	properties, _ := c.Write.Body["properties"].(Document)
	properties = overlaid(properties, Document{"settings": overlaid(overlaid(there, settings), gone)})
	c.Write.Body["properties"] = properties
}

// tellExtensions tells of the extensions of a set that are not ours.
func (p *setPlanner) tellExtensions() {
	const path = "properties.virtualMachineProfile.extensionProfile.extensions"
	keys := strings.Split(path, ".")
	var extra []any
	if p.file.Create != nil {
		extra = listAt(p.file.Create.Extra, keys...)
	}
	for _, one := range listAt(p.seen.Seen.Body, keys...) {
		name := textAt(one, "name")
		ours := isHealthExtension(textAt(one, "properties", "publisher"), textAt(one, "properties", "type"))
		inFile := slices.ContainsFunc(extra, func(e any) bool { return strings.EqualFold(textAt(e, "name"), name) })
		if !ours && !inFile {
			p.tell(PropertyChange{Path: path + "[" + name + "]", Is: textAt(one, "properties", "type"), Category: DiffUnmanaged, Note: "it stays as it is, and its protected settings with it"})
		}
	}
}
