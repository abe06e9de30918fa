// Microsoft's clients against fleetsim arm. run.mjs starts the simulator and tells
// where it is. Each check is an operation whose outcome the client itself decodes;
// what is counted at the end is requests on the wire and the answers that were judged.
import assert from "node:assert/strict";
import { after, before, describe, test } from "node:test";

import { ComputeManagementClient } from "@azure/arm-compute";
import { ImageBuilderClient } from "@azure/arm-imagebuilder";
import { MonitorClient } from "@azure/arm-monitor";
import { ClientSecretCredential } from "@azure/identity";
import { BlobServiceClient } from "@azure/storage-blob";

const subscription = "11111111-1111-1111-1111-111111111111";
const tenant = "22222222-2222-2222-2222-222222222222";
const group = "rg-pay-prod";
const id = (rest) => `/subscriptions/${subscription}/resourceGroups/${group}/providers/${rest}`;

const counts = { requests: 0, judged: 0, polls: 0 };
const byStatus = {};

// counting is a policy that counts what goes over the wire.
const counting = {
  policy: {
    name: "counting",
    async sendRequest(request, next) {
      const response = await next(request);
      counts.requests++;
      if (/\/locations\/[^/]+\/operation/i.test(request.url)) counts.polls++;
      byStatus[response.status] = (byStatus[response.status] ?? 0) + 1;
      return response;
    },
  },
  position: "perRetry",
};

// judge takes the answer of an operation and counts it.
async function judge(operation) {
  const answer = await operation;
  counts.judged++;
  return answer;
}

// refused asserts that an operation fails as Azure would have it fail.
async function refused(operation, status, code) {
  const error = await operation.then(() => assert.fail(`expected ${status} ${code}`), (e) => e);
  assert.equal(error.name, "RestError", error.stack);
  assert.equal(error.statusCode, status, error.message);
  if (code) assert.equal(error.code, code, error.message);
  assert.ok(error.message.length > 0);
  counts.judged++;
  return error;
}

// all walks a list and its pages.
async function all(list) {
  const pages = [];
  for await (const page of list.byPage()) pages.push(page);
  counts.judged++;
  return { pages, items: pages.flat() };
}

