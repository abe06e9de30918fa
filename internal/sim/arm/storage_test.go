package arm

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
)

const accountID = group + "/providers/Microsoft.Storage/storageAccounts/stpay"

const accountBody = `{"location":"eastus","kind":"StorageV2","sku":{"name":"Standard_LRS"}}`

func TestStorageAccounts(t *testing.T) {
	w := newWorld(t)
	put := w.do("PUT", accountID, accountBody).want(200)
	require.Equal(t, "https://stpay.blob.core.windows.net/", str(put.body, "properties.primaryEndpoints.blob"))
	require.Equal(t, "Succeeded Standard", str(put.body, "properties.provisioningState")+" "+str(put.body, "sku.tier"))
	w.do("PUT", accountID, accountBody).want(200)
	w.do("PUT", "/subscriptions/"+DefaultSubscription+"/resourceGroups/other", `{"location":"eastus"}`).want(201)
	w.do("PUT", strings.Replace(accountID, "rg-pay-prod", "other", 1), accountBody).refused(409, "StorageAccountAlreadyTaken")
	w.do("PUT", accountID+"-X", accountBody).refused(400, "AccountNameInvalid")
	w.do("PUT", accountID+"2", `{"location":"eastus","sku":{"name":"Standard_LRS"}}`).refused(400, "InvalidParameter")
	require.Len(t, w.all(group+"/providers/Microsoft.Storage/storageAccounts"), 1)

	containers := accountID + "/blobServices/default/containers"
	w.do("PUT", containers+"/bake", `{}`).want(201)
	w.do("PUT", containers+"/bake", `{}`).want(200)
	w.do("PUT", containers+"/B", `{}`).refused(400, "ContainerNameInvalid")
	require.Equal(t, containers+"/bake", w.get(containers + "/bake").want(200).body["id"])
	w.get(containers+"/other").refused(404, "ContainerNotFound")
	require.Len(t, w.all(containers), 1)
	w.get(strings.Replace(containers, "stpay", "stx", 1)).refused(404, "ResourceNotFound")

	resp, _ := w.blob("PUT", "stpay/bake/a%20b/c.txt", "hello", "x-ms-blob-type", "BlockBlob")
	require.Equal(t, 201, resp.StatusCode)
	resp, text := w.blob("GET", "stpay/bake/a%20b/c.txt", "", "x-ms-range", "bytes=1-2")
	require.Equal(t, "206 el 2", resp.Status[:3]+" "+text+" "+resp.Header.Get("Content-Length"))
	require.NotEmpty(t, resp.Header.Get("X-Ms-Request-Id"))
	resp, text = w.blob("HEAD", "STPAY/bake/a%20b/c.txt", "")
	require.Equal(t, "200  5", resp.Status[:3]+" "+text+" "+resp.Header.Get("Content-Length"))
	_, text = w.blob("GET", "stpay/bake?restype=container&COMP=list", "")
	require.Contains(t, text, "<Name>a b/c.txt</Name>")
	require.Contains(t, text, `ServiceEndpoint="`+w.url+`/blob/stpay/"`)
	resp, text = w.blob("GET", "stx/bake/c.txt", "")
	require.Equal(t, 404, resp.StatusCode)
	require.Equal(t, "fleetsim: there is no storage account stx; Azure's name would not resolve\n", text)
	require.Contains(t, w.server.Counts(), Count{Method: "GET", What: "blobs", Status: 404, Count: 1})

	w.do("DELETE", accountID, nil).want(200)
	resp, _ = w.blob("GET", "stpay/bake/a%20b/c.txt", "")
	require.Equal(t, 404, resp.StatusCode)
	w.do("PUT", accountID, accountBody).want(200)
	resp, _ = w.blob("GET", "stpay/bake/a%20b/c.txt", "")
	require.Equal(t, "ContainerNotFound", resp.Header.Get("X-Ms-Error-Code"), "a new account is empty")
}

