package main

import (
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestTracklane_ReportsAnEndThatNobodyAskedFor(t *testing.T) {
	died := make(chan error, 1)
	p := &tracklane{
		binary: "sleep", command: "0", died: func(err error) { died <- err },
		logFile: filepath.Join(t.TempDir(), "sleep.log"),
	}
	require.NoError(t, p.Restart(t.Context()))
	select {
	case err := <-died:
		require.ErrorContains(t, err, "ended by itself")
	case <-time.After(10 * time.Second):
		t.Fatal("nothing was reported")
	}
}

func TestTracklane_DoesNotReportAnEndThatWasAskedFor(t *testing.T) {
	p := &tracklane{
		binary: "sleep", command: "600", died: func(err error) { t.Error(err) },
		logFile: filepath.Join(t.TempDir(), "sleep.log"),
	}
	require.NoError(t, p.Restart(t.Context()))
	require.NoError(t, p.Pause())
	require.NoError(t, p.Resume())
	require.NoError(t, p.Kill())
	require.NoError(t, p.Restart(t.Context()))
	require.ErrorContains(t, p.Stop(t.Context()), "after SIGTERM", "sleep does not stop in order")
}
