package fleet_test

import (
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// What is shown of a body is the same but for its secrets, and the body stays.
func TestRedacted(t *testing.T) {
	require.Nil(t, fleet.Redacted(nil))
	body := fleet.Document{
		"location": "eastus",
		"properties": fleet.Document{
			"osProfile":     fleet.Document{"customData": "c2VjcmV0", "adminUsername": "ops", "adminPassword": nil},
			"extensions":    []any{fleet.Document{"settings": fleet.Document{"port": 80.0, "fileUris": []any{"https://st.blob.core.windows.net/c/run.sh?sp=r&SIG=a%2Fb%3D&se=2027"}}, "ProtectedSettings": fleet.Document{"key": "secret"}}},
			"notifications": []any{fleet.Document{"webhooks": []any{fleet.Document{"serviceUri": "https://hooks.example/?token=secret"}}}},
		},
	}
	require.Equal(t, fleet.Document{
		"location": "eastus",
		"properties": fleet.Document{
			"osProfile":     fleet.Document{"customData": "REDACTED", "adminUsername": "ops", "adminPassword": nil},
			"extensions":    []any{fleet.Document{"settings": fleet.Document{"port": 80.0, "fileUris": []any{"https://st.blob.core.windows.net/c/run.sh?sp=r&SIG=REDACTED&se=2027"}}, "ProtectedSettings": "REDACTED"}},
			"notifications": []any{fleet.Document{"webhooks": []any{fleet.Document{"serviceUri": "REDACTED"}}}},
		},
	}, fleet.Redacted(body))
	require.Equal(t, "c2VjcmV0", body["properties"].(fleet.Document)["osProfile"].(fleet.Document)["customData"])
}
