package imds_test

import (
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/imds"
)

func TestInstance(t *testing.T) {
	const subscription = "8d10da13-8125-4ba9-a717-bf7490507b3d"
	tests := map[string]imds.Instance{
		"flexible.json": {
			Name: "web_0a1b2c3d", VMID: "02aab8a4-74ef-476e-8182-f6d2ba4166a6", ScaleSet: "web", Zone: "2", Location: "westeurope",
			Priority:       "Spot",
			ResourceID:     "/subscriptions/" + subscription + "/resourceGroups/fleet/providers/Microsoft.Compute/virtualMachines/web_0a1b2c3d",
			ResourceGroup:  "fleet",
			SubscriptionID: subscription,
			Image:          "/subscriptions/" + subscription + "/resourceGroups/images/providers/Microsoft.Compute/galleries/example/images/web/versions/1.4.2",
			ComputerName:   "web00000A",
		},
		"uniform.json": {
			Name: "web_25", VMID: "13f56399-bd52-4150-9748-7190aae1ff21", ScaleSet: "web", Location: "northeurope",
			Priority:       "Regular",
			ResourceID:     "/subscriptions/" + subscription + "/resourceGroups/fleet/providers/Microsoft.Compute/virtualMachineScaleSets/web/virtualMachines/25",
			ResourceGroup:  "fleet",
			SubscriptionID: subscription,
			Image:          "Canonical:ubuntu-24_04-lts:server:24.04.202608010",
			ComputerName:   "web00000P",
		},
	}
	for file, want := range tests {
		t.Run(file, func(t *testing.T) {
			body, err := os.ReadFile(filepath.Join("testdata", file))
			require.NoError(t, err)
			client := newClient(t, imds.Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
				require.Equal(t, "/metadata/instance", r.URL.Path)
				require.Equal(t, "api-version=2023-07-01&extended=true", r.URL.RawQuery)
				require.Equal(t, "true", r.Header.Get("Metadata"))
				return answer(200, string(body)), nil
			})})
			got, err := client.Instance(t.Context())
			require.NoError(t, err)
			require.Equal(t, want, got)
		})
	}
}

func TestInstanceImage(t *testing.T) {
	tests := map[string]struct{ reference, want string }{
		"none":                  {`{}`, ""},
		"empty strings":         {`{"id":"","publisher":"","offer":"","sku":"","version":""}`, ""},
		"marketplace":           {`{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest"}`, "Debian:debian-12:12:latest"},
		"marketplace exact":     {`{"publisher":"Debian","offer":"debian-12","sku":"12","version":"latest","exactVersion":"0.2.3"}`, "Debian:debian-12:12:0.2.3"},
		"gallery version":       {`{"id":"/g/images/web/versions/1.0.0"}`, "/g/images/web/versions/1.0.0"},
		"gallery exact":         {`{"id":"/g/images/web/versions/1.0.0","exactVersion":"1.0.0"}`, "/g/images/web/versions/1.0.0"},
		"gallery definition":    {`{"id":"/g/images/web","exactVersion":"1.2.0"}`, "/g/images/web/versions/1.2.0"},
		"gallery latest":        {`{"id":"/g/images/web/Versions/latest","exactVersion":"1.2.0"}`, "/g/images/web/versions/1.2.0"},
		"community":             {`{"communityGalleryImageId":"/CommunityGalleries/g/Images/web/Versions/latest","exactVersion":"3.0.1"}`, "/CommunityGalleries/g/Images/web/versions/3.0.1"},
		"shared":                {`{"sharedGalleryImageId":"/SharedGalleries/g/Images/web/Versions/2.0.0"}`, "/SharedGalleries/g/Images/web/Versions/2.0.0"},
		"versions without more": {`{"id":"/versions/1"}`, "/versions/1"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				return answer(200, `{"compute":{"name":"n","vmId":"i","storageProfile":{"imageReference":`+test.reference+`}}}`), nil
			})})
			got, err := client.Instance(t.Context())
			require.NoError(t, err)
			require.Equal(t, test.want, got.Image)
		})
	}
}

