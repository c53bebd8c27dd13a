package main

import (
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/tools/harness"
)

// TestRun_NinetySecondsOfFaults is a run as the command does it, but for Redis's
// syncing: what Redis itself can lose is not what is tested here.
func TestRun_NinetySecondsOfFaults(t *testing.T) {
	t.Parallel()
	found, err := run(t.Context(), options{seed: 1, duration: 90 * time.Second, progress: t.Output(), appendSync: "always"})
	if errors.Is(err, harness.ErrNoRedis) {
		t.Skip(err)
	}
	require.NoError(t, err)
	var report strings.Builder
	require.NoError(t, found.write(&report))
	t.Log(report.String())
	assert.Empty(t, found.violations(), "data and logs are in %s", found.dir)
	assert.GreaterOrEqual(t, len(found.incidents), 10)
	assert.Positive(t, found.comparison.Stored)
}
