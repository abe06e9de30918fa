package arm

import (
	"cmp"
	"encoding/json"
	"strings"
)

// instanceView is what the platform sees of a machine.
func (tx *txn) instanceView(r *resource) object {
	power := str(r.Hidden, "power")
	view := object{"statuses": []any{provisioningStatus(r), powerStatus(power)}}
	if disk := str(r.Body, "properties.storageProfile.osDisk.name"); disk != "" {
		view["disks"] = []any{object{"name": disk, "statuses": []any{provisioningStatus(r)}}}
	}
	if !up(r) {
		return view
	}
	view["computerName"] = cmp.Or(str(r.Body, "properties.osProfile.computerName"), r.name())
	view["osName"], view["osVersion"], view["hyperVGeneration"] = "ubuntu", "22.04", "V2"
	if str(r.Body, "properties.storageProfile.osDisk.osType") == "Windows" {
		view["osName"], view["osVersion"] = "Windows Server 2022 Datacenter", "Microsoft Windows NT 10.0.20348.0"
	}
	handlers, extensions := []any{}, []any{}
	for _, e := range items(r.Hidden, "extensions") {
		handlers = append(handlers, object{
			"type": handlerType(e), "typeHandlerVersion": str(e, "version"),
			"status": object{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready"},
		})
		extensions = append(extensions, extensionView(r, e))
	}
	view["vmAgent"] = object{
		"vmAgentVersion": "2.15.0.1", "extensionHandlers": handlers,
		"statuses": []any{object{
			"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Ready",
			"message": "Guest Agent is running", "time": stamp(tx.now),
		}},
	}
	view["extensions"] = extensions
	if health := healthStatus(r); health != nil {
		view["vmHealth"] = object{"status": health}
	}
	return view
}

func provisioningStatus(r *resource) object {
	state := cmp.Or(r.state(), statusSucceeded)
	level, display := "Info", "Provisioning "+strings.ToLower(state)
	switch state {
	case "Creating", "Updating", "Deleting":
		display = state
	case statusFailed:
		level = "Error"
	}
	status := object{"code": "ProvisioningState/" + strings.ToLower(state), "level": level, "displayStatus": display, "time": stamp(r.Changed)}
	if failure := sub(r.Hidden, "failure"); failure != nil && state == statusFailed {
		status["code"] = "ProvisioningState/failed/" + str(failure, "code")
		status["message"] = str(failure, "message")
	}
	return status
}

func powerStatus(power string) object {
	return object{"code": "PowerState/" + power, "level": "Info", "displayStatus": "VM " + power}
}

func handlerType(e object) string { return str(e, "publisher") + "." + str(e, "type") }

func extensionView(r *resource, e object) object {
	view := object{
		"name": str(e, "name"), "type": handlerType(e), "typeHandlerVersion": str(e, "version"),
		"statuses": []any{object{"code": "ProvisioningState/succeeded", "level": "Info", "displayStatus": "Provisioning succeeded"}},
	}
	if health := healthStatus(r); health != nil && isHealth(str(e, "publisher"), str(e, "type")) {
		s := clone(health)
		s["code"] = "ComponentStatus/ApplicationHealth/" + strings.ToLower(str(r.Hidden, "health"))
		view["substatuses"] = []any{s}
	}
	return view
}

// healthTexts are levels and texts of the states of health.
var healthTexts = map[string][2]string{
	"Healthy":      {"Info", "The VM is reporting itself as healthy"},
	"Unhealthy":    {"Error", "The VM is reporting itself as unhealthy or is unreachable"},
	"Initializing": {"Info", "The VM is initializing"},
	"Unknown":      {"Error", "The health state of the VM is unknown"},
}

// healthStatus is the status in vmHealth, or nil when there is none: without the
// extension, or where the platform does not tell.
func healthStatus(r *resource) object {
	texts, known := healthTexts[str(r.Hidden, "health")]
	if !known || !up(r) || !reportsHealth(r) {
		return nil
	}
	status := object{"code": "HealthState/" + strings.ToLower(str(r.Hidden, "health")), "level": texts[0], "displayStatus": texts[1]}
	if at := str(r.Hidden, "healthAt"); at != "" {
		status["time"] = at
	}
	return status
}

// flat is a JSON value as text, to compare.
func flat(v any) []byte {
	data, _ := json.Marshal(v) // it came from JSON
	return data
}