const gallery = { location: "eastus", description: "golden images" };
const definition = {
  location: "eastus", osType: "Linux", osState: "Generalized", hyperVGeneration: "V2",
  identifier: { publisher: "kloudvin", offer: "ubuntu", sku: "app-jammy" },
  features: [{ name: "SecurityType", value: "TrustedLaunchSupported" }],
};
const version = {
  location: "eastus",
  publishingProfile: {
    storageAccountType: "Standard_ZRS",
    targetRegions: [
      { name: "East US", regionalReplicaCount: 3, excludeFromLatest: true },
      { name: "West US 3", regionalReplicaCount: 2, excludeFromLatest: true },
    ],
  },
  storageProfile: { source: { id: id("Microsoft.Compute/images/img-ubuntu-app") } },
  safetyProfile: { allowDeletionOfReplicatedLocations: true, blockDeletionBeforeEndOfLife: false },
};
const set = {
  location: "eastus",
  zones: ["1", "2", "3"],
  sku: { name: "Standard_D2as_v5", tier: "Standard", capacity: 3 },
  orchestrationMode: "Flexible",
  platformFaultDomainCount: 1,
  upgradePolicy: { mode: "Manual" },
  virtualMachineProfile: {
    osProfile: { computerNamePrefix: "authz", adminUsername: "azureuser", linuxConfiguration: { disablePasswordAuthentication: true, ssh: { publicKeys: [{ path: "/home/azureuser/.ssh/authorized_keys", keyData: "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIExample" }] } } },
    storageProfile: { imageReference: { id: id("Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/1.0.0") }, osDisk: { createOption: "FromImage", deleteOption: "Delete" } },
    networkProfile: { networkApiVersion: "2020-11-01", networkInterfaceConfigurations: [{ name: "nic", primary: true, ipConfigurations: [{ name: "ip", subnet: { id: id("Microsoft.Network/virtualNetworks/vnet/subnets/app") } }] }] },
    extensionProfile: { extensions: [{ name: "health", publisher: "Microsoft.ManagedServices", typePropertiesType: "ApplicationHealthLinux", typeHandlerVersion: "2.0", autoUpgradeMinorVersion: true, settings: { protocol: "http", port: 8080, requestPath: "/healthz" }, protectedSettings: { token: "not to be seen" } }] },
  },
};
const autoscale = (name) => ({
  location: "eastus", enabled: true, targetResourceUri: id("Microsoft.Compute/virtualMachineScaleSets/vmss-authz"),
  profiles: [{
    name: "default", capacity: { minimum: "3", maximum: "30", default: "3" },
    rules: [{
      metricTrigger: { metricName: "Percentage CPU", metricResourceUri: id("Microsoft.Compute/virtualMachineScaleSets/vmss-authz"), timeGrain: "PT1M", statistic: "Average", timeWindow: "PT5M", timeAggregation: "Average", operator: "GreaterThan", threshold: 70 },
      scaleAction: { direction: "Increase", type: "ChangeCount", value: "2", cooldown: "PT5M" },
    }],
  }],
  predictiveAutoscalePolicy: { scaleMode: "ForecastOnly", scaleLookAheadTime: "PT15M" },
  namePropertiesName: name,
});
const template = {
  location: "eastus",
  identity: { type: "UserAssigned", userAssignedIdentities: { [id("Microsoft.ManagedIdentity/userAssignedIdentities/id-aib")]: {} } },
  source: { type: "PlatformImage", publisher: "Canonical", offer: "0001-com-ubuntu-server-jammy", sku: "22_04-lts-gen2", version: "latest" },
  customize: [{ type: "Shell", name: "install", inline: ["echo installed"] }],
  distribute: [{
    type: "SharedImage", runOutputName: "ubuntu-app", galleryImageId: id("Microsoft.Compute/galleries/galProd/images/ubuntu-app"), excludeFromLatest: true,
    targetRegions: [{ name: "eastus", replicaCount: 3 }],
  }],
  vmProfile: { vmSize: "Standard_D2as_v5", osDiskSizeGB: 30 },
  buildTimeoutInMinutes: 60,
};

const { pageSize, endpoint, control } = JSON.parse(process.env.SIMULATOR);

