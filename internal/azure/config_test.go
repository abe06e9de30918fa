package azure

import (
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore/arm"
	"github.com/stretchr/testify/require"
)

// TestVersions: whatever was built makes a client.
func TestVersions(t *testing.T) {
	for version, want := range map[string]string{
		"1.2.3": "v1.2.3", "v1.2.3": "v1.2.3", "1.2.3-4-gabcdef0-dirty": "v1.2.3",
		"": "v0.0.0", "dev": "v0.0.0", "devel": "v0.0.0", "98a5cb4": "v0.0.0", "98a5cb4-dirty": "v0.0.0", "1.2": "v0.0.0",
	} {
		require.Equal(t, want, telemetryVersion(version), "%q", version)
		_, err := arm.NewClient(module, telemetryVersion(version), nil, nil)
		require.NoError(t, err, "%q", version)
	}
}
