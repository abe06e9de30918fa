package imds

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
)

// Instance is who this VM is. Fields that Azure leaves empty are empty.
type Instance struct {
	// Name is the VM's name in Azure, as scheduled events list it. It is not
	// the host name.
	Name string
	// VMID is unique to the VM: a clone of its disk has another.
	VMID string
	// ScaleSet is the name of the scale set; empty for a VM outside one.
	ScaleSet string
	Zone     string
	Location string
	// Priority is Regular, Spot or Low; empty where the api-version is too old
	// to say.
	Priority       string
	ResourceID     string
	ResourceGroup  string
	SubscriptionID string
	// Image is the resource ID of the image version the VM was made from, or
	// publisher:offer:sku:version for one of the marketplace.
	Image        string
	ComputerName string
}

// instanceVersions are asked in order until one is not refused with a 400:
// clouds differ in how new an api-version they serve. With extended=true the
// service fails rather than leave out what one of its sources does not give;
// 2019-06-01 is older than that.
var instanceVersions = []url.Values{
	{"api-version": {"2023-07-01"}, "extended": {"true"}},
	{"api-version": {"2021-08-01"}, "extended": {"true"}},
	{"api-version": {"2019-06-01"}},
}

// Instance asks who this VM is. It does not retry, but asks again under an older
// api-version when one is refused. An answer without a name or a VM ID is
// ErrPartial and must not be kept; what there is of it is returned beside the
// error.
func (c *Client) Instance(ctx context.Context) (Instance, error) {
	var answer Answer
	var err error
	for _, query := range instanceVersions {
		answer, err = c.do(ctx, http.MethodGet, "/metadata/instance", query, nil)
		if e, ok := errors.AsType[*Error](err); !ok || e.Status != http.StatusBadRequest {
			break
		}
	}
	var instance Instance
	if err == nil {
		instance, err = parseInstance(answer.Body)
	}
	if err != nil {
		return instance, fmt.Errorf("read instance metadata: %w", err)
	}
	return instance, nil
}

// instanceDocument is the part of the answer that is used. encoding/json
// matches keys in any letter case, which Azure's own samples need.
type instanceDocument struct {
	Compute struct {
		Name              string `json:"name"`
		VMID              string `json:"vmId"`
		VMScaleSetName    string `json:"vmScaleSetName"`
		Zone              string `json:"zone"`
		Location          string `json:"location"`
		Priority          string `json:"priority"`
		ResourceID        string `json:"resourceId"`
		ResourceGroupName string `json:"resourceGroupName"`
		SubscriptionID    string `json:"subscriptionId"`
		OSProfile         struct {
			ComputerName string `json:"computerName"`
		} `json:"osProfile"`
		// VirtualMachineScaleSet is filled for flexible orchestration only.
		VirtualMachineScaleSet struct {
			ID string `json:"id"`
		} `json:"virtualMachineScaleSet"`
		StorageProfile struct {
			ImageReference imageReference `json:"imageReference"`
		} `json:"storageProfile"`
	} `json:"compute"`
}

type imageReference struct {
	ID                      string `json:"id"`
	Publisher               string `json:"publisher"`
	Offer                   string `json:"offer"`
	SKU                     string `json:"sku"`
	Version                 string `json:"version"`
	ExactVersion            string `json:"exactVersion"`
	CommunityGalleryImageID string `json:"communityGalleryImageId"`
	SharedGalleryImageID    string `json:"sharedGalleryImageId"`
}

func parseInstance(answer []byte) (Instance, error) {
	var doc instanceDocument
	err := json.Unmarshal(answer, &doc)
	compute := &doc.Compute
	// A value of another type than it should have is left out, the rest is read:
	// only what identifies the VM must be there.
	if _, odd := errors.AsType[*json.UnmarshalTypeError](err); err != nil && (!odd || compute.Name == "" || compute.VMID == "") {
		return Instance{}, &Error{Class: ClassInvalid, Status: http.StatusOK, Err: err}
	}
	instance := Instance{
		Name:           compute.Name,
		VMID:           compute.VMID,
		ScaleSet:       compute.VMScaleSetName,
		Zone:           compute.Zone,
		Location:       compute.Location,
		Priority:       compute.Priority,
		ResourceID:     compute.ResourceID,
		ResourceGroup:  compute.ResourceGroupName,
		SubscriptionID: compute.SubscriptionID,
		Image:          compute.StorageProfile.ImageReference.String(),
		ComputerName:   compute.OSProfile.ComputerName,
	}
	if id := compute.VirtualMachineScaleSet.ID; instance.ScaleSet == "" && id != "" {
		instance.ScaleSet = id[strings.LastIndexByte(id, '/')+1:]
	}
	switch {
	case instance.Name == "":
		return instance, fmt.Errorf("%w: compute.name is empty", ErrPartial)
	case instance.VMID == "":
		return instance, fmt.Errorf("%w: compute.vmId is empty", ErrPartial)
	}
	return instance, nil
}

// String is the image version's resource ID, with the version that "latest"
// stood for when Azure says it, or the marketplace's four-part name.
func (r imageReference) String() string {
	for _, id := range []string{r.ID, r.CommunityGalleryImageID, r.SharedGalleryImageID} {
		if id == "" {
			continue
		}
		image, version := cutVersion(id)
		if r.ExactVersion != "" && (version == "" || strings.EqualFold(version, "latest")) {
			return image + "/versions/" + r.ExactVersion
		}
		return id
	}
	if r.Publisher == "" {
		return ""
	}
	version := r.Version
	if r.ExactVersion != "" {
		version = r.ExactVersion
	}
	return strings.Join([]string{r.Publisher, r.Offer, r.SKU, version}, ":")
}

// cutVersion splits .../images/NAME/versions/VERSION; version is empty when id
// does not end so.
func cutVersion(id string) (image, version string) {
	parts := strings.Split(id, "/")
	if n := len(parts); n > 2 && strings.EqualFold(parts[n-2], "versions") {
		return strings.Join(parts[:n-2], "/"), parts[n-1]
	}
	return id, ""
}
