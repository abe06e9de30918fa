package arm

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

// workshop is the scenario that builds need.
const workshop = `
resource_group: rg-pay-prod
galleries:
  - name: galProd
    definitions:
      - name: ubuntu-app
        publisher: kloudvin
        offer: ubuntu
        sku: app-jammy
        versions:
          - {name: 1.6.0, regions: {eastus: {replicas: 3}}}
roles:
  definitions:
    - name: Image Builder
      actions: &actions
        - Microsoft.Compute/images/write
        - Microsoft.Compute/images/read
        - Microsoft.Compute/images/delete
        - Microsoft.Compute/galleries/read
        - Microsoft.Compute/galleries/images/read
        - Microsoft.Compute/galleries/images/versions/read
        - Microsoft.Compute/galleries/images/versions/write
  assignments:
    - {identity: id-aib, role: Image Builder}
storage_accounts:
  - {name: stbuild, containers: [bake]}
`

const (
	ubuntuID   = group + "/providers/Microsoft.Compute/galleries/galProd/images/ubuntu-app"
	identityID = group + "/providers/Microsoft.ManagedIdentity/userAssignedIdentities/id-aib"
	templateID = group + "/providers/Microsoft.VirtualMachineImages/imageTemplates/ubuntu-app-1.7.0"
)

// aTemplate is a template that builds; change may make it another.
func aTemplate(change ...func(o object)) object {
	o := object{
		"location": "eastus",
		"identity": object{"type": "UserAssigned", "userAssignedIdentities": object{identityID: object{}}},
		"properties": object{
			"buildTimeoutInMinutes": 60,
			"source":                object{"type": "PlatformImage", "publisher": "Canonical", "offer": "ubuntu-24_04-lts", "sku": "server", "version": "latest"},
			"customize": []any{
				object{"type": "File", "name": "agent", "sourceUri": "https://example.com/fleet-agent.deb", "destination": "/tmp/fleet-agent.deb"},
				object{"type": "Shell", "name": "harden", "inline": []any{"echo 'fleetctl: customizer harden begins'", "sudo apt-get -y update", "echo 'fleetctl: customizer harden ends'"}},
			},
			"distribute": []any{object{
				"type": "SharedImage", "runOutputName": "out", "galleryImageId": ubuntuID + "/versions/1.7.0", "excludeFromLatest": true,
				"artifactTags":  object{"fleetctl-content": "abc"},
				"targetRegions": []any{object{"name": "eastus", "replicaCount": 3, "storageAccountType": "Standard_ZRS"}, object{"name": "westus3"}},
			}},
		},
	}
	for _, c := range change {
		c(o)
	}
	return o
}

// setting changes one property of a template.
func setting(path string, value any) func(object) {
	return func(o object) { set(o, path, value) }
}

// aWorkshop is a world in which images can be built, with rules about builds.
func aWorkshop(t *testing.T, rules string, change ...func(*Config)) *world {
	t.Helper()
	return applied(t, workshop+rules, append([]func(*Config){func(c *Config) { c.Rules.Replication = 4 * time.Minute }}, change...)...)
}

// created puts a template and waits until it is there.
func (w *world) created(body object) *world {
	w.Helper()
	w.finished(w.do("PUT", templateID+"?api-version=2024-02-01", body).want(201))
	return w
}

// run returns the lastRunStatus of the template.
func (w *world) run() object {
	w.Helper()
	return sub(w.get(templateID).want(200).body, "properties.lastRunStatus")
}

// ran runs the template until it does not run any more.
func (w *world) ran() object {
	w.Helper()
	w.do("POST", templateID+"/run", nil).want(202)
	for range 1000 {
		if status := w.run(); str(status, "runState") != "Running" {
			return status
		}
		w.clock.Advance(10 * time.Second)
	}
	require.FailNow(w, "the run does not end")
	return nil
}

// A blobReply is what a request for a blob was answered.
type blobReply struct {
	Status     string
	StatusCode int
	Header     http.Header
}

// blob makes a request for a blob and returns the answer and its body.
func (w *world) blob(method, path, body string, headers ...string) (blobReply, string) {
	w.Helper()
	req, err := http.NewRequestWithContext(w.Context(), method, w.url+"/blob/"+path, strings.NewReader(body))
	require.NoError(w, err)
	for i := 0; i+1 < len(headers); i += 2 {
		req.Header.Set(headers[i], headers[i+1])
	}
	resp, err := http.DefaultClient.Do(req)
	require.NoError(w, err)
	defer resp.Body.Close()
	data, err := io.ReadAll(resp.Body)
	require.NoError(w, err)
	return blobReply{resp.Status, resp.StatusCode, resp.Header}, string(data)
}

// log reads customization.log the way that a client finds it, or "" when there is none.
func (w *world) log() string {
	w.Helper()
	staging := str(w.get(templateID).body, "properties.exactStagingResourceGroup")
	accounts := w.all(staging + "/providers/Microsoft.Storage/storageAccounts")
	require.Len(w, accounts, 1)
	require.Equal(w, "https://"+str(accounts[0], "name")+".blob.core.windows.net/", str(accounts[0], "properties.primaryEndpoints.blob"))
	_, list := w.blob("GET", str(accounts[0], "name")+"/packerlogs?restype=container&comp=list", "")
	_, rest, found := strings.Cut(list, "<Name>")
	if !found {
		return ""
	}
	name, _, _ := strings.Cut(rest, "</Name>")
	require.True(w, strings.HasSuffix(name, "/customization.log"), name)
	resp, text := w.blob("GET", str(accounts[0], "name")+"/packerlogs/"+name, "")
	require.Equal(w, 200, resp.StatusCode)
	return text
}

