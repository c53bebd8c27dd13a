package store

import (
	"errors"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

func TestDatabase_CheckReportsWhetherItAcceptsPoints(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	check := func(d *Database) DatabaseStatus {
		t.Helper()
		status, err := d.Check(t.Context())
		require.NoError(t, err)
		return status
	}
	empty, pool := openPlain(t)
	assert.Equal(t, DatabaseStatus{}, check(NewDatabase(empty, lanes)), "the tables are missing")

	migrated := NewDatabase(pool, lanes)
	assert.Equal(t, DatabaseStatus{Writable: true}, check(migrated))
	require.NoError(t, newTestWriter(pool, lanes).RejectPayload(t.Context(), lanes[0], []byte{1}, errors.New("unreadable"), ""))
	assert.Equal(t, DatabaseStatus{Writable: true, Rejected: true}, check(migrated))
	assert.NotNil(t, migrated.Stat())

	_, err := pool.Exec(t.Context(), `DROP TABLE flymaster`)
	require.NoError(t, err)
	assert.False(t, check(migrated).Writable)

	readOnly := openMigrated(t) // of a server for tests
	assert.True(t, check(NewDatabase(readOnly, lanes)).NoSync)
	_, err = readOnly.Exec(t.Context(), `DO $$ BEGIN
		EXECUTE format('ALTER DATABASE %I SET default_transaction_read_only = on', current_database());
	END $$`)
	require.NoError(t, err)
	readOnly.Reset()
	assert.False(t, check(NewDatabase(readOnly, lanes)).Writable)

	pool.Close()
	_, err = migrated.Check(t.Context())
	require.Error(t, err)
}
