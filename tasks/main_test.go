package tasks

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"tracklane/internal/devservers/devserverstest"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	logging.Disable() // a Redis that is away is what many of the tests are about
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}
