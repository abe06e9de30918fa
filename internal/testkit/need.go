// Package testkit answers: what do the tests of more than one package need?
//
// Its functions end the test that calls them when something goes wrong. Nothing
// that ships imports it.
package testkit

import (
	"os"
	"os/exec"
	"testing"
)

// Need skips the test where the machine does not have what it needs. In CI, where
// the variable CI is set, the test fails instead: there everything has to run.
func Need(tb testing.TB, has bool, what string) {
	tb.Helper()
	switch {
	case has:
	case os.Getenv("CI") != "":
		tb.Fatalf("needs %s", what)
	default:
		tb.Skipf("needs %s", what)
	}
}

// Tool returns the path of a program, which a package of Debian has.
func Tool(tb testing.TB, name, debianPackage string) string {
	tb.Helper()
	path, err := exec.LookPath(name)
	Need(tb, err == nil, name+": apt-get install "+debianPackage)
	return path
}

// Root is for tests of what only root can do, such as to become another user.
func Root(tb testing.TB) {
	tb.Helper()
	Need(tb, os.Geteuid() == 0, "root")
}
