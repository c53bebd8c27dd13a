package deadletter

import (
	"os"
	"testing"

	"tracklane/internal/devservers/devserverstest"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}
