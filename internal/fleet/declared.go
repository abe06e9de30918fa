package fleet

import (
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// definitionID is the id of the file's image definition, or "".
func (s *Spec) definitionID() ResourceID {
	gallery := s.GalleryID()
	if gallery == "" || s.Gallery.Image.Name == "" {
		return ""
	}
	return gallery + "/images/" + ResourceID(s.Gallery.Image.Name)
}

// replicas returns how many replicas a version of the file's gallery gets in each
// region: those with a number of their own, and those of the scale sets.
func (s *Spec) replicas() map[string]int {
	regions := make(map[string]int)
	if s.Gallery == nil {
		return regions
	}
	for _, set := range s.ScaleSets {
		if set.Location != "" {
			regions[NormalLocation(set.Location)] = s.Gallery.Replicas
		}
	}
	for region, n := range s.Gallery.Regions {
		regions[NormalLocation(region)] = n
	}
	return regions
}

// declared returns the model that the file asks for. The image of a pinned set is
// none of it: that belongs to rollouts.
func (s *Spec) declared(name string) *ScaleSet {
	set := s.ScaleSets[name]
	m := &ScaleSet{
		ID:           s.SetID(name),
		Location:     NormalLocation(set.Location),
		Tags:         set.Tags,
		Flexible:     true,
		OSDiskDelete: deleteDisk,
		Upgrade:      set.Upgrade.policy(),
	}
	if c := set.Create; c != nil {
		m.create(c)
	}
	if set.Health != nil {
		m.Extensions = []Extension{set.Health.extension()}
	}
	if set.Tracks == TracksLatest {
		m.Image.ID = string(s.definitionID())
	}
	if r := set.Repairs; r != nil {
		m.Repairs = RepairsPolicy{Enabled: true, Grace: &r.After, Action: capital(r.Action)}
	}
	if set.TerminateNotice > 0 {
		m.TerminateNotice = &Notice{Enabled: true, NotBefore: set.TerminateNotice}
	}
	if set.OSImageNotification {
		m.OSImageNotice = &Notice{Enabled: true, NotBefore: osImageNotBefore}
	}
	if sp := set.Spot; sp != nil {
		m.Spot, m.EvictionPolicy = true, capital(sp.Eviction)
		m.PriorityMix = &PriorityMix{RegularBase: sp.RegularBase, RegularAboveBase: int(sp.RegularAboveBase)}
		m.SpotRestore = &SpotRestore{Enabled: sp.Restore > 0, Timeout: sp.Restore}
	}
	return m
}

// Values that Azure knows one spelling of.
const (
	deleteDisk       = "Delete"
	osImageNotBefore = 15 * time.Minute
)

// create fills in what a set is made from, and what the raw ARM of the file says
// about it.
func (m *ScaleSet) create(c *CreateSpec) {
	m.Capacity, m.VMSize, m.FaultDomains = c.Capacity, c.VMSize, c.FaultDomains
	for _, zone := range c.Zones {
		m.Zones = append(m.Zones, strconv.Itoa(zone))
	}
	m.SubnetID = string(c.Network.Subnet)
	if single, ok := dig(c.Extra, "properties", "singlePlacementGroup").(bool); ok {
		m.SinglePlacement = &single
	}
	if identity, ok := dig(c.Extra, "identity", "type").(string); ok {
		m.SystemIdentity = strings.Contains(strings.ToLower(identity), "systemassigned")
	}
	if option, ok := dig(c.Extra, "properties", "virtualMachineProfile", "storageProfile", "osDisk", "deleteOption").(string); ok {
		m.OSDiskDelete = option
	}
}

// policy is the upgrade policy that a driver asks for. The thresholds of batches are
// fleetctl's own, and stand where the platform's do.
func (u *UpgradeSpec) policy() UpgradePolicy {
	batch, unhealthy, upgraded := int(u.Batch), int(u.MaxUnhealthy), int(u.MaxUnhealthyUpgraded)
	p := UpgradePolicy{Mode: Manual, Rolling: RollingPolicy{
		MaxBatch: &batch, MaxUnhealthy: &unhealthy, MaxUnhealthyUpgraded: &upgraded, Pause: &u.Pause,
		PrioritizeUnhealthy: u.PrioritizeUnhealthy, MaxSurge: u.MaxSurge, CrossZone: u.CrossZone,
	}}
	if u.Driver == DriverPlatformRolling {
		p.Mode = Rolling
	}
	if u.Driver == DriverPlatformAutoOS || isTrue(u.AutoOS) {
		p.AutoOS, p.UseRolling = true, new(true)
	}
	if u.AutoOSRollback != nil {
		p.DisableRollback = new(!*u.AutoOSRollback)
	}
	return p
}

func (h *HealthSpec) extension() Extension {
	settings := map[string]any{"protocol": h.Protocol}
	put := func(key string, n int) {
		if n != 0 {
			settings[key] = n
		}
	}
	put("port", h.Port)
	put("intervalInSeconds", int(h.Interval/time.Second))
	put("numberOfProbes", h.Probes)
	put("gracePeriod", int(h.Grace/time.Second))
	if h.Path != "" {
		settings["requestPath"] = h.Path
	}
	return Extension{
		Name: HealthTypeLinux, Publisher: HealthPublisher, Type: HealthTypeLinux,
		Version: h.Extension, Settings: settings,
	}
}

// setting is the autoscale setting that the file asks for.
func (a *AutoscaleSpec) setting() *Autoscale {
	if a == nil {
		return nil
	}
	s := &Autoscale{Enabled: true, Min: a.Min, Max: a.Max, Def: a.Default}
	if r := a.Out; r != nil {
		s.Rules = append(s.Rules, ScaleRule{
			Metric: r.Metric, Aggregation: "Average", Operator: "GreaterThan", Threshold: r.Above, Out: true,
			By: r.By, Window: r.Over, Cooldown: r.Cooldown,
		})
	}
	if r := a.In; r != nil {
		s.Rules = append(s.Rules, ScaleRule{
			Metric: r.Metric, Aggregation: "Average", Operator: "LessThan", Threshold: r.Below,
			By: r.By, Window: r.Over, Cooldown: r.Cooldown,
		})
	}
	if p := a.Predictive; p != nil {
		s.LookAhead = p.LookAhead
		s.Predictive = p.Mode
		if mode, known := predictiveModes[p.Mode]; known {
			s.Predictive = mode
		}
	}
	return s
}

// predictiveModes are Azure's words for those of the file.
var predictiveModes = map[string]string{"off": "Disabled", "forecast-only": "ForecastOnly", "enabled": "Enabled"}

// setNames returns the names of the file's scale sets, sorted.
func (s *Spec) setNames() []string { return slices.Sorted(maps.Keys(s.ScaleSets)) }

// capital writes a word of the file as Azure does: "replace" as "Replace".
func capital(word string) string {
	if word == "" {
		return ""
	}
	return strings.ToUpper(word[:1]) + word[1:]
}

func isTrue(b *bool) bool  { return b != nil && *b }
func isFalse(b *bool) bool { return b != nil && !*b }

// dig returns what stands in decoded JSON below the keys, or nil. Azure does not tell
// the letters of keys apart.
func dig(v any, keys ...string) any {
	for _, key := range keys {
		object, ok := v.(map[string]any)
		if !ok {
			return nil
		}
		v = lookUp(object, key)
	}
	return v
}

func lookUp(object map[string]any, key string) any {
	if v, ok := object[key]; ok {
		return v
	}
	for name, v := range object {
		if strings.EqualFold(name, key) {
			return v
		}
	}
	return nil
}

// textAt and listAt return what stands below the keys, if it is that.
func textAt(v any, keys ...string) string {
	s, _ := dig(v, keys...).(string)
	return s
}

func listAt(v any, keys ...string) []any {
	l, _ := dig(v, keys...).([]any)
	return l
}

// integer returns a whole number, in any form in which JSON or YAML may give one.
func integer(v any) (int, bool) {
	switch n := v.(type) {
	case int:
		return n, true
	case int64:
		return int(n), true
	case float64:
		return int(n), n == float64(int(n))
	case interface{ Int64() (int64, error) }: // a json.Number
		i, err := n.Int64()
		return int(i), err == nil
	}
	return 0, false
}
