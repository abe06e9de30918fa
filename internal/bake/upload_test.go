package bake_test

import (
	"errors"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/azure"
	"github.com/fleet-agent/fleet-agent/internal/fleet"
)

// A file that cannot be put in place ends the call before a number is reserved, and the
// error says which role is needed.
func TestUploadRefused(t *testing.T) {
	w := newWorld(t, setup{})
	c := w.newCall("a", "1.8.{n}", "one")
	c.Spec.Bake.Artifacts = "https://stbuild.blob.core.windows.net/artifacts/pay/"
	c.Content.Uploads = []fleet.Upload{{Step: "agent", Path: "agent.deb", Blob: "abc/agent.deb", Data: []byte("deb")}}
	asked := ""
	w.refuse = func(_ int, r *http.Request) bool {
		if strings.HasPrefix(r.URL.Path, "/blob/") {
			asked = r.Method + " " + r.URL.Path
		}
		return asked != ""
	}
	_, err := c.Run(t.Context())
	e, ok := errors.AsType[*azure.Error](err)
	require.True(t, ok, err)
	require.Equal(t, azure.Denied, e.Kind)
	require.Equal(t, "you need the role Storage Blob Data Contributor on the storage account stbuild; one that was just assigned takes some minutes", e.Hint)
	require.Equal(t, "PUT /blob/stbuild/artifacts/pay/abc/agent.deb", asked)
	require.Zero(t, w.count("PUT "+builds))
	require.Equal(t, []string{"stage uploading files", "customizer agent.deb"}, c.told)
}

// Files are in place before the number is reserved, and one that is there already is
// no error.
func TestUpload(t *testing.T) {
	w := newWorld(t, setup{})
	for _, want := range []string{"1.8.0", "1.8.1"} {
		c := w.newCall("a"+want, "1.8.{n}", "one")
		c.Spec.Bake.Artifacts = "https://stbuild.blob.core.windows.net/artifacts/pay"
		c.Content.Uploads = []fleet.Upload{{Step: "agent", Path: "agent.deb", Blob: "abc/agent.deb", Data: []byte("deb")}}
		result, err := c.Run(t.Context())
		require.NoError(t, err)
		require.Equal(t, want, result.Version)
	}
	require.Equal(t, 1, w.count("PUT /blob/stbuild/artifacts/pay/abc/agent.deb 201"))
	require.Equal(t, 1, w.count("PUT /blob/stbuild/artifacts/pay/abc/agent.deb 409"))
}
