package arm

import (
	"bytes"
	"cmp"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Apply puts what a scenario describes into the simulation: all of it or, with an
// error, nothing. What is written is not judged: a scenario may hold what Azure
// would have refused.
func (s *Server) Apply(sc *Scenario) error {
	err := s.within(func(tx *txn) error {
		b := builder{tx: tx, file: &sc.file, subscription: s.cfg.Subscription}
		return b.build()
	})
	if err != nil {
		return fmt.Errorf("apply scenario %s: %w", sc.Name, err)
	}
	for _, f := range sc.file.Faults {
		if err := s.SetFault(f.fault()); err != nil {
			return fmt.Errorf("apply scenario %s: %w", sc.Name, err)
		}
	}
	return nil
}

// A builder makes resources of a scenario file.
type builder struct {
	tx           *txn
	file         *scenarioFile
	subscription string
}

func (b *builder) build() error {
	for _, g := range b.file.ResourceGroups {
		body := object{"location": cmp.Or(g.Location, b.file.Location, "eastus")}
		if g.Tags != nil {
			body["tags"] = tagsOf(g.Tags)
		}
		set(body, "properties.provisioningState", statusSucceeded)
		b.tx.put(resource{ID: groupID(b.subscription, g.Name), Type: groupType, Body: body})
	}
	for namespace, state := range b.file.Providers {
		b.tx.put(resource{ID: b.tx.server.registrationID(namespace), Type: registration, Hidden: object{"state": state}})
	}
	for _, r := range b.file.Resources {
		if err := b.raw(r); err != nil {
			return err
		}
	}
	for _, a := range b.file.StorageAccounts {
		if err := b.storage(a); err != nil {
			return err
		}
	}
	if err := b.access(); err != nil {
		return err
	}
	if err := b.builds(); err != nil {
		return err
	}
	for _, g := range b.file.Galleries {
		if err := b.gallery(g); err != nil {
			return err
		}
	}
	for _, s := range b.file.ScaleSets {
		if err := b.scaleSet(s); err != nil {
			return err
		}
	}
	for _, a := range b.file.Autoscale {
		if err := b.autoscale(a); err != nil {
			return err
		}
	}
	if err := b.platform(); err != nil {
		return err
	}
	for _, t := range b.file.Templates {
		if err := b.template(t); err != nil {
			return err
		}
	}
	return nil
}

// scope is the id of a resource's resource group, which is made when it is missing.
func (b *builder) scope(p place) string {
	id := groupID(b.subscription, cmp.Or(p.ResourceGroup, b.file.ResourceGroup, "rg-pay-prod"))
	if b.tx.get(id) == nil {
		b.tx.put(resource{ID: id, Type: groupType, Body: object{
			"location": b.region(p), "properties": object{"provisioningState": statusSucceeded},
		}})
	}
	return id
}

func (b *builder) region(p place) string { return cmp.Or(p.Location, b.file.Location, "eastus") }

// put stores a resource whose body has Go's types and raw ARM merged over it.
func (b *builder) put(id, typ string, body object, raw map[string]any, hidden object) (*resource, error) {
	body, err := normal(body)
	if err != nil {
		return nil, err
	}
	patch, err := normal(raw)
	if err != nil {
		return nil, fmt.Errorf("%s: body: %w", id, err)
	}
	return b.tx.put(resource{ID: id, Type: typ, Body: merge(body, patch), Hidden: hidden}), nil
}

// normal is an object as if it had come in a request.
func normal(o map[string]any) (object, error) {
	data, err := json.Marshal(o)
	if err != nil {
		return nil, fmt.Errorf("make it JSON: %w", err)
	}
	dec := json.NewDecoder(bytes.NewReader(data))
	dec.UseNumber()
	var n object
	err = dec.Decode(&n)
	return n, err
}

func tagsOf(tags map[string]string) object {
	o := object{}
	for name, value := range tags {
		o[name] = value
	}
	return o
}

// located is a body with a location and tags.
func (b *builder) located(p place, properties object) object {
	body := object{"location": b.region(p), "properties": properties}
	if p.Tags != nil {
		body["tags"] = tagsOf(p.Tags)
	}
	return body
}

// ago is the time that a span ago was.
func (b *builder) ago(a age) string { return stamp(b.tx.now.Add(-time.Duration(a))) }

func (b *builder) raw(r rawSpec) error {
	id := r.ID
	if !strings.HasPrefix(id, "/") {
		id = b.scope(place{}) + "/providers/" + id
	}
	t, err := parsePath(id)
	if err != nil {
		return err
	}
	if t.namespace == "" || len(t.types) == 0 || t.collection() {
		return fmt.Errorf("%s is not the id of a resource", r.ID)
	}
	if t.group != "" {
		b.scope(place{ResourceGroup: t.group})
	}
	_, err = b.put(b.tx.canonical(t), cmp.Or(b.tx.server.kind(t.kind()).name, t.kind()), object{}, r.Body, nil)
	return err
}

func (b *builder) gallery(g gallerySpec) error {
	id := b.scope(g.place) + "/providers/" + galleryType + "/" + g.Name
	body := b.located(g.place, object{"provisioningState": statusSucceeded, "identifier": object{
		"uniqueName": b.subscription + "-" + strings.ToUpper(g.Name),
	}})
	if _, err := b.put(id, galleryType, body, g.Body, nil); err != nil {
		return err
	}
	for _, d := range g.Definitions {
		if err := b.definition(g, id, d); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) definition(g gallerySpec, galleryID string, d definitionSpec) error {
	id := galleryID + "/images/" + d.Name
	p := object{
		"osType": cmp.Or(d.OS, "Linux"), "osState": cmp.Or(d.State, "Generalized"), "hyperVGeneration": cmp.Or(d.HyperV, "V2"),
		"architecture": "x64", "identifier": object{"publisher": d.Publisher, "offer": d.Offer, "sku": d.SKU},
		"provisioningState": statusSucceeded,
	}
	if d.SecurityType != "" {
		p["features"] = []any{object{"name": "SecurityType", "value": d.SecurityType}}
	}
	if _, err := b.put(id, definitionType, b.located(g.place, p), d.Body, nil); err != nil {
		return err
	}
	for _, v := range d.Versions {
		if err := b.version(g, id, v); err != nil {
			return err
		}
	}
	return nil
}

func (b *builder) version(g gallerySpec, definitionID string, v versionSpec) error {
	storage := cmp.Or(v.Storage, "Standard_LRS")
	targets := []any{}
	for _, name := range slices.Sorted(maps.Keys(v.Regions)) {
		r := v.Regions[name]
		targets = append(targets, object{
			"name": displayName(name), "regionalReplicaCount": max(r.Replicas, 1), "storageAccountType": cmp.Or(r.Storage, storage),
			"excludeFromLatest": r.Excluded,
		})
	}
	publishing := object{
		"targetRegions": targets, "replicaCount": 1, "excludeFromLatest": v.Excluded, "publishedDate": b.ago(v.Published),
		"storageAccountType": storage, "replicationMode": cmp.Or(v.Mode, "Full"),
	}
	if v.EndOfLife != 0 {
		publishing["endOfLifeDate"] = b.ago(-v.EndOfLife)
	}
	p := object{
		"publishingProfile": publishing,
		"safetyProfile": object{
			"allowDeletionOfReplicatedLocations": true, "blockDeletionBeforeEndOfLife": v.BlockDelete, "reportedForPolicyViolation": false,
		},
		"storageProfile": object{
			"source":      object{"id": scopeOf(definitionID) + "/providers/Microsoft.Compute/images/build-" + strings.ReplaceAll(v.Name, ".", "-")},
			"osDiskImage": object{"sizeInGB": 30, "hostCaching": "ReadWrite"},
		},
		"provisioningState": cmp.Or(v.Provisioning, statusSucceeded),
	}
	body := b.located(place{Location: g.Location, Tags: v.Tags}, p)
	where := object{}
	for name, r := range v.Regions {
		state := object{"state": cmp.Or(r.State, regionCompleted)}
		if r.State == regionReplicating {
			state["progress"] = r.Progress
		}
		if r.Details != "" {
			state["details"] = r.Details
		}
		where[location(name)] = state
	}
	hidden, err := normal(object{"regions": where})
	if err != nil {
		return err
	}
	if v.Health != "" {
		hidden["health"] = v.Health
	}
	_, err = b.put(definitionID+"/versions/"+v.Name, versionType, body, v.Body, hidden)
	return err
}

// imageRef is the reference that a scenario's short form means.
func (b *builder) imageRef(image string) object {
	if parts := strings.Split(image, ":"); len(parts) == 4 {
		return object{"publisher": parts[0], "offer": parts[1], "sku": parts[2], "version": parts[3]}
	}
	if strings.HasPrefix(image, "/") {
		return object{"id": image}
	}
	parts := strings.Split(image, "/")
	id := "/images/" + parts[1]
	if len(parts) == 3 {
		id += "/versions/" + parts[2]
	}
	for _, g := range b.file.Galleries {
		if strings.EqualFold(g.Name, parts[0]) {
			return object{"id": b.scope(g.place) + "/providers/" + galleryType + "/" + g.Name + id}
		}
	}
	return object{}
}

func (b *builder) autoscale(a autoscaleSpec) error {
	target := ""
	for _, s := range b.file.ScaleSets {
		if strings.EqualFold(s.Name, a.ScaleSet) {
			target = b.scope(s.place) + "/providers/" + setType + "/" + s.Name
		}
	}
	rules := []any{}
	for _, r := range a.Rules {
		trigger := object{
			"metricName": cmp.Or(r.Metric, "Percentage CPU"), "metricResourceUri": target, "timeGrain": "PT1M", "statistic": "Average",
			"timeWindow": iso(time.Duration(cmp.Or(r.Over, age(5*time.Minute)))), "timeAggregation": "Average",
		}
		action := object{"type": "ChangeCount", "value": strconv.Itoa(max(r.By, 1)), "cooldown": iso(time.Duration(cmp.Or(r.Cooldown, age(5*time.Minute))))}
		if r.Above != nil {
			trigger["operator"], trigger["threshold"], action["direction"] = "GreaterThan", *r.Above, "Increase"
		} else {
			trigger["operator"], trigger["threshold"], action["direction"] = "LessThan", *r.Below, "Decrease"
		}
		rules = append(rules, object{"metricTrigger": trigger, "scaleAction": action})
	}
	p := object{
		"name": a.Name, "enabled": !a.Disabled, "targetResourceUri": target, "notifications": []any{},
		"profiles": []any{object{
			"name": "default", "rules": rules,
			"capacity": object{"minimum": strconv.Itoa(a.Min), "maximum": strconv.Itoa(a.Max), "default": strconv.Itoa(cmp.Or(a.Default, a.Min))},
		}},
	}
	if a.Predictive != nil {
		policy := object{"scaleMode": a.Predictive.Mode}
		if a.Predictive.LookAhead > 0 {
			policy["scaleLookAheadTime"] = iso(time.Duration(a.Predictive.LookAhead))
		}
		p["predictiveAutoscalePolicy"] = policy
	}
	const typ = "Microsoft.Insights/autoscalesettings"
	_, err := b.put(b.scope(a.place)+"/providers/"+typ+"/"+a.Name, typ, b.located(a.place, p), a.Body, nil)
	return err
}

func (b *builder) template(t templateSpec) error {
	regions := []any{}
	for _, name := range slices.Sorted(maps.Keys(t.Regions)) {
		regions = append(regions, object{"name": name, "replicaCount": t.Regions[name], "storageAccountType": "Standard_ZRS"})
	}
	distribute := object{"type": "SharedImage", "runOutputName": t.Name, "excludeFromLatest": !t.Included, "targetRegions": regions}
	if t.Image != "" {
		distribute["galleryImageId"] = b.imageRef(t.Image)["id"]
	}
	p := object{
		"buildTimeoutInMinutes": 60, "vmProfile": object{"vmSize": "Standard_D2as_v5", "osDiskSizeGB": 30},
		"source": object{
			"type": "PlatformImage", "publisher": "Canonical", "offer": "0001-com-ubuntu-server-jammy", "sku": "22_04-lts-gen2", "version": "latest",
		},
		"customize":         []any{object{"type": "Shell", "name": "install", "inline": []any{"sudo apt-get -y install /tmp/fleet-agent.deb"}}},
		"distribute":        []any{distribute},
		"provisioningState": cmp.Or(t.Provisioning, statusSucceeded),
	}
	if t.RunState != "" {
		status := object{"runState": t.RunState, "startTime": b.ago(t.RunStarted)}
		if t.RunSubState != "" {
			status["runSubState"] = t.RunSubState
		}
		if t.RunMessage != "" {
			status["message"] = t.RunMessage
		}
		if t.RunState != "Running" && t.RunState != "Canceling" {
			status["endTime"] = b.ago(t.RunEnded)
		}
		p["lastRunStatus"] = status
	}
	body := b.located(t.place, p)
	if t.Identity != "" {
		body["identity"] = b.identity(t.place, []string{t.Identity})
	}
	const typ = "Microsoft.VirtualMachineImages/imageTemplates"
	_, err := b.put(b.scope(t.place)+"/providers/"+typ+"/"+t.Name, typ, body, t.Body, nil)
	return err
}

// identity refers to user-assigned identities, which are made when they are missing.
func (b *builder) identity(p place, names []string) object {
	const typ = "Microsoft.ManagedIdentity/userAssignedIdentities"
	all := object{}
	for _, name := range names {
		id := b.scope(p) + "/providers/" + typ + "/" + name
		ids := object{"clientId": guid("client", key(id)), "principalId": guid("principal", key(id))}
		all[id] = ids
		if b.tx.get(id) == nil {
			b.tx.put(resource{ID: id, Type: typ, Body: object{
				"location":   b.region(p),
				"properties": object{"clientId": ids["clientId"], "principalId": ids["principalId"], "tenantId": tenantID},
			}})
		}
	}
	return object{"type": "UserAssigned", "userAssignedIdentities": all}
}
