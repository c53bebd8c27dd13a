package main

import (
	"os"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9/logging"

	"tracklane/internal/devservers/devserverstest"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

// runAsProgram makes the test binary be tracklane, so that a test can run it
// as a process of its own and kill it.
const runAsProgram = "TRACKLANE_TEST_RUN_AS_PROGRAM"

func TestMain(m *testing.M) {
	if os.Getenv(runAsProgram) != "" {
		main()
	}
	gin.SetMode(gin.ReleaseMode)
	logging.Disable()
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}