// TestBuild is a build that goes well, moment by moment.
func TestBuild(t *testing.T) {
	w := aWorkshop(t, "")
	put := w.do("PUT", templateID+"?api-version=2024-02-01", aTemplate(setting("properties.optimize", object{"vmBoot": object{"state": "Enabled"}}),
		setting("properties.validate", object{"inVMValidations": []any{object{"type": "Shell", "name": "check", "inline": []any{"echo all is well"}}}}))).want(201)
	require.Equal(t, "Creating", str(put.body, "properties.provisioningState"))
	ids, _ := sub(put.body, "identity.userAssignedIdentities")[identityID].(object)
	require.NotEmpty(t, ids["principalId"])
	w.do("DELETE", templateID, nil).refused(409, "Conflict")
	w.do("POST", templateID+"/run", nil).refused(409, "Conflict")
	w.clock.Advance(149 * time.Second)
	require.Equal(t, "Creating", str(w.get(templateID).body, "properties.provisioningState"))
	w.clock.Advance(time.Second)
	got := w.get(templateID).body
	require.Equal(t, "Succeeded", str(got, "properties.provisioningState"))
	require.Regexp(t, `^/subscriptions/[^/]+/resourceGroups/IT_rg-pay-prod_ubuntu-app-1.7.0_[0-9a-f-]{36}$`, str(got, "properties.exactStagingResourceGroup"))
	w.do("POST", templateID+"/cancel", nil).refused(409, "Conflict")
	w.do("PUT", templateID, aTemplate(), "If-None-Match", "*").refused(412, "PreconditionFailed")
	require.Contains(t, w.do("PUT", templateID, aTemplate()).refused(409, "Conflict"), "Update/Upgrade of image templates is currently not supported")
	w.do("PATCH", templateID, `{"properties":{"source":{"publisher":"Other"}}}`).refused(409, "Conflict")
	w.do("PATCH", templateID, `{"tags":{"fleetctl-content":"abc"}}`).want(200)
	w.do("PUT", templateID+"/runOutputs/x", `{"properties":{}}`).refused(405, "HttpMethodNotSupported")
	w.do("POST", templateID+"x/run", nil).refused(404, "ResourceNotFound")

	begun := w.do("POST", templateID+"/run", nil).want(202)
	w.do("POST", templateID+"/run", nil).refused(409, "Conflict")
	w.do("DELETE", templateID, nil).refused(409, "Conflict")
	require.Empty(t, w.log())
	for _, moment := range []struct {
		after time.Duration
		state string
		log   string // how it ends
	}{
		{0, "Queued", ""},
		{20 * time.Second, "Building", "Deploying deployment template ...\n"},
		{70 * time.Second, "Customizing", "=> /tmp/fleet-agent.deb\n"},
		{20 * time.Second, "Customizing", "    azure-arm: fleetctl: customizer harden begins\n"},
		{10 * time.Second, "Customizing", "    azure-arm: fleetctl: customizer harden ends\n"},
		{10 * time.Second, "Customizing", "Finalizing.\n"},
		{20 * time.Second, "Optimizing", "Finalizing.\n"},
		{30 * time.Second, "Validating", "azure-arm: all is well\n"},
		{30 * time.Second, "Distributing", "ending shell\n"},
		{time.Minute, "Distributing", "ending shell\n"},
	} {
		w.clock.Advance(moment.after)
		require.Equal(t, "Running", str(w.run(), "runState"))
		require.Equal(t, moment.state, str(w.run(), "runSubState"), moment)
		require.True(t, strings.HasSuffix(w.log(), moment.log), "%v: %s", moment, w.log())
	}
	require.Equal(t, "InProgress", str(w.get(begun.header.Get("Azure-AsyncOperation")).body, "status"))
	version := w.get(ubuntuID + "/versions/1.7.0").want(200).body
	require.Equal(t, "Creating", str(version, "properties.provisioningState"))
	w.clock.Advance(4 * time.Minute)
	status := w.run()
	require.Equal(t, "Succeeded", str(status, "runState"))
	require.Equal(t, "2026-11-02T09:02:30.0000000+00:00", str(status, "startTime"))
	require.Equal(t, "2026-11-02T09:10:00.0000000+00:00", str(status, "endTime"))
	require.Equal(t, "22.04.202611010", str(w.get(templateID).body, "properties.source.exactVersion"))
	require.Equal(t, "Succeeded", str(w.get(begun.header.Get("Azure-AsyncOperation")).body, "status"))
	w.get(begun.header.Get("Location")).want(200)
	for line := range strings.Lines(w.log()) {
		require.Regexp(t, `^\[[0-9a-f-]{36}\] PACKER (OUT |ERR \d{4}/\d\d/\d\d \d\d:\d\d:\d\d )`, line)
	}

	version = w.get(ubuntuID + "/versions/1.7.0?$expand=ReplicationStatus").want(200).body
	require.Equal(t, "Completed", str(version, "properties.replicationStatus.aggregatedState"))
	require.Equal(t, "abc", str(version, "tags.fleetctl-content"))
	require.Equal(t, true, dig(version, "properties.publishingProfile.excludeFromLatest"))
	regions := items(version, "properties.publishingProfile.targetRegions")
	require.Equal(t, []any{"East US", 3.0, "Standard_ZRS"}, []any{regions[0]["name"], regions[0]["regionalReplicaCount"], regions[0]["storageAccountType"]})
	outputs := w.all(templateID + "/runOutputs")
	require.Len(t, outputs, 1)
	require.Equal(t, ubuntuID+"/versions/1.7.0", str(outputs[0], "properties.artifactId"))
	require.Equal(t, outputs[0], w.get(templateID+"/runOutputs/out").want(200).body)

	staging := str(w.get(templateID).body, "properties.exactStagingResourceGroup")
	w.finished(w.do("DELETE", templateID, nil).want(202))
	w.get(templateID).refused(404, "ResourceNotFound")
	w.get(staging).refused(404, "ResourceGroupNotFound")
	w.get(ubuntuID + "/versions/1.7.0").want(200)
}

