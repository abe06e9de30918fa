package arm

import (
	"net/http"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/fleet-agent/fleet-agent/internal/sim/blob"
)

// The types of storage accounts.
const (
	storageType       = "Microsoft.Storage/storageAccounts"
	blobServiceType   = "Microsoft.Storage/storageAccounts/blobServices"
	blobContainerType = "Microsoft.Storage/storageAccounts/blobServices/containers"
)

// accountName is the rule for names of storage accounts.
var accountName = regexp.MustCompile(`^[a-z0-9]{3,24}$`)

// storageAccounts is the kind of storage accounts. Hidden has the id under which their
// blobs are kept, so that an account that is made anew is empty.
func storageAccounts() kind {
	return kind{
		name:     storageType,
		complete: completeAccount,
		methods: map[string]handler{"PUT": func(tx *txn, c *call) (answer, error) {
			k := accountKind
			a, err := tx.server.putResource(tx, c, &k)
			if a.Status == http.StatusCreated {
				a.Status = http.StatusOK // clients of this service take no 201
			}
			return a, err
		}},
	}
}

// accountKind is the kind without its own PUT.
var accountKind = kind{name: storageType, complete: completeAccount}

func completeAccount(tx *txn, w *write) error {
	name := w.Target.name()
	if !accountName.MatchString(name) {
		return errorf(http.StatusBadRequest, "AccountNameInvalid", "%s is not a valid storage account name. "+
			"Storage account name must be between 3 and 24 characters in length and use numbers and lower-case letters only.", name)
	}
	if other := tx.account(name); other != nil && w.Old == nil {
		return conflict("StorageAccountAlreadyTaken", "The storage account named %s is already taken.", name)
	}
	if err := needLocation(w); err != nil {
		return err
	}
	if err := need(w.Body, "storageAccount", "sku.name", "kind"); err != nil {
		return err
	}
	fillAccount(tx, w.Body, name, str(w.Body, "location"))
	if w.create() {
		w.Hidden = object{"blobs": tx.newBlobs()}
	}
	return nil
}

// fillAccount adds what Azure adds to an account.
func fillAccount(tx *txn, body object, name, where string) {
	endpoints := object{}
	for _, service := range []string{"blob", "dfs", "file", "queue", "table"} {
		endpoints[service] = "https://" + name + "." + service + ".core.windows.net/"
	}
	sku := str(body, "sku.name")
	set(body, "sku.tier", strings.Split(sku, "_")[0])
	set(body, "properties.primaryEndpoints", endpoints)
	set(body, "properties.primaryLocation", location(where))
	set(body, "properties.statusOfPrimary", "available")
	setDefault(body, "properties.creationTime", stamp(tx.now))
	setDefault(body, "properties.supportsHttpsTrafficOnly", true)
	set(body, "properties.provisioningState", statusSucceeded)
}

// newBlobs is a new id for the blobs of an account.
func (tx *txn) newBlobs() string { return guid("blobs", strconv.FormatInt(tx.store.next(), 10)) }

// account is the storage account with a name, or nil: names are unique.
func (tx *txn) account(name string) *resource {
	all := tx.list(storageType, "/subscriptions/"+tx.server.cfg.Subscription)
	if i := slices.IndexFunc(all, func(r *resource) bool { return strings.EqualFold(r.name(), name) }); i >= 0 {
		return all[i]
	}
	return nil
}

// blobs are those of an account.
func (tx *txn) blobs(account *resource) *blob.Account {
	id := str(account.Hidden, "blobs")
	if id == "" {
		id = guid("blobs", key(account.ID)) // of a scenario's raw resource
	}
	if tx.store.Blobs[id] == nil {
		if tx.store.Blobs == nil {
			tx.store.Blobs = map[string]*blob.Account{}
		}
		tx.store.Blobs[id] = &blob.Account{}
	}
	return tx.store.Blobs[id]
}

// blobServices is the kind of what containers belong to, which is always there.
func blobServices() kind { return kind{name: blobServiceType, bare: true, orphan: true} }

// blobContainers is the kind of containers as Azure Resource Manager shows them.
func blobContainers() kind {
	return kind{
		name: blobContainerType, bare: true,
		methods: map[string]handler{"GET": getContainer, "PUT": putContainer, "LIST": listContainers},
	}
}

// containersOf are the blobs of the account that a container's path names.
func containersOf(tx *txn, c *call) (*resource, *blob.Account, error) {
	up := c.Target
	up.types, up.names = up.types[:1], up.names[:1]
	r := tx.get(up.id())
	if r == nil {
		return nil, nil, notFound(up)
	}
	return r, tx.blobs(r), nil
}

func containerBody(account *resource, name string, c *blob.Container) object {
	return object{
		"id": account.ID + "/blobServices/default/containers/" + name, "name": name, "type": blobContainerType, "etag": c.ETag,
		"properties": object{
			"publicAccess": "None", "leaseStatus": "Unlocked", "leaseState": "Available", "lastModifiedTime": stamp(c.Modified),
			"hasImmutabilityPolicy": false, "hasLegalHold": false,
		},
	}
}

func getContainer(tx *txn, c *call) (answer, error) {
	account, blobs, err := containersOf(tx, c)
	if err != nil {
		return answer{}, err
	}
	made := blobs.Containers[c.Target.name()]
	if made == nil {
		return answer{}, errorf(http.StatusNotFound, "ContainerNotFound", "The specified container does not exist.")
	}
	return ok(containerBody(account, c.Target.name(), made)), nil
}

func putContainer(tx *txn, c *call) (answer, error) {
	account, blobs, err := containersOf(tx, c)
	if err != nil {
		return answer{}, err
	}
	name := c.Target.name()
	if !blob.ValidContainer(name) {
		return answer{}, errorf(http.StatusBadRequest, "ContainerNameInvalid", "The container name '%s' is invalid.", name)
	}
	status := http.StatusOK
	if blobs.Containers[name] == nil {
		status = http.StatusCreated
		tx.undo = append(tx.undo, func() { delete(blobs.Containers, name) })
	}
	blobs.Create(name, tx.now)
	return answer{Status: status, Body: containerBody(account, name, blobs.Containers[name])}, nil
}

func listContainers(tx *txn, c *call) (answer, error) {
	account, blobs, err := containersOf(tx, c)
	if err != nil {
		return answer{}, err
	}
	values := []any{}
	for _, name := range blobs.Names() {
		values = append(values, containerBody(account, name, blobs.Containers[name]))
	}
	return ok(object{"value": values}), nil
}
