package stage

import "strings"

// A Member is a member of a scale set as Azure shows it, with its instance view.
type Member struct {
	Name       string `json:"name"`
	Properties struct {
		Storage struct {
			Image struct {
				Exact string `json:"exactVersion"`
			} `json:"imageReference"`
		} `json:"storageProfile"`
		View struct {
			Health struct {
				Status struct {
					Code string `json:"code"`
				} `json:"status"`
			} `json:"vmHealth"`
			Statuses []struct {
				Code string `json:"code"`
			} `json:"statuses"`
		} `json:"instanceView"`
	} `json:"properties"`
}

// Version is the exact version of its disk.
func (m *Member) Version() string { return m.Properties.Storage.Image.Exact }

// Running says whether it runs.
func (m *Member) Running() bool {
	for _, s := range m.Properties.View.Statuses {
		if s.Code == "PowerState/running" {
			return true
		}
	}
	return false
}

// Health is what the health extension says of it: "healthy".
func (m *Member) Health() string {
	return strings.TrimPrefix(m.Properties.View.Health.Status.Code, "HealthState/")
}