func TestBlobsNeedAToken(t *testing.T) {
	w := applied(t, "storage_accounts: [{name: stpay, containers: [bake]}]")
	w.server.cfg.RequireToken = true
	resp, _ := w.blob("GET", "stpay/bake/x", "")
	require.Equal(t, 401, resp.StatusCode)
	require.Contains(t, resp.Header.Get("Www-Authenticate"), "storage.azure.com")
	resp, _ = w.blob("GET", "stpay/bake/x", "", "Authorization", "Bearer x")
	require.Equal(t, "BlobNotFound", resp.Header.Get("X-Ms-Error-Code"))
}

// TestBlobsSurvive: contents are files beside the state, those that nothing uses go.
func TestBlobsSurvive(t *testing.T) {
	dir := t.TempDir()
	w := applied(t, "storage_accounts: [{name: stpay, containers: [bake]}]", func(c *Config) { c.State = dir })
	large := strings.Repeat("0123456789", 100_000)
	for name, body := range map[string]string{"kept": large, "twin": large, "gone": "gone"} {
		resp, _ := w.blob("PUT", "stpay/bake/"+name, body, "x-ms-blob-type", "BlockBlob")
		require.Equal(t, 201, resp.StatusCode)
	}
	w.blob("DELETE", "stpay/bake/gone", "")
	half := filepath.Join(dir, "blobs", "state.1.tmp")
	require.NoError(t, os.WriteFile(half, []byte("x"), 0o600))
	info, err := os.Stat(filepath.Join(dir, "state.json"))
	require.NoError(t, err)
	require.Less(t, info.Size(), int64(100_000), "the state is written at each change, and has no contents")

	again := w.restarted(dir, false)
	for _, name := range []string{"kept", "twin"} {
		_, text := again.blob("GET", "stpay/bake/"+name, "")
		require.Equal(t, large, text)
	}
	files, err := os.ReadDir(filepath.Join(dir, "blobs"))
	require.NoError(t, err)
	require.Len(t, files, 1)
	require.Equal(t, blob.Sum([]byte(large)), files[0].Name())
	require.NoError(t, os.Remove(filepath.Join(dir, "blobs", files[0].Name())))
	resp, _ := again.blob("GET", "stpay/bake/kept", "")
	require.Equal(t, 500, resp.StatusCode, "what is lost is no empty blob")
}

func TestBlobsAreBounded(t *testing.T) {
	w := applied(t, "storage_accounts: [{name: stpay, containers: [bake]}]")
	w.server.contents.total = maxContents
	resp, text := w.blob("PUT", "stpay/bake/x", "x", "x-ms-blob-type", "BlockBlob")
	require.Equal(t, 500, resp.StatusCode)
	require.Contains(t, text, "keeps no more than")
	resp, _ = w.blob("PUT", "stpay/bake/x", strings.Repeat("x", blob.MaxBody+1), "x-ms-blob-type", "BlockBlob")
	require.Equal(t, "RequestBodyTooLarge", resp.Header.Get("X-Ms-Error-Code"))
}

// TestBlobsMeetFaults, as everything does.
func TestBlobsMeetFaults(t *testing.T) {
	w := applied(t, "storage_accounts: [{name: stpay, containers: [bake]}]")
	w.blob("PUT", "stpay/bake/x", "0123456789", "x-ms-blob-type", "BlockBlob")
	for kind, want := range map[FaultKind]string{FaultEmpty: "", FaultTruncated: "01234"} {
		require.NoError(t, w.server.SetFault(Fault{Kind: kind, Path: "/blob/", Count: 1}))
		_, text := w.blob("GET", "stpay/bake/x", "")
		require.Equal(t, want, text, kind)
	}
}

func TestBlobAddresses(t *testing.T) {
	for address, want := range map[string]blobPath{
		"https://stpay.blob.core.windows.net/c/a/b%20c?sv=1": {"stpay", "c", "a/b c"},
		"https://STPAY.blob.core.windows.net/c":              {"stpay", "c", ""},
		"https://example.com/c/b":                            {},
		"https://stpay.blob.core.windows.net/%zz":            {},
		"": {},
	} {
		got, ok := blobAddress(address)
		require.Equal(t, want, got, address)
		require.Equal(t, want != blobPath{}, ok)
	}
}
