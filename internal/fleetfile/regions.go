package fleetfile

// regions are those of Azure's clouds that are known here, to tell a typing error
// from a region that is newer than this program, which is taken.
var regions = []string{
	"asia", "australiacentral", "australiacentral2", "australiaeast", "australiasoutheast", "austriaeast", "belgiumcentral",
	"brazilsouth", "brazilsoutheast", "canadacentral", "canadaeast", "centralindia", "centralus", "chilecentral", "denmarkeast",
	"eastasia", "eastus", "eastus2", "eastus3", "francecentral", "francesouth", "germanynorth", "germanywestcentral", "indiasouthcentral",
	"indonesiacentral", "israelcentral", "italynorth", "japaneast", "japanwest", "jioindiacentral", "jioindiawest", "koreacentral",
	"koreasouth", "malaysiawest", "mexicocentral", "newzealandnorth", "northcentralus", "northeurope", "norwayeast", "norwaywest",
	"polandcentral", "qatarcentral", "southafricanorth", "southafricawest", "southcentralus", "southeastasia", "southindia", "spaincentral",
	"swedencentral", "swedensouth", "switzerlandnorth", "switzerlandwest", "uaecentral", "uaenorth", "uksouth", "ukwest", "westcentralus",
	"westeurope", "westindia", "westus", "westus2", "westus3",
	"usgovarizona", "usgovtexas", "usgovvirginia", "usdodcentral", "usdodeast",
	"chinaeast", "chinaeast2", "chinaeast3", "chinanorth", "chinanorth2", "chinanorth3",
}

// meantRegion returns the known region that a name is one typing error away from.
// Numbers are no typing errors: westus4 may well exist one day.
func meantRegion(name string) string {
	for _, known := range regions {
		if oneSlip(name, known) {
			return known
		}
	}
	return ""
}

// oneSlip says whether a becomes b when one letter is added, left out or changed, or
// two neighbours are swapped.
func oneSlip(a, b string) bool {
	for a != "" && b != "" && a[0] == b[0] {
		a, b = a[1:], b[1:]
	}
	for a != "" && b != "" && a[len(a)-1] == b[len(b)-1] {
		a, b = a[:len(a)-1], b[:len(b)-1]
	}
	for _, c := range []byte(a + b) {
		if c < 'a' || c > 'z' {
			return false
		}
	}
	swapped := len(a) == 2 && len(b) == 2 && a[0] == b[1] && a[1] == b[0]
	return swapped || max(len(a), len(b)) == 1
}
