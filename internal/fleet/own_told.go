package fleet

import (
	"maps"
	"slices"
	"strings"
)

// tellCreateOnly tells where a set that is there differs from what create says, which is
// for a new one alone, and what of the file cannot be compared at all.
func (p *setPlanner) tellCreateOnly() {
	p.tellExtensions()
	c := p.file.Create
	if c == nil {
		return
	}
	is := func(path string) any { return p.live(strings.Split(path, ".")...) }
	const profile = "properties.virtualMachineProfile."
	tell := func(path string, is, want any) {
		if !sameScalar(path, is, want) {
			p.tell(PropertyChange{Path: path, Is: is, Want: want, Category: DiffCreateOnly})
		}
	}
	tell("sku.name", is("sku.name"), c.VMSize)
	if there := listAt(p.seen.Seen.Body, "zones"); len(there) > 0 && len(c.Zones) == 0 && lookUp(c.Extra, "zones") == nil { // those of the file are compared as its shape
		tell("zones", there, nil)
	}
	if p.file.Autoscale == nil && p.seen.AutoscaleID == "" {
		tell("sku.capacity", is("sku.capacity"), float64(c.Capacity))
	}
	tell(profile+"osProfile.adminUsername", is(profile+"osProfile.adminUsername"), c.Admin)
	if keys := listAt(p.seen.Seen.Body, "properties", "virtualMachineProfile", "osProfile", "linuxConfiguration", "ssh", "publicKeys"); len(keys) > 0 {
		if declared := p.options.SSHKeys[p.name]; declared != "" {
			tell(profile+"osProfile.linuxConfiguration.ssh.publicKeys", shortKey(textAt(keys[0], "keyData")), shortKey(declared))
		}
	}
	subnet, pools := primaryAddress(p.seen.Seen.Body)
	tell(profile+"networkProfile.subnet", subnet, string(c.Network.Subnet))
	tell(profile+"networkProfile.loadBalancerBackendAddressPools", idsText(pools), idsText(c.Network.BackendPools))
	p.tellExtra(c.Extra)
}

// tellExtra tells where raw properties differ.
func (p *setPlanner) tellExtra(extra map[string]any) {
	shown, _ := p.withoutSecrets("", extra).(Document)
	found := comparison{desired: &Desired{Usual: usualOfSet}}
	found.object("", p.seen.Seen.Body, shown)
	for _, c := range found.changes {
		if fixedBy(fixedOfSet, c.Path) == "" {
			c.Category, c.Is, c.Want = DiffCreateOnly, redacted(c.Is), redacted(c.Want)
			p.tell(c)
		}
	}
}

// secretsOfSet are the properties that Azure takes and never shows.
var secretsOfSet = []string{"protectedSettings", "adminPassword", "customData", "userData"}

// withoutSecrets is a part of extra without what cannot be compared, which it tells, and
// without what extra takes away.
func (p *setPlanner) withoutSecrets(path string, part any) any {
	switch part := part.(type) {
	case []any:
		var list []any
		for _, one := range part {
			at := path
			if name := textAt(one, "name"); name != "" {
				at += "[" + name + "]"
			}
			list = append(list, p.withoutSecrets(at, one))
		}
		return list
	case Document:
		kept := Document{}
		for _, key := range slices.Sorted(maps.Keys(part)) {
			below := pathTo(path, key)
			switch {
			case part[key] == nil:
			case slices.ContainsFunc(secretsOfSet, func(secret string) bool { return strings.EqualFold(secret, key) }):
				p.tell(PropertyChange{Path: below, Category: DiffNotComparable, Note: "Azure does not show it: it stays as it is"})
			default:
				kept[key] = p.withoutSecrets(below, part[key])
			}
		}
		return kept
	default:
		return part
	}
}

// shortKey is a public key without its comment, and short enough to be read.
func shortKey(key string) string {
	const most = 40
	fields := strings.Fields(key)
	key = strings.Join(fields[:min(len(fields), 2)], " ")
	if len(key) > most {
		return key[:most/2] + "…" + key[len(key)-most/2:]
	}
	return key
}

// idsText are ids in one text, whatever their order was; nil: there are none.
func idsText(ids []ResourceID) any {
	if len(ids) == 0 {
		return nil
	}
	var texts []string
	for _, id := range slices.SortedFunc(slices.Values(ids), func(a, b ResourceID) int { return strings.Compare(Key(a), Key(b)) }) {
		texts = append(texts, strings.TrimRight(string(id), "/"))
	}
	return strings.Join(texts, ", ")
}

// primaryAddress returns the subnet of a set's primary address, and its backend pools.
func primaryAddress(body Document) (subnet string, pools []ResourceID) {
	primary := func(list []any) any {
		for _, one := range list {
			if dig(one, "properties", "primary") == true {
				return one
			}
		}
		if len(list) > 0 {
			return list[0]
		}
		return nil
	}
	card := primary(listAt(body, "properties", "virtualMachineProfile", "networkProfile", "networkInterfaceConfigurations"))
	address := primary(listAt(card, "properties", "ipConfigurations"))
	for _, pool := range listAt(address, "properties", "loadBalancerBackendAddressPools") {
		pools = append(pools, ResourceID(textAt(pool, "id")))
	}
	return textAt(address, "properties", "subnet", "id"), pools
}
