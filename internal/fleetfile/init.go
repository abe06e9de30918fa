package fleetfile

import (
	_ "embed"
)

// Example is the commented fleet.yaml that `fleetctl init` writes.
//
//go:embed init.yaml
var Example string
