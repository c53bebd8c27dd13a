package tracker_test

import (
	"runtime"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// A million numbers are 2 MB of text, and 24 MB as a list of what they could be. It
// runs alone, since it looks at what the process allocates.
func TestList_CountsBeforeItTakesMemory(t *testing.T) {
	numbers := "[" + strings.Repeat("0,", 1_000_000) + "0]"
	for _, route := range []struct{ app, target, body string }{
		{"overland", "/live/overland", `{"locations":` + numbers + `}`},
		{"traccar", "/live/traccar", numbers},
	} {
		var before, after runtime.MemStats
		runtime.ReadMemStats(&before)
		_, _, err := request{target: route.target, body: route.body, header: []string{"Content-Type", "application/json"}}.send(t, adapter(t, route.app))
		runtime.ReadMemStats(&after)
		var large *lane.TooLargeError
		require.ErrorAs(t, err, &large, route.app)
		assert.Less(t, after.TotalAlloc-before.TotalAlloc, uint64(12<<20), route.app)
	}
}
