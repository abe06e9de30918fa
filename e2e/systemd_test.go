//go:build e2e

package e2e

import (
	"github.com/stretchr/testify/require"
)

// checkSystemd holds a real systemd to what the tests' fakes of it claim.
func checkSystemd(g *group) {
	g.check("systemd does what the tests' fakes of it do", func(c *check) {
		g.copyIn(c, settings.systemdTest, "/root/systemd.test")
		g.run(c, "chmod", "755", "/root/systemd.test")
		out, err := g.try("env", "FLEET_TEST_SYSTEMD=1", "/root/systemd.test", "-test.v", "-test.timeout=3m", "-test.run=^TestRealSystemd$")
		require.NoError(c, err, out)
		require.Contains(c, out, "--- PASS: TestRealSystemd")
	})
}
