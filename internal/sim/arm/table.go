package arm

import "strings"

// kinds is the table of all resource types that the simulator knows. What is known
// of a type stands in the file of its service.
func kinds() map[string]*kind {
	table := map[string]*kind{}
	for _, k := range []kind{
		resourceGroups(), registrations(),
		galleries(), definitions(), versions(),
		templates(), runOutputs(), storageAccounts(), blobServices(), blobContainers(),
		autoscaleSettings(), identities(), networks(), subnets(), roleDefinitions(), roleAssignments(), permissions(),
		scaleSetKind(), setExtensionKind(), instanceKind(), machineKind(), machineExtensionKind(),
		byLocation(setType), byLocation(vmType), usages(),
	} {
		table[strings.ToLower(k.name)] = &k
	}
	return table
}
