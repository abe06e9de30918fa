package journal

import (
	"os"
	"testing"

	"github.com/fleet-agent/fleet-agent/internal/testkit/azurite"
)

func TestMain(m *testing.M) {
	if os.Getenv(holderVariable) != "" {
		holdForever()
	}
	code := m.Run()
	azurite.Stop()
	os.Exit(code)
}