// TestInstanceToleratesOddValues: what does not say who the VM is may be anything.
func TestInstanceToleratesOddValues(t *testing.T) {
	for _, odd := range []string{
		`"zone":1`, `"zone":{"a":[]}`, `"storageProfile":"none"`, `"storageProfile":{"imageReference":[]}`, `"priority":null`, `"osProfile":true`,
	} {
		client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
			return answer(200, `{"compute":{`+odd+`,"name":"web_0","vmId":"i","vmScaleSetName":"web"}}`), nil
		})})
		got, err := client.Instance(t.Context())
		require.NoError(t, err, odd)
		require.Equal(t, imds.Instance{Name: "web_0", VMID: "i", ScaleSet: "web"}, got, odd)
	}
}

// TestInstanceRefuses holds that nothing but a whole answer is the VM's
// identity, and that one question is asked, not several.
func TestInstanceRefuses(t *testing.T) {
	tests := map[string]struct {
		status  int
		body    string
		class   imds.Class
		partial bool
		text    string
	}{
		"denied":                  {403, "", imds.ClassDenied, false, "denied by policy"},
		"not found":               {404, "", imds.ClassNotFound, false, "answer 404"},
		"gone":                    {410, "", imds.ClassGone, false, "answer 410"},
		"server error":            {500, "", imds.ClassServerError, false, "answer 500"},
		"empty body":              {200, "", imds.ClassEmpty, false, "an empty body"},
		"no name":                 {200, `{"compute":{"name":"","vmId":"id"}}`, imds.ClassInvalid, true, "compute.name is empty"},
		"no vmId":                 {200, `{"compute":{"name":"web_0","vmId":""}}`, imds.ClassInvalid, true, "compute.vmId is empty"},
		"no compute":              {200, `{"network":{}}`, imds.ClassInvalid, true, "compute.name is empty"},
		"name of another type":    {200, `{"compute":{"name":7,"vmId":"id"}}`, imds.ClassInvalid, false, "answer 200 OK"},
		"compute of another kind": {200, `{"compute":[]}`, imds.ClassInvalid, false, "answer 200 OK"},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			requests := 0
			client := newClient(t, imds.Config{Transport: roundTripper(func(*http.Request) (*http.Response, error) {
				requests++
				return answer(test.status, test.body), nil
			})})
			_, err := client.Instance(t.Context())
			require.Equal(t, test.class, imds.Classify(err), "%v", err)
			require.ErrorContains(t, err, "read instance metadata: ")
			require.ErrorContains(t, err, test.text)
			require.Equal(t, test.partial, errors.Is(err, imds.ErrPartial))
			require.Equal(t, 1, requests)
		})
	}
}

func TestInstanceFallsBackToOlderVersions(t *testing.T) {
	var asked []string
	client := newClient(t, imds.Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.RawQuery)
		if r.URL.Query().Has("extended") {
			return answer(400, `{"error":"Bad request. api-version is invalid","newest-versions":["2019-06-01"]}`), nil
		}
		return answer(200, `{"compute":{"name":"web_0","vmId":"id"}}`), nil
	})})
	got, err := client.Instance(t.Context())
	require.NoError(t, err)
	require.Equal(t, "web_0", got.Name)
	require.Equal(t, []string{
		"api-version=2023-07-01&extended=true", "api-version=2021-08-01&extended=true", "api-version=2019-06-01",
	}, asked)

	asked = nil
	client = newClient(t, imds.Config{Transport: roundTripper(func(r *http.Request) (*http.Response, error) {
		asked = append(asked, r.URL.RawQuery)
		return answer(400, "no"), nil
	})})
	_, err = client.Instance(t.Context())
	require.Equal(t, imds.ClassBadRequest, imds.Classify(err))
	require.Len(t, asked, 3, "a 400 is not retried")
}
