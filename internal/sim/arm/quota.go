package arm

// enoughCores is the quota of a region that a scenario gives none.
const enoughCores = 10_000

// cores are those of all machines of a region, whether they run or not.
func (tx *txn) cores(region string) (n, machines int) {
	for _, r := range tx.list(vmType, "/subscriptions/"+tx.server.cfg.Subscription) {
		if location(str(r.Body, "location")) == region {
			n, machines = n+coresOf(str(r.Body, "properties.hardwareProfile.vmSize")), machines+1
		}
	}
	return n, machines
}

// overQuota is why there is no quota for one more member of a scale set, or nil.
func (tx *txn) overQuota(r *resource) *armError {
	size, region := str(r.Body, "sku.name"), location(str(r.Body, "location"))
	limit, given := tx.server.rules.Machines.Quotas[region]
	if !given {
		return nil
	}
	if used, _ := tx.cores(region); used+coresOf(size) > limit {
		return noCapacity("OperationNotAllowed", size, region, used, limit)
	}
	return nil
}

// usages is the kind of what a subscription uses in a region, and may use.
func usages() kind {
	return kind{
		name: "Microsoft.Compute/locations/usages", orphan: true,
		methods: map[string]handler{"LIST": func(tx *txn, c *call) (answer, error) {
			region := location(c.Target.names[0])
			used, machines := tx.cores(region)
			limit, given := tx.server.rules.Machines.Quotas[region]
			if !given {
				limit = enoughCores
			}
			usage := func(name, words string, used, limit int) object {
				return object{"name": object{"value": name, "localizedValue": words}, "unit": "Count", "currentValue": whole(used), "limit": whole(limit)}
			}
			return ok(object{"value": []any{
				usage("cores", "Total Regional vCPUs", used, limit),
				usage("virtualMachines", "Virtual Machines", machines, enoughCores),
			}}), nil
		}},
	}
}
