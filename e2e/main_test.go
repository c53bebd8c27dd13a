// Package e2e tests tracklane from outside: it starts the program that the
// commands start, in this process or as one of its own, with a PostgreSQL and a
// Redis that may be stopped, and talks to it over HTTP.
package e2e

import (
	"fmt"
	"os"
	"testing"

	"tracklane/internal/apidoc/apidoctest"
	"tracklane/internal/app"
	"tracklane/internal/devservers/devserverstest"
)

// version is the one that the programs of these tests say they are.
const version = "e2e"

// servers is what the tests of this package share.
var servers *devserverstest.Servers

// runAsProgram makes the test binary be tracklane in the roles that the variable
// names, so that a test can run it as a process of its own and kill it.
const runAsProgram = "TRACKLANE_TEST_RUN_AS_PROGRAM"

// commands are those of tracklane that start the program.
var commands = map[string]app.Roles{
	"serve":  {API: true, Worker: true},
	"api":    {API: true},
	"worker": {Worker: true},
}

func TestMain(m *testing.M) {
	app.SilenceLibraries()
	if command := os.Getenv(runAsProgram); command != "" {
		if err := app.Serve(app.SignalContext(), commands[command], version); err != nil {
			fmt.Fprintln(os.Stderr, "tracklane:", err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	os.Exit(apidoctest.Run(func() int {
		return devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s })
	}))
}