// TestSecondRun: a number that is taken makes a run fail; without a number the next one
// is taken, and it is the latest unless the template says otherwise.
func TestSecondRun(t *testing.T) {
	w := aWorkshop(t, "").created(aTemplate())
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
	status := w.ran()
	require.Equal(t, "Failed", str(status, "runState"))
	require.Contains(t, str(status, "message"), "1.7.0' exists already")

	w = aWorkshop(t, "").created(aTemplate(setting("properties.distribute", []any{object{
		"type": "SharedImage", "runOutputName": "out", "galleryImageId": ubuntuID, "replicationRegions": []any{"eastus", "westus3"},
	}})))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
	version := w.get(ubuntuID + "/versions/1.6.1").want(200).body
	require.Equal(t, false, dig(version, "properties.publishingProfile.excludeFromLatest"), "Azure's default")
	require.Len(t, items(version, "properties.publishingProfile.targetRegions"), 2)
}

// TestForm: what is wrong with the form of a template is refused at once.
func TestForm(t *testing.T) {
	w := aWorkshop(t, "")
	script := func(more object) func(object) {
		return setting("properties.customize", []any{merge(object{"type": "Shell", "name": "x"}, more)})
	}
	distribute := func(more object) func(object) {
		return func(o object) {
			d := items(o, "properties.distribute")[0]
			set(o, "properties.distribute", []any{merge(d, more)})
		}
	}
	for name, tt := range map[string]struct {
		change func(object)
		want   string
	}{
		"case":             {setting("properties.Customize", []any{}), "Could not find member 'Customize'"},
		"replicas":         {distribute(object{"targetRegions": []any{object{"name": "eastus", "regionalReplicaCount": 1}}}), "'regionalReplicaCount' on object of type 'TargetRegion'"},
		"inner":            {script(object{"inline": []any{"true"}, "runElevated": true}), "'runElevated' on object of type 'ImageTemplateShellCustomizer'. Path 'properties.customize[0]'"},
		"type":             {script(object{"type": "shell", "inline": []any{"true"}}), "Field 'type' has a bad value: 'shell'"},
		"no script":        {script(object{}), "exactly one of the fields 'inline' and 'scriptUri'"},
		"two scripts":      {script(object{"inline": []any{"true"}, "scriptUri": "https://example.com/x"}), "exactly one of"},
		"outside tmp":      {script(object{"type": "File", "sourceUri": "https://example.com/x", "destination": "/opt/x"}), "Field 'destination' has a bad value: '/opt/x'"},
		"timeout":          {setting("properties.buildTimeoutInMinutes", 5), "buildTimeoutInMinutes is 0 or from 6 to 960"},
		"no source":        {setting("properties.source", nil), "Required field 'source' is missing"},
		"half a source":    {setting("properties.source", object{"type": "PlatformImage", "publisher": "Canonical"}), "Required field"},
		"odd source":       {setting("properties.source", "ubuntu"), "Field 'source' has a bad value: 'ubuntu'"},
		"no distributor":   {setting("properties.distribute", []any{}), "distribute"},
		"output name":      {distribute(object{"runOutputName": "a b"}), "Field 'runOutputName' has a bad value: 'a b'"},
		"gallery":          {distribute(object{"galleryImageId": "galProd/ubuntu-app"}), "Field 'galleryImageId' has a bad value"},
		"no identity":      {setting("identity", nil), "a user-assigned identity is required"},
		"onCustomizerFail": {setting("properties.errorHandling", object{"onCustomizerError": "stop"}), "Field 'onCustomizerError' has a bad value: 'stop'"},
	} {
		t.Run(name, func(t *testing.T) {
			w := &world{T: t, server: w.server, clock: w.clock, url: w.url}
			require.Contains(t, w.do("PUT", templateID+"?api-version=2024-02-01", aTemplate(tt.change)).refused(400, "ValidationFailed"), tt.want)
		})
	}
	mode := distribute(object{"replicationMode": "Full"})
	require.Contains(t, w.do("PUT", templateID+"3?api-version=2024-02-01", aTemplate(mode)).refused(400, "ValidationFailed"), "'replicationMode'")
	w.do("PUT", templateID+"3?api-version=2025-10-01", aTemplate(mode)).want(201)
	w.do("PUT", templateID+"?api-version=2022-07-01", aTemplate(setting("properties.Customize", []any{}))).want(201)
	w.do("PUT", templateID+"2", aTemplate(setting("location", nil))).refused(400, "LocationRequired")
}

