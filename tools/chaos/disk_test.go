package main

import (
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestDisk_IsFullAndStandsStill(t *testing.T) {
	t.Parallel()
	d, err := mountDisk(t.Context(), t.TempDir())
	if err != nil {
		t.Log("this process may not mount, and a run leaves these faults out:", err)
		return
	}
	defer func() { require.NoError(t, d.unmount()) }()
	file := filepath.Join(d.dir, "file")
	page := make([]byte, 64<<10)
	require.NoError(t, os.WriteFile(file, page, 0o644))

	require.NoError(t, d.fill(t.Context()))
	require.ErrorIs(t, os.WriteFile(filepath.Join(d.dir, "other"), page, 0o644), syscall.ENOSPC)
	require.NoError(t, d.empty())
	require.NoError(t, os.WriteFile(filepath.Join(d.dir, "other"), page, 0o644))

	const lasts = time.Second
	frozen := make(chan error, 1)
	start := time.Now()
	go func() { frozen <- d.freeze(t.Context(), lasts) }()
	for time.Since(start) < lasts { // one of these meets the disk while it stands still
		require.NoError(t, os.WriteFile(file, page, 0o644))
	}
	require.NoError(t, <-frozen)
	assert.GreaterOrEqual(t, time.Since(start), lasts)
	require.NoError(t, os.WriteFile(file, page, 0o644), "it moves again")
}

func TestForgetting_CutsTheFileOffWhereItEndedThen(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "appendonly.aof.12.incr.aof")
	assert.Equal(t, 12, aofNumber(file))
	require.NoError(t, os.WriteFile(file, []byte("synced, not synced"), 0o644))
	bytes, err := forgetting{file, int64(len("synced"))}.forget()
	require.NoError(t, err)
	assert.EqualValues(t, len(", not synced"), bytes)
	content, err := os.ReadFile(file)
	require.NoError(t, err)
	assert.Equal(t, "synced", string(content))

	bytes, err = forgetting{file + ".rewritten", 1}.forget()
	require.NoError(t, err)
	assert.Zero(t, bytes)
}