describe(`pages of ${pageSize}`, () => {
  const credential = new ClientSecretCredential(tenant, "33333333-3333-3333-3333-333333333333", "any secret", {
    authorityHost: endpoint, disableInstanceDiscovery: true,
  });
  const options = { endpoint, additionalPolicies: [counting] };
  const patient = { ...options, retryOptions: { maxRetries: 3 } };
  const hasty = { ...options, retryOptions: { maxRetries: 0 } };
  const compute = new ComputeManagementClient(credential, subscription, patient);
  const monitor = new MonitorClient(credential, subscription, patient);
  const builder = new ImageBuilderClient(credential, subscription, patient);
  // poll waits for an operation: the simulated minutes pass in fractions of a second.
  const poll = { updateIntervalInMs: 100 };
  let bearer;

  // raw is a request without a client: for what the clients have no words for.
  const raw = (method, path, body, headers = {}) => fetch(endpoint + path, {
    method, body: body && JSON.stringify(body), headers: { "Content-Type": "application/json", Authorization: `Bearer ${bearer}`, ...headers },
  });

  // fault makes the simulator answer what it is told, a number of times.
  async function fault(fault) {
    const response = await fetch(`${control}/v1/fault`, { method: "POST", body: JSON.stringify(fault), headers: { "Content-Type": "application/json" } });
    assert.ok(response.ok, await response.text());
  }

  // slowly runs steps while simulated time passes as real time does, for what ends by
  // itself: at the usual pace a lease of a minute is over after a tenth of a second.
  async function slowly(steps) {
    const clock = async (factor) => {
      const response = await fetch(`${control}/v1/clock`, { method: "POST", body: JSON.stringify({ factor }), headers: { "Content-Type": "application/json" } });
      assert.ok(response.ok, await response.text());
    };
    const { factor } = await (await fetch(`${control}/v1/clock`)).json();
    await clock(1);
    try {
      await steps();
    } finally {
      await clock(factor);
    }
  }

  before(async () => {
    bearer = (await judge(credential.getToken("https://management.azure.com/.default"))).token;
    const response = await raw("PUT", `/subscriptions/${subscription}/resourceGroups/${group}?api-version=2021-04-01`, { location: "eastus" });
    assert.equal(response.status, 201);
    assert.equal((await judge(response.json())).properties.provisioningState, "Succeeded");
  });

  test("a token is asked for, and has an end", async () => {
    const token = await judge(credential.getToken("https://management.azure.com/.default"));
    assert.ok(token.token.length > 0);
    assert.ok(token.expiresOnTimestamp > Date.now());
    const response = await raw("GET", `/subscriptions/${subscription}?api-version=2021-04-01`, undefined, { Authorization: "" });
    assert.equal(response.status, 401);
    assert.match(response.headers.get("www-authenticate") ?? "", /^Bearer /);
    assert.match((await judge(response.json())).error.code, /^Authentication/);
  });

  test("galleries, definitions, versions", async () => {
    const made = await judge(compute.galleries.createOrUpdate(group, "galProd", gallery, poll));
    assert.equal(made.provisioningState, "Succeeded");
    assert.equal(made.id, id("Microsoft.Compute/galleries/galProd"));
    const image = await judge(compute.galleryImages.createOrUpdate(group, "galProd", "ubuntu-app", definition, poll));
    assert.equal(image.identifier.sku, "app-jammy");

    const versions = ["1.0.0", "1.1.0", "1.2.0"];
    for (const name of versions) {
      const poller = compute.galleryImageVersions.createOrUpdate(group, "galProd", "ubuntu-app", name, version, poll);
      assert.equal((await judge(poller)).provisioningState, "Succeeded");
    }
    const list = await all(compute.galleryImageVersions.listByGalleryImage(group, "galProd", "ubuntu-app"));
    assert.deepEqual(list.items.map((v) => v.name).sort(), versions);
    assert.equal(list.pages.length, Math.ceil(versions.length / pageSize));

    const bare = await judge(compute.galleryImageVersions.get(group, "galProd", "ubuntu-app", "1.0.0"));
    assert.equal(bare.replicationStatus, undefined, "replication is told only when it is asked for");
    const seen = await judge(compute.galleryImageVersions.get(group, "galProd", "ubuntu-app", "1.0.0", { expand: "ReplicationStatus" }));
    assert.equal(seen.replicationStatus.aggregatedState, "Completed");
    assert.deepEqual(seen.replicationStatus.summary.map((s) => `${s.region} ${s.state} ${s.progress}`).sort(), ["East US Completed 100", "West US 3 Completed 100"]);

    const regions = version.publishingProfile.targetRegions.map((r) => ({ ...r, excludeFromLatest: false }));
    const cleared = await judge(compute.galleryImageVersions.update(group, "galProd", "ubuntu-app", "1.0.0", { publishingProfile: { targetRegions: regions } }, poll));
    assert.deepEqual(cleared.publishingProfile.targetRegions.map((r) => r.excludeFromLatest), [false, false]);
    assert.equal(cleared.publishingProfile.storageAccountType, "Standard_ZRS", "what a PATCH does not name stays");

    assert.equal((await all(compute.galleries.listByResourceGroup(group))).items.length, 1);
    assert.equal((await all(compute.galleries.list())).items.length, 1);
    assert.equal((await all(compute.galleryImages.listByGallery(group, "galProd"))).items.length, 1);
    await refused(compute.galleryImages.createOrUpdate(group, "galProd", "ubuntu-app", { ...definition, osType: "Windows" }, poll), 409);
    await refused(compute.galleries.delete(group, "galProd", poll), 409);
    await refused(compute.galleries.get(group, "galTest"), 404, "ResourceNotFound");
    await judge(compute.galleryImageVersions.delete(group, "galProd", "ubuntu-app", "1.2.0", poll));
    await refused(compute.galleryImageVersions.get(group, "galProd", "ubuntu-app", "1.2.0"), 404);
  });

  test("scale sets and their members", async () => {
    const made = await judge(compute.virtualMachineScaleSets.createOrUpdate(group, "vmss-authz", set, poll));
    assert.equal(made.provisioningState, "Succeeded");
    assert.equal(made.orchestrationMode, "Flexible");
    assert.ok(made.etag, "a write can be made conditional");
    assert.equal(made.virtualMachineProfile.extensionProfile.extensions[0].protectedSettings, undefined, "secrets are never answered");

    const filter = `'virtualMachineScaleSet/id' eq '${made.id}'`;
    const members = await all(compute.virtualMachines.list(group, { filter, expand: "instanceView" }));
    assert.equal(members.items.length, 3);
    assert.equal(members.pages.length, Math.ceil(3 / pageSize));
    for (const vm of members.items) {
      assert.equal(vm.virtualMachineScaleSet.id.toLowerCase(), made.id.toLowerCase());
      assert.ok(vm.instanceView.statuses.some((s) => s.code === "PowerState/running"), JSON.stringify(vm.instanceView.statuses));
      assert.equal(vm.storageProfile.imageReference.exactVersion, "1.0.0");
    }
    const [vm] = members.items;
    const view = await judge(compute.virtualMachines.instanceView(group, vm.name));
    assert.match(view.vmHealth.status.code, /^HealthState\//);
    assert.ok(view.statuses.find((s) => s.code === "ProvisioningState/succeeded").time instanceof Date);
    const expanded = await judge(compute.virtualMachines.get(group, vm.name, { expand: "instanceView" }));
    assert.equal(expanded.instanceView.vmHealth.status.code, view.vmHealth.status.code);
    assert.equal((await judge(compute.virtualMachines.get(group, vm.name))).instanceView, undefined);
    const listed = await all(compute.virtualMachineScaleSetVMs.list(group, "vmss-authz"));
    assert.deepEqual(listed.items.map((m) => m.instanceId).sort(), members.items.map((m) => m.name).sort());
    const member = await judge(compute.virtualMachineScaleSetVMs.get(group, "vmss-authz", vm.name));
    assert.equal(member.latestModelApplied, true);

    await refused(compute.virtualMachineScaleSets.getInstanceView(group, "vmss-authz"), 409, "OperationNotAllowed");
    await refused(compute.virtualMachineScaleSetRollingUpgrades.getLatest(group, "vmss-authz"), 404);
    assert.equal((await all(compute.virtualMachineScaleSets.listOSUpgradeHistory(group, "vmss-authz"))).items.length, 0);

    const change = { tags: { owner: "payments" } };
    await refused(Promise.resolve(compute.virtualMachineScaleSets.update(group, "vmss-authz", change, { ...poll, ifMatch: '"another"' })), 412);
    const changed = await judge(compute.virtualMachineScaleSets.update(group, "vmss-authz", change, { ...poll, ifMatch: made.etag }));
    assert.equal(changed.tags.owner, "payments");
    assert.equal(changed.sku.capacity, 3);
    assert.notEqual(changed.etag, made.etag);
    await refused(Promise.resolve(compute.virtualMachineScaleSets.update(group, "vmss-authz", change, { ...poll, ifMatch: made.etag })), 412);
    await refused(Promise.resolve(compute.virtualMachineScaleSets.createOrUpdate(group, "vmss-authz", set, { ...poll, ifNoneMatch: "*" })), 412);

    const pinned = { virtualMachineProfile: { storageProfile: { imageReference: { id: id("Microsoft.Compute/galleries/galProd/images/ubuntu-app/versions/1.1.0") } } } };
    const moved = await judge(compute.virtualMachineScaleSets.update(group, "vmss-authz", pinned, poll));
    assert.match(moved.virtualMachineProfile.storageProfile.imageReference.id, /1\.1\.0$/);
    assert.equal(moved.virtualMachineProfile.networkProfile.networkInterfaceConfigurations[0].name, "nic", "what a PATCH does not name stays");
    const stale = await judge(compute.virtualMachineScaleSetVMs.get(group, "vmss-authz", vm.name));
    assert.equal(stale.latestModelApplied, false, "Manual: the member keeps its own model");
    await judge(compute.virtualMachineScaleSets.updateInstances(group, "vmss-authz", { instanceIds: [vm.name] }, poll));
    const upgraded = await judge(compute.virtualMachineScaleSetVMs.get(group, "vmss-authz", vm.name));
    assert.equal(upgraded.latestModelApplied, true);
    assert.equal((await judge(compute.virtualMachines.get(group, vm.name))).storageProfile.imageReference.exactVersion, "1.1.0");

    const protectionPolicy = { protectFromScaleIn: true };
    const guarded = await judge(compute.virtualMachineScaleSetVMs.update(group, "vmss-authz", vm.name, { location: "eastus", protectionPolicy }, poll));
    assert.equal(guarded.protectionPolicy.protectFromScaleIn, true);
    assert.equal(guarded.latestModelApplied, true, "protection is no change of the model");

    await judge(compute.virtualMachineScaleSets.update(group, "vmss-authz", { sku: { ...set.sku, capacity: 4 } }, poll));
    assert.equal((await all(compute.virtualMachines.list(group, { filter }))).items.length, 4);

    const extension = { publisher: "Microsoft.Azure.Extensions", typePropertiesType: "CustomScript", typeHandlerVersion: "2.1", settings: { fileUris: [] }, protectedSettings: { commandToExecute: "true" } };
    const written = await judge(compute.virtualMachineScaleSetExtensions.createOrUpdate(group, "vmss-authz", "script", extension, poll));
    assert.equal(written.protectedSettings, undefined);
    assert.deepEqual((await all(compute.virtualMachineScaleSetExtensions.list(group, "vmss-authz"))).items.map((e) => e.name).sort(), ["health", "script"]);

    await judge(compute.virtualMachineScaleSets.createOrUpdate(group, "vmss-batch", { ...set, sku: { ...set.sku, capacity: 0 } }, poll));
    for (const list of [compute.virtualMachineScaleSets.list(group), compute.virtualMachineScaleSets.listAll(), compute.virtualMachineScaleSets.listByLocation("eastus")]) {
      const { items, pages } = await all(list);
      assert.deepEqual(items.map((s) => s.name).sort(), ["vmss-authz", "vmss-batch"]);
      assert.equal(pages.length, Math.ceil(2 / pageSize));
    }
    await refused(Promise.resolve(compute.virtualMachineScaleSetRollingUpgrades.cancel(group, "vmss-authz", poll)), 409);
    await judge(compute.virtualMachineScaleSets.delete(group, "vmss-batch", poll));
    await refused(compute.virtualMachineScaleSets.get(group, "vmss-batch"), 404, "ResourceNotFound");
  });

  test("autoscale settings", async () => {
    const made = await judge(monitor.autoscaleSettings.createOrUpdate(group, "as-authz", autoscale("as-authz")));
    assert.equal(made.profiles[0].rules[0].metricTrigger.threshold, 70);
    assert.equal(made.predictiveAutoscalePolicy.scaleMode, "ForecastOnly");
    await judge(monitor.autoscaleSettings.createOrUpdate(group, "as-batch", { ...autoscale("as-batch"), targetResourceUri: id("Microsoft.Compute/virtualMachineScaleSets/vmss-batch") }));
    const changed = await judge(monitor.autoscaleSettings.update(group, "as-authz", { enabled: false, profiles: autoscale("as-authz").profiles }));
    assert.equal(changed.enabled, false);
    for (const list of [monitor.autoscaleSettings.listByResourceGroup(group), monitor.autoscaleSettings.listBySubscription()]) {
      const { items, pages } = await all(list);
      assert.deepEqual(items.map((s) => s.name).sort(), ["as-authz", "as-batch"]);
      assert.equal(pages.length, Math.ceil(2 / pageSize));
    }
    await judge(monitor.autoscaleSettings.delete(group, "as-batch"));
    await refused(monitor.autoscaleSettings.get(group, "as-batch"), 404);
  });

  // permit makes the identity of Image Builder and assigns the role Contributor to it.
  async function permit() {
    const identity = await raw("PUT", `${id("Microsoft.ManagedIdentity/userAssignedIdentities/id-aib")}?api-version=2024-11-30`, { location: "eastus" });
    const { properties: { principalId } } = await judge(identity.json());
    const assignment = await raw("PUT",
      `${id("Microsoft.Authorization/roleAssignments/44444444-4444-4444-4444-444444444444")}?api-version=2022-04-01`,
      { properties: { principalId, roleDefinitionId: `/subscriptions/${subscription}/providers/Microsoft.Authorization/roleDefinitions/b24988ac-6180-42a0-ab88-20f7382dd24c` } });
    assert.equal(assignment.status, 201, await assignment.text());
  }

  test("image templates", async () => {
    const templates = builder.virtualMachineImageTemplates;
    await assert.rejects(Promise.resolve(templates.createOrUpdate(group, "ubuntu-app-1.8.0", template, poll)), /managed identity cannot be used/);
    assert.equal((await judge(templates.get(group, "ubuntu-app-1.8.0"))).provisioningError.provisioningErrorCode, "Other");
    await judge(templates.delete(group, "ubuntu-app-1.8.0", poll));
    await permit();
    const made = await judge(templates.createOrUpdate(group, "ubuntu-app-1.8.0", template, poll));
    assert.equal(made.provisioningState, "Succeeded");
    assert.equal(made.distribute[0].type, "SharedImage");
    assert.equal(made.customize[0].inline[0], "echo installed");
    await refused(Promise.resolve(templates.createOrUpdate(group, "ubuntu-app-1.8.0", template, poll)), 409);
    assert.equal((await judge(templates.get(group, "ubuntu-app-1.8.0"))).vmProfile.osDiskSizeGB, 30);
    assert.equal((await all(templates.listByResourceGroup(group))).items.length, 1);
    assert.equal((await all(templates.list())).items.length, 1);
    assert.equal((await all(templates.listRunOutputs(group, "ubuntu-app-1.8.0"))).items.length, 0);
  });

  test("an image is built", async () => {
    const templates = builder.virtualMachineImageTemplates;
    await judge(templates.run(group, "ubuntu-app-1.8.0", poll));
    const built = await judge(templates.get(group, "ubuntu-app-1.8.0"));
    assert.equal(built.lastRunStatus.runState, "Succeeded");
    assert.ok(built.lastRunStatus.endTime > built.lastRunStatus.startTime);
    const outputs = await all(templates.listRunOutputs(group, "ubuntu-app-1.8.0"));
    assert.deepEqual(outputs.items.map((o) => o.name), ["ubuntu-app"]);
    const made = await judge(compute.galleryImageVersions.get(group, "galProd", "ubuntu-app", outputs.items[0].artifactId.split("/").pop()));
    assert.equal(made.publishingProfile.excludeFromLatest, true);
    assert.equal(made.publishingProfile.targetRegions[0].regionalReplicaCount, 3);

    const accounts = await raw("GET", `${built.exactStagingResourceGroup}/providers/Microsoft.Storage/storageAccounts?api-version=2024-01-01`);
    const [account] = (await judge(accounts.json())).value;
    const blobs = new BlobServiceClient(`${endpoint}/blob/${account.name}`, credential, { retryOptions: { maxTries: 1 } });
    const names = [];
    for await (const blob of blobs.getContainerClient("packerlogs").listBlobsFlat()) names.push(blob.name);
    assert.equal(names.length, 1);
    assert.match(names[0], /^[0-9a-f-]{36}\/customization\.log$/);
    const log = (await judge(blobs.getContainerClient("packerlogs").getBlobClient(names[0]).downloadToBuffer())).toString();
    assert.match(log, /PACKER OUT     azure-arm: installed\n/);
    await judge(templates.delete(group, "ubuntu-app-1.8.0", poll));
    await refused(templates.get(group, "ubuntu-app-1.8.0"), 404);
  });

  test("blobs", async () => {
    const account = await raw("PUT", `${id("Microsoft.Storage/storageAccounts/stpay")}?api-version=2024-01-01`, { location: "eastus", kind: "StorageV2", sku: { name: "Standard_LRS" } });
    assert.equal((await judge(account.json())).properties.primaryEndpoints.blob, "https://stpay.blob.core.windows.net/");
    const container = new BlobServiceClient(`${endpoint}/blob/stpay`, credential, { retryOptions: { maxTries: 1 } }).getContainerClient("bake");
    await judge(container.create());
    await refused(container.create(), 409, "ContainerAlreadyExists");
    const blob = container.getBlockBlobClient("abc/agent.deb");
    await judge(blob.upload("0123456789", 10, { conditions: { ifNoneMatch: "*" }, metadata: { owner: "payments" }, blobHTTPHeaders: { blobContentType: "text/plain" } }));
    await refused(blob.upload("x", 1, { conditions: { ifNoneMatch: "*" } }), 409, "BlobAlreadyExists");
    assert.equal((await judge(blob.downloadToBuffer(2, 3))).toString(), "234");
    const properties = await judge(blob.getProperties());
    assert.deepEqual([properties.contentLength, properties.contentType, properties.metadata.owner], [10, "text/plain", "payments"]);

    const journal = container.getAppendBlobClient("journal");
    await judge(journal.create());
    await judge(journal.appendBlock("one\n", 4, { conditions: { appendPosition: 0 } }));
    await refused(journal.appendBlock("two\n", 4, { conditions: { appendPosition: 0 } }), 412, "AppendPositionConditionNotMet");
    const lease = journal.getBlobLeaseClient();
    await slowly(async () => {
      await judge(lease.acquireLease(60));
      await refused(journal.appendBlock("two\n", 4), 412, "LeaseIdMissing");
      await judge(journal.appendBlock("two\n", 4, { conditions: { leaseId: lease.leaseId } }));
      await judge(lease.releaseLease());
    });
    assert.equal((await judge(journal.downloadToBuffer())).toString(), "one\ntwo\n");
    const pages = [];
    for await (const page of container.listBlobsFlat().byPage({ maxPageSize: 1 })) pages.push(page.segment.blobItems.map((b) => b.name));
    assert.deepEqual(pages, [["abc/agent.deb"], ["journal"]]);
    await judge(blob.delete());
    await refused(blob.download(), 404, "BlobNotFound");
  });

  test("too many requests", async () => {
    const path = "/galleries/galProd";
    await fault({ kind: "throttle", method: "GET", path, count: 1 });
    const error = await refused(new ComputeManagementClient(credential, subscription, hasty).galleries.get(group, "galProd"), 429);
    const header = (name) => error.response.headers.get(name);
    assert.match(header("retry-after"), /^[1-9]\d*$/);
    const wait = Number(header("retry-after-ms") ?? header("retry-after") * 1000);
    await fault({ kind: "throttle", method: "GET", path, count: 1 });
    const before = Date.now();
    assert.equal((await judge(compute.galleries.get(group, "galProd"))).name, "galProd");
    const waited = Date.now() - before;
    assert.ok(waited >= 0.9 * wait, `waited ${waited} ms where ${wait} ms were asked for`);
  });
});

after(() => {
  console.log(`judged ${counts.judged} answers of Microsoft's clients, ${counts.requests} requests, ${counts.polls} of them polls: ${JSON.stringify(byStatus)}`);
  assert.ok(counts.judged >= 90, "fewer answers than there are");
  assert.ok(counts.polls >= 10, "operations are polled, not taken for done");
  for (const status of [200, 201, 202, 404, 409, 412, 429]) assert.ok(byStatus[status] > 0, `no answer was ${status}`);
});