// TestSubmission: what a template names is looked at after it was taken. It is Failed
// then, cannot be run, and has to be deleted.
func TestSubmission(t *testing.T) {
	file := func(address string) func(object) {
		return setting("properties.customize", []any{object{"type": "File", "name": "agent", "sourceUri": address, "destination": "/tmp/x"}})
	}
	distribute := func(more object) func(object) {
		return func(o object) {
			set(o, "properties.distribute", []any{merge(items(o, "properties.distribute")[0], more)})
		}
	}
	for name, tt := range map[string]struct {
		rules  string
		change func(object)
		code   string
		want   string
	}{
		"identity":      {"", setting("identity.userAssignedIdentities", object{identityID + "-x": object{}}), "Other", "id-aib-x' was not found"},
		"definition":    {"", distribute(object{"galleryImageId": ubuntuID + "-x"}), "BadSharedImageDistribute", "ubuntu-app-x"},
		"region":        {"", distribute(object{"targetRegions": []any{object{"name": "eastus9"}}}), "BadSharedImageDistribute", "'eastus9' is not available"},
		"regions twice": {"", distribute(object{"targetRegions": []any{object{"name": "eastus"}, object{"name": "East US"}}}), "BadSharedImageDistribute", "Duplicate regions"},
		"version":       {"", distribute(object{"galleryImageId": ubuntuID + "/versions/new"}), "BadSharedImageDistribute", "'new'"},
		"source":        {"", setting("properties.source", object{"type": "SharedImageVersion", "imageVersionId": ubuntuID + "/versions/0.0.1"}), "BadSharedImageVersionSource", "versions/0.0.1"},
		"managed":       {"", setting("properties.source", object{"type": "ManagedImage", "imageId": group + "/providers/Microsoft.Compute/images/x"}), "BadManagedImageSource", "images/x"},
		"staging":       {"", setting("properties.stagingResourceGroup", group), "BadStagingResourceGroup", "is not empty"},
		"no staging":    {"", setting("properties.stagingResourceGroup", group+"-x"), "BadStagingResourceGroup", "does not exist"},
		"subnet":        {"", setting("properties.vmProfile", object{"vnetConfig": object{"subnetId": group + "/providers/Microsoft.Network/virtualNetworks/v/subnets/s"}}), "Other", "subnets/s' was not found"},
		"VM identity":   {"", setting("properties.vmProfile", object{"userAssignedIdentities": []any{identityID}}), "Other", "Microsoft.ManagedIdentity/userAssignedIdentities/assign/action"},
		"no right":      {"", file("https://stbuild.blob.core.windows.net/bake/missing"), "NoCustomizerScript", "containers/blobs/read"},
		"provider":      {"providers: {Microsoft.ContainerInstance: NotRegistered}", nil, "Other", "namespace 'Microsoft.ContainerInstance'. See https://aka.ms/rps-not-found"},
		"submission":    {"builds: [{fails: submission, code: BadPIRSource, message: no such image}]", nil, "BadPIRSource", "no such image"},
		"policy":        {"builds: [{fails: policy}]", nil, "NoCustomizerScript", "RequestDisallowedByPolicy"},
	} {
		t.Run(name, func(t *testing.T) {
			w := aWorkshop(t, tt.rules)
			change := tt.change
			if change == nil {
				change = func(object) {}
			}
			put := w.do("PUT", templateID+"?api-version=2024-02-01", aTemplate(change)).want(201)
			w.clock.Advance(44 * time.Second)
			require.Equal(t, "Creating", str(w.get(templateID).body, "properties.provisioningState"))
			w.clock.Advance(time.Second)
			got := w.get(templateID).want(200).body
			require.Equal(t, "Failed", str(got, "properties.provisioningState"))
			require.Equal(t, tt.code, str(got, "properties.provisioningError.provisioningErrorCode"))
			require.Contains(t, str(got, "properties.provisioningError.message"), tt.want)
			poll := w.get(put.header.Get("Azure-AsyncOperation")).want(200).body
			require.Equal(t, "Failed", str(poll, "status"))
			require.Equal(t, tt.code, str(poll, "error.code"))
			w.do("POST", templateID+"/run", nil).refused(409, "Conflict")
			w.do("PUT", templateID, aTemplate()).refused(409, "Conflict")
			w.finished(w.do("DELETE", templateID, nil).want(202))
			w.get(templateID).refused(404, "ResourceNotFound")
		})
	}
}

