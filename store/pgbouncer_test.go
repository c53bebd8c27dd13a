package store

import (
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

// startPgBouncer starts a PgBouncer in transaction mode, with two connections to
// the database and its own defaults otherwise, and returns the database's URL
// there.
func startPgBouncer(t *testing.T, databaseURL string) string {
	t.Helper()
	if _, err := exec.LookPath("pgbouncer"); err != nil {
		t.Skip("pgbouncer is not on PATH")
	}
	database, err := pgx.ParseConfig(databaseURL)
	require.NoError(t, err)
	port, err := devservers.FreePort()
	require.NoError(t, err)
	directory, err := os.MkdirTemp("", "tracklane-pgbouncer-")
	require.NoError(t, err)
	t.Cleanup(func() { os.RemoveAll(directory) })
	require.NoError(t, os.Chmod(directory, 0o755))
	file := filepath.Join(directory, "pgbouncer.ini")
	require.NoError(t, os.WriteFile(file, fmt.Appendf(nil, `[databases]
* = host=127.0.0.1 port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 2
`, database.Port, database.User, port), 0o644))
	arguments := []string{file}
	if os.Geteuid() == 0 {
		arguments = []string{"-u", "nobody", file}
	}
	command := exec.Command("pgbouncer", arguments...)
	command.Stdout, command.Stderr = t.Output(), t.Output()
	require.NoError(t, command.Start())
	t.Cleanup(func() { _ = command.Process.Kill(); _ = command.Wait() })
	url := strings.Replace(databaseURL, fmt.Sprint(":", database.Port), fmt.Sprint(":", port), 1)
	require.Eventually(t, func() bool {
		connection, err := pgx.Connect(t.Context(), url)
		return err == nil && connection.Close(t.Context()) == nil
	}, 10*time.Second, 50*time.Millisecond)
	return url
}

func TestWriter_WorksThroughAPoolerInTransactionMode(t *testing.T) {
	t.Parallel()
	url := startPgBouncer(t, servers.Database(t))
	for range 2 {
		require.NoError(t, migrations.Up(t.Context(), url, nil, slog.New(slog.DiscardHandler)))
	}
	status, err := migrations.ReadStatus(t.Context(), url)
	require.NoError(t, err)
	assert.Len(t, status.Migrations, 5)

	pool := openPool(t, url)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	var writing sync.WaitGroup
	for id := range 8 {
		writing.Go(func() {
			for round := range 10 {
				_, err := w.Write(t.Context(), flight(lanes[0], id, round*200, round*200+150), "") // copied
				assert.NoError(t, err)
				_, err = w.Write(t.Context(), flight(lanes[1], id, round*10, round*10+10), "") // inserted
				assert.NoError(t, err)
				_, err = NewDatabase(pool, lanes).Check(t.Context())
				assert.NoError(t, err)
				assert.NoError(t, w.RejectPayload(t.Context(), lanes[0], []byte{byte(id), byte(round)}, errors.New("unreadable"), ""))
			}
		})
	}
	writing.Wait()
	assert.Equal(t, 8*10*150, countRows(t, pool, lanes[0].Table))
	assert.Equal(t, 8*10*10, countRows(t, pool, lanes[1].Table))
	assert.Equal(t, 8*10, countRows(t, pool, "rejected_points"))
}
