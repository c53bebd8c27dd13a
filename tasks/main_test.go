package tasks

import (
	"os"
	"testing"

	"github.com/redis/go-redis/v9/logging"

	"tracklane/services/servicestest"
)

// servers is what the tests of this package share.
var servers *servicestest.Servers

func TestMain(m *testing.M) {
	logging.Disable() // a Redis that is away is what many of the tests are about
	os.Exit(servicestest.Run(m, func(s *servicestest.Servers) { servers = s }))
}