// TestBlobSources: a customizer's blob is copied when its template is submitted, and
// compared when it runs.
func TestBlobSources(t *testing.T) {
	const address = "https://stbuild.blob.core.windows.net/bake/abc/agent.deb"
	reads := "    - {identity: id-aib, role: Storage Blob Data Reader}\n"
	with := func(t *testing.T) *world {
		t.Helper()
		return applied(t, strings.Replace(workshop, "storage_accounts:", reads+"storage_accounts:", 1), func(c *Config) { c.Rules.Replication = time.Minute })
	}
	agent := func(sum string) object {
		return aTemplate(setting("properties.customize", []any{object{"type": "File", "name": "agent", "sourceUri": address, "destination": "/tmp/x", "sha256Checksum": sum}}))
	}
	w := with(t)
	w.do("PUT", templateID, agent("")).want(201)
	w.clock.Advance(time.Minute)
	require.Contains(t, str(w.get(templateID).body, "properties.provisioningError.message"), "BlobNotFound")

	w = with(t)
	resp, _ := w.blob("PUT", "stbuild/bake/abc/agent.deb", "hello", "x-ms-blob-type", "BlockBlob")
	require.Equal(t, 201, resp.StatusCode)
	data, err := w.server.BlobAt(address)
	require.NoError(t, err)
	require.Equal(t, "hello", string(data))
	w.created(agent(strings.Repeat("0", 64)))
	status := w.ran()
	require.Equal(t, "Failed", str(status, "runState"))
	require.Contains(t, w.log(), "The checksum of '"+address+"' is 2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824")

	w = with(t)
	w.blob("PUT", "stbuild/bake/abc/agent.deb", "hello", "x-ms-blob-type", "BlockBlob")
	w.created(agent("2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
}

// TestLargeFile: a File customizer takes no more than 20 MB; an address with a
// signature needs no role.
func TestLargeFile(t *testing.T) {
	const address = "https://stbuild.blob.core.windows.net/bake/agent.deb?sv=2024-11-04&sig=secret"
	w := aWorkshop(t, "")
	agent := aTemplate(setting("properties.customize", []any{object{"type": "File", "name": "agent", "sourceUri": address, "destination": "/tmp/x"}}))
	w.blob("PUT", "stbuild/bake/agent.deb", strings.Repeat("x", maxFile+1), "x-ms-blob-type", "BlockBlob")
	w.do("PUT", templateID, agent).want(201)
	w.clock.Advance(time.Minute)
	require.Contains(t, str(w.get(templateID).body, "properties.provisioningError.message"), "has 20971521 bytes; at most 20971520 are supported")
	w.finished(w.do("DELETE", templateID, nil).want(202))
	w.blob("PUT", "stbuild/bake/agent.deb", strings.Repeat("x", maxFile), "x-ms-blob-type", "BlockBlob")
	w.created(agent)
}

// TestOtherDistributors: a managed image and a disk beside a version.
func TestOtherDistributors(t *testing.T) {
	const image = group + "/providers/Microsoft.Compute/images/ubuntu"
	w := aWorkshop(t, "").created(aTemplate(func(o object) {
		set(o, "properties.distribute", []any{
			items(o, "properties.distribute")[0],
			object{"type": "ManagedImage", "runOutputName": "managed", "imageId": image, "location": "eastus", "artifactTags": object{"a": "b"}},
			object{"type": "VHD", "runOutputName": "vhd"},
		})
	}))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
	require.Equal(t, "b", str(w.get(image).want(200).body, "tags.a"))
	require.Equal(t, image, str(w.get(templateID+"/runOutputs/managed").body, "properties.artifactId"))
	require.Regexp(t, `^https://[0-9a-f]{24}\.blob\.core\.windows\.net/vhds/`, str(w.get(templateID+"/runOutputs/vhd").body, "properties.artifactUri"))
	require.Len(t, w.all(templateID+"/runOutputs"), 3)
}

// TestNetworkAndSource: what else the identity has to be permitted.
func TestNetworkAndSource(t *testing.T) {
	const network = group + "/providers/Microsoft.Network/virtualNetworks/vnet"
	change := func(o object) {
		set(o, "properties.vmProfile", object{"vnetConfig": object{"subnetId": network + "/subnets/build"}})
		set(o, "properties.source", object{"type": "SharedImageVersion", "imageVersionId": ubuntuID + "/versions/latest"})
	}
	w := aWorkshop(t, "")
	w.do("PUT", network, `{"location":"eastus","properties":{"subnets":[{"name":"build"}]}}`).want(201)
	w.do("PUT", templateID, aTemplate(change)).want(201)
	w.clock.Advance(time.Minute)
	require.Contains(t, str(w.get(templateID).body, "properties.provisioningError.message"), "perform action 'Microsoft.Network/virtualNetworks/read' over scope '"+network+"'")
	w.finished(w.do("DELETE", templateID, nil).want(202))
	w.do("PUT", network+"/providers/Microsoft.Authorization/roleAssignments/00000000-0000-0000-0000-000000000001", object{"properties": object{
		"roleDefinitionId": "/providers/Microsoft.Authorization/roleDefinitions/4d97b98b-1d4f-4787-a291-c67834d212e7", "principalId": str(w.get(identityID).body, "properties.principalId"),
	}}).want(201)
	w.created(aTemplate(change))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
	require.Equal(t, "1.6.0", str(w.get(templateID).body, "properties.source.exactVersion"))
}

// TestFailures: what a scenario can make of a run.
func TestFailures(t *testing.T) {
	checks := func(o object) {
		set(o, "properties.validate", object{"inVMValidations": []any{object{"type": "Shell", "name": "check", "inline": []any{"echo checking"}}}})
	}
	for name, tt := range map[string]struct {
		rules    string
		change   func(object)
		state    string
		sub      string
		message  string
		log      string
		not      string // is not in the log
		nothing  bool   // no version is made
		noLog    bool
		provider string // that is taken away before the run
	}{
		"uploaded": {
			rules: "builds: [{fails: customizer, exit_code: 3}]", state: "Failed", sub: "Customizing", message: "exit status 1", nothing: true,
			change: func(o object) {
				list, _ := dig(o, "properties.customize").([]any)
				set(o, "properties.customize", append(list, object{"type": "Shell", "name": "last", "inline": []any{"sha256sum -c x", "echo 'fleetctl: customizer last ends'"}}))
			},
			log: "customizer harden ends\n*exit status: 3.", not: "customizer last ends",
		},
		"customizer": {
			rules: "builds: [{fails: customizer, customizer: hard*, exit_code: 100, output: ['E: Unable to locate package cis']}]", state: "Failed", sub: "Customizing",
			message: "Packer build command has failed: exit status 1.", nothing: true,
			log: "azure-arm: fleetctl: customizer harden begins\n*azure-arm: E: Unable to locate package cis\n*Script exited with non-zero exit status: 100. Allowed exit codes are: [0]",
		},
		"file":         {rules: "builds: [{fails: customizer, customizer: agent}]", state: "Failed", sub: "Customizing", message: "exit status 1", nothing: true, log: "Uploading*exit status: 1."},
		"last":         {rules: "builds: [{template: 'UBUNTU-*', fails: customizer, customizer: other}]", state: "Failed", sub: "Customizing", message: "exit status 1", nothing: true, log: "ending file*customizer harden begins*exit status: 1."},
		"other":        {rules: "builds: [{template: 'debian-*', fails: customizer}]", state: "Succeeded"},
		"validator":    {rules: "builds: [{fails: validator, exit_code: 7}]", change: checks, state: "Failed", sub: "Validating", message: "exit status 1", nothing: true, log: "azure-arm: checking*exit status: 7."},
		"all the same": {rules: "builds: [{fails: validator}]", change: func(o object) { checks(o); set(o, "properties.validate.continueDistributeOnFailure", true) }, state: "Succeeded"},
		"quota":        {rules: "builds: [{fails: quota}]", state: "Failed", sub: "Building", message: "container group quota 'StandardCores' exceeded in region 'eastus'", nothing: true, noLog: true},
		"shared key":   {rules: "builds: [{fails: shared-key}]", state: "Failed", sub: "Queued", message: "KeyBasedAuthenticationNotPermitted", nothing: true, noLog: true},
		"distribution": {rules: "builds: [{fails: distribution, message: the disk is gone}]", state: "Failed", sub: "Distributing", message: "Failed in distributing 1 images out of total 1: {[Error 0] [Distribute 0] Error publishing MDI*the disk is gone", nothing: true},
		"region":       {rules: "builds: [{fails: region, regions: [West US 3]}]", state: "PartiallySucceeded", message: "ReplicationJobsNotCompleted*West US 3"},
		"all regions":  {rules: "builds: [{fails: region, regions: [westus3, eastus]}]", state: "Failed", sub: "Distributing", message: "ReplicationJobsNotCompleted"},
		"hangs":        {rules: "builds: [{fails: stuck-running, state: Customizing}]", state: "Failed", sub: "Customizing", message: "Timeout waiting for microservice to complete", nothing: true, log: "Connected to SSH!"},
		"too slow":     {rules: "builds: [{takes: {customizer: 1h}}]", state: "Failed", sub: "Customizing", message: "context deadline exceeded", nothing: true},
		"provider":     {provider: "Microsoft.Network", state: "Failed", sub: "Building", message: "not registered to use namespace 'Microsoft.Network'", nothing: true, noLog: true},
	} {
		t.Run(name, func(t *testing.T) {
			w := aWorkshop(t, tt.rules)
			if tt.change == nil {
				tt.change = func(object) {}
			}
			w.created(aTemplate(tt.change))
			if tt.provider != "" {
				w.do("POST", "/subscriptions/"+DefaultSubscription+"/providers/"+tt.provider+"/unregister", nil).want(200)
			}
			status := w.ran()
			require.Equal(t, tt.state, str(status, "runState"), status)
			require.Equal(t, tt.sub, str(status, "runSubState"))
			require.NotEmpty(t, str(status, "endTime"))
			contains(t, str(status, "message"), tt.message)
			log := w.log()
			contains(t, log, tt.log)
			require.Equal(t, tt.noLog, log == "")
			if tt.not != "" {
				require.NotContains(t, log, tt.not)
			}
			require.Equal(t, tt.state == "Failed" && tt.sub != "Distributing" && !tt.noLog, strings.Contains(str(status, "message"), "/customization.log. OperationId: "), status)
			if tt.nothing {
				w.get(ubuntuID+"/versions/1.7.0").refused(404, "ResourceNotFound")
			} else {
				w.get(ubuntuID + "/versions/1.7.0").want(200)
			}
			w.finished(w.do("DELETE", templateID, nil).want(202))
		})
	}
}

// contains finds the parts of a text in their order.
func contains(t *testing.T, text, parts string) {
	t.Helper()
	rest := text
	for part := range strings.SplitSeq(parts, "*") {
		_, after, found := strings.Cut(rest, part)
		require.True(t, found, "%q in %s", part, text)
		rest = after
	}
}

// TestSlowDistribution: a build whose replication takes longer than it may fails, and
// its version comes all the same.
func TestSlowDistribution(t *testing.T) {
	w := aWorkshop(t, "", func(c *Config) { c.Rules.Replication = 2 * time.Hour }).created(aTemplate())
	status := w.ran()
	require.Equal(t, "Failed", str(status, "runState"))
	require.Contains(t, str(status, "message"), "Error waiting on Azure Compute Gallery future")
	w.clock.Advance(2 * time.Hour)
	require.Equal(t, "Succeeded", str(w.get(ubuntuID+"/versions/1.7.0").body, "properties.provisioningState"))
}

// TestUnregistered: without Image Builder's own provider nothing is taken at all.
func TestUnregistered(t *testing.T) {
	w := aWorkshop(t, "providers: {Microsoft.VirtualMachineImages: NotRegistered}")
	require.Equal(t, "The subscription is not registered to use namespace 'Microsoft.VirtualMachineImages'. See https://aka.ms/rps-not-found for how to register subscriptions.",
		w.do("PUT", templateID, aTemplate()).refused(409, "MissingSubscriptionRegistration"))
	w.do("POST", "/subscriptions/"+DefaultSubscription+"/providers/Microsoft.VirtualMachineImages/register", nil).want(200)
	w.do("PUT", templateID, aTemplate()).refused(409, "MissingSubscriptionRegistration")
	w.clock.Advance(2 * time.Minute)
	w.created(aTemplate())
}

// TestCount: a rule counts.
func TestCount(t *testing.T) {
	w := aWorkshop(t, "builds: [{fails: customizer, count: 1}, {fails: quota, count: 1}]").created(aTemplate())
	require.Equal(t, "Customizing", str(w.ran(), "runSubState"))
	require.Equal(t, "Building", str(w.ran(), "runSubState"))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
}

// TestInternalError: the template is gone when its creation has failed.
func TestInternalError(t *testing.T) {
	w := aWorkshop(t, "builds: [{fails: internal-error, count: 1}]")
	put := w.do("PUT", templateID, aTemplate()).want(201)
	w.clock.Advance(time.Minute)
	poll := w.get(put.header.Get("Azure-AsyncOperation")).body
	require.Equal(t, "InternalOperationError", str(poll, "error.code"))
	w.get(templateID).refused(404, "ResourceNotFound")
	w.created(aTemplate())
}

// TestStuckCreating: for ever, or for a while and with a version at the end.
func TestStuckCreating(t *testing.T) {
	w := aWorkshop(t, "builds: [{fails: stuck-creating}]")
	w.do("PUT", templateID, aTemplate()).want(201)
	w.clock.Advance(1000 * time.Hour)
	require.Equal(t, "Creating", str(w.get(templateID).body, "properties.provisioningState"))
	w.do("DELETE", templateID, nil).refused(409, "Conflict")

	w = aWorkshop(t, "builds: [{fails: stuck-creating, for: 2h, publishes: true}]")
	w.do("PUT", templateID, aTemplate()).want(201)
	w.clock.Advance(2*time.Hour - time.Second)
	require.Equal(t, "Creating", str(w.get(templateID).body, "properties.provisioningState"))
	w.clock.Advance(time.Hour)
	require.Equal(t, "Succeeded", str(w.run(), "runState"), "it was run without anybody")
	w.get(ubuntuID + "/versions/1.7.0").want(200)
}

// TestCancel: a run is canceled, and is so a minute later.
func TestCancel(t *testing.T) {
	w := aWorkshop(t, "").created(aTemplate())
	begun := w.do("POST", templateID+"/run", nil).want(202)
	w.clock.Advance(100 * time.Second)
	canceled := w.do("POST", templateID+"/cancel", nil).want(202)
	require.Equal(t, "Canceling", str(w.run(), "runState"))
	w.do("POST", templateID+"/cancel", nil).refused(409, "Conflict")
	w.do("POST", templateID+"/run", nil).refused(409, "Conflict")
	w.do("DELETE", templateID, nil).refused(409, "Conflict")
	w.finished(canceled)
	require.Equal(t, "Canceled", str(w.run(), "runState"))
	require.Equal(t, "Canceled", str(w.get(begun.header.Get("Azure-AsyncOperation")).body, "status"))
	w.clock.Advance(time.Hour)
	require.Equal(t, "Canceled", str(w.run(), "runState"))
	w.get(ubuntuID+"/versions/1.7.0").refused(404, "ResourceNotFound")
	require.Equal(t, "Succeeded", str(w.ran(), "runState"), "it can be run again")
}

// TestStuckCanceling: canceling for hours or for ever, with or without the version.
func TestStuckCanceling(t *testing.T) {
	for name, tt := range map[string]struct {
		rule    string
		version int
		end     string
	}{
		"for ever":     {"{fails: stuck-canceling}", 404, "Canceling"},
		"publishes":    {"{fails: stuck-canceling, publishes: true}", 200, "Canceling"},
		"for 19 hours": {"{fails: stuck-canceling, for: 19h, publishes: true}", 200, "Canceled"},
		"only slow":    {"{takes: {canceling: 3h}}", 404, "Canceled"},
	} {
		t.Run(name, func(t *testing.T) {
			w := aWorkshop(t, "builds: ["+tt.rule+"]").created(aTemplate())
			w.do("POST", templateID+"/run", nil).want(202)
			w.clock.Advance(time.Minute)
			w.do("POST", templateID+"/cancel", nil).want(202)
			w.clock.Advance(time.Hour)
			require.Equal(t, "Canceling", str(w.run(), "runState"))
			require.Empty(t, str(w.run(), "runSubState"))
			w.get(ubuntuID + "/versions/1.7.0").want(tt.version)
			w.clock.Advance(19 * time.Hour)
			require.Equal(t, tt.end, str(w.run(), "runState"))
			if tt.end == "Canceling" {
				w.do("DELETE", templateID, nil).refused(409, "Conflict")
			}
		})
	}
}

// TestScenarioTemplates: templates of a scenario can be run and canceled, too.
func TestScenarioTemplates(t *testing.T) {
	w := aWorkshop(t, `
templates:
  - {name: ubuntu-app-1.7.0, identity: id-aib, image: galProd/ubuntu-app, regions: {eastus: 1}, run_state: Running, run_sub_state: Customizing, run_started: 1h}
`)
	canceled := w.do("POST", templateID+"/cancel", nil).want(202)
	w.finished(canceled)
	require.Equal(t, "Canceled", str(w.run(), "runState"))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
	w.get(ubuntuID + "/versions/1.6.1").want(200)
}

// TestAutoRun: a template that runs by itself.
func TestAutoRun(t *testing.T) {
	w := aWorkshop(t, "").created(aTemplate(setting("properties.autoRun", object{"state": "Enabled"})))
	require.Equal(t, "Running", str(w.run(), "runState"))
}

// TestOwnStagingGroup: Image Builder leaves a group that it did not make.
func TestOwnStagingGroup(t *testing.T) {
	w := aWorkshop(t, "resource_groups: [{name: rg-staging, location: eastus}]")
	const staging = "/subscriptions/" + DefaultSubscription + "/resourceGroups/rg-staging"
	w.created(aTemplate(setting("properties.stagingResourceGroup", staging)))
	require.Equal(t, staging, str(w.get(templateID).body, "properties.exactStagingResourceGroup"))
	require.Equal(t, "Succeeded", str(w.ran(), "runState"))
	require.NotEmpty(t, w.log())
	w.finished(w.do("DELETE", templateID, nil).want(202))
	w.get(staging).want(200)
	require.Empty(t, w.all(staging+"/resources"))
}

// TestLostRole: an identity that may not write any more cannot distribute.
func TestLostRole(t *testing.T) {
	w := aWorkshop(t, "").created(aTemplate())
	w.do("POST", templateID+"/run", nil).want(202)
	assignments := w.all(group + "/providers/Microsoft.Authorization/roleAssignments")
	require.Len(t, assignments, 1)
	w.do("DELETE", str(assignments[0], "id"), nil).want(200)
	w.clock.Advance(10 * time.Minute)
	status := w.run()
	require.Equal(t, "Failed", str(status, "runState"))
	require.Contains(t, str(status, "message"), "does not have authorization to perform action 'Microsoft.Compute/galleries/read'")
}

// TestGroupGoes: a run ends when its template goes with the resource group, and so
// does a cancel.
func TestGroupGoes(t *testing.T) {
	w := aWorkshop(t, "").created(aTemplate())
	begun := w.do("POST", templateID+"/run", nil).want(202)
	w.clock.Advance(100 * time.Second)
	canceled := w.do("POST", templateID+"/cancel", nil).want(202)
	w.finished(w.do("DELETE", group, nil).want(202))
	w.clock.Advance(time.Hour)
	require.Equal(t, "Canceled", str(w.get(begun.header.Get("Azure-AsyncOperation")).body, "status"))
	require.Equal(t, "Succeeded", str(w.get(canceled.header.Get("Azure-AsyncOperation")).body, "status"))
}

// TestPerformedBuild: somebody else builds.
func TestPerformedBuild(t *testing.T) {
	w := aWorkshop(t, "", func(c *Config) { c.Builder = true }).created(aTemplate())
	_, found := w.server.NextBuild()
	require.False(t, found)
	w.do("POST", templateID+"/run", nil).want(202)
	_, found = w.server.NextBuild()
	require.False(t, found, "there is no machine yet")
	w.server.Advance(90 * time.Second)
	require.Equal(t, "Customizing", str(w.run(), "runSubState"))
	select {
	case <-w.server.Wake():
	default:
		require.FailNow(t, "nobody is woken")
	}
	job, found := w.server.NextBuild()
	require.True(t, found)
	require.Equal(t, templateID, job.Template)
	require.Equal(t, "ubuntu-app-1.7.0", job.Name)
	require.Equal(t, time.Hour, job.Timeout)
	require.Contains(t, string(job.Body), "customizer harden begins")
	_, found = w.server.NextBuild()
	require.False(t, found, "each is handed out once")
	require.NoError(t, w.server.BuildOutput(job.ID, "==> azure-arm: hello\n    azure-arm: there\n", false))
	require.NoError(t, w.server.BuildOutput(job.ID, "oh\n", true))
	require.NoError(t, w.server.BuildStage(job.ID, "Validating"))
	require.Equal(t, "Validating", str(w.run(), "runSubState"))
	w.server.Advance(100 * time.Hour)
	require.Equal(t, "Running", str(w.run(), "runState"), "a real build takes real time")
	contains(t, w.log(), "PACKER OUT ==> azure-arm: hello\n*PACKER OUT     azure-arm: there\n*PACKER ERR * oh\n")
	require.NoError(t, w.server.BuildDone(job.ID, BuildResult{Image: "/images/1"}))
	require.Equal(t, "Distributing", str(w.run(), "runSubState"))
	w.server.Advance(4 * time.Minute)
	require.Equal(t, "Succeeded", str(w.run(), "runState"))
	require.Equal(t, "/images/1", w.server.store.Resources[key(ubuntuID+"/versions/1.7.0")].Hidden["image"])
	require.ErrorIs(t, w.server.BuildOutput(job.ID, "late\n", false), ErrBuildGone)
}

// TestPerformedBuildFails, or is canceled while it goes on.
func TestPerformedBuildFails(t *testing.T) {
	w := aWorkshop(t, "", func(c *Config) { c.Builder = true }).created(aTemplate())
	begin := func() BuildJob {
		w.do("POST", templateID+"/run", nil).want(202)
		w.server.Advance(90 * time.Second)
		job, found := w.server.NextBuild()
		require.True(t, found)
		return job
	}
	job := begin()
	require.NoError(t, w.server.BuildDone(job.ID, BuildResult{Failure: "Script exited with non-zero exit status: 3"}))
	require.Equal(t, "Failed", str(w.run(), "runState"))
	require.Contains(t, str(w.run(), "message"), "Error when executing packerizer: Script exited with non-zero exit status: 3. During the image build")
	job = begin()
	w.do("POST", templateID+"/cancel", nil).want(202)
	require.ErrorIs(t, w.server.BuildOutput(job.ID, "", false), ErrBuildGone)
	require.ErrorIs(t, w.server.BuildDone(job.ID, BuildResult{}), ErrBuildGone)
}

// TestBuildSurvives: a run goes on after a restart, with its log.
func TestBuildSurvives(t *testing.T) {
	dir := t.TempDir()
	kept := func(c *Config) { c.State = dir }
	w := aWorkshop(t, "builds: [{fails: quota, count: 1}]", kept).created(aTemplate())
	require.Equal(t, "Failed", str(w.ran(), "runState"))
	w.do("POST", templateID+"/run", nil).want(202)
	w.clock.Advance(2 * time.Minute)
	before := w.log()
	require.NotEmpty(t, before)

	again := w.restarted(dir, false)
	require.Equal(t, before, again.log())
	again.clock.Advance(time.Hour)
	require.Equal(t, "Succeeded", str(again.run(), "runState"))
	require.Greater(t, len(again.log()), len(before))
	again.finished(again.do("DELETE", templateID, nil).want(202))
}

// TestPerformedBuildSurvives: a build that was handed out is handed out once more.
func TestPerformedBuildSurvives(t *testing.T) {
	dir := t.TempDir()
	w := aWorkshop(t, "", func(c *Config) { c.State, c.Builder = dir, true }).created(aTemplate())
	w.do("POST", templateID+"/run", nil).want(202)
	w.server.Advance(90 * time.Second)
	job, found := w.server.NextBuild()
	require.True(t, found)
	again := w.restarted(dir, true)
	same, found := again.server.NextBuild()
	require.True(t, found)
	require.Equal(t, job.ID, same.ID)
}
