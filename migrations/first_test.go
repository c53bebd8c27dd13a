package migrations

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// The rounds meet the moments between the steps of a first migration at
// different times. Each takes a second with TimescaleDB.
const firstRounds = 6

func TestUp_LetsNobodyWriteBeforeTheSchemaIsComplete(t *testing.T) {
	t.Parallel()
	for round := range firstRounds {
		t.Run(fmt.Sprint("round ", round), func(t *testing.T) {
			databaseURL := servers.Database(t)
			live := hammer(t, databaseURL, insertLive)
			uploaded := hammer(t, databaseURL, copyUploaded)

			require.NoError(t, Up(t.Context(), databaseURL, weekly(), slog.New(slog.DiscardHandler)))
			inserted, copied := live(), uploaded()

			status, err := ReadStatus(t.Context(), databaseURL)
			require.NoError(t, err)
			assert.Empty(t, status.Advice)
			only := ""
			if status.TimescaleDB.Installed != "" {
				assert.Empty(t, status.PlainTables)
				only = "ONLY" // which sees what is in no chunk
			}
			connection := dial(t, databaseURL)
			for table, stored := range map[string]int{"live_track_points": inserted, "uploaded_track_points": copied} {
				assert.Equal(t, stored, queryInt(t, connection, `SELECT count(*) FROM `+table))
				if only != "" {
					assert.Zero(t, queryInt(t, connection, `SELECT count(*) FROM ONLY `+table), "points outside of chunks")
				}
			}
		})
	}
}

// hammer writes points one after the other over a connection that it opens at
// once, until the function that it returns is called; that waits for one to be
// stored, and returns how many were. When the first one is stored the schema
// must be complete.
func hammer(t *testing.T, databaseURL string, write func(context.Context, *pgx.Conn, int) error) (stop func() (stored int)) {
	t.Helper()
	connection := dial(t, databaseURL)
	stopping, stopped := make(chan struct{}), make(chan struct{})
	stored := 0
	go func() {
		defer close(stopped)
		for {
			err := write(context.Background(), connection, stored)
			var missing *pgconn.PgError
			switch {
			case err == nil:
				stored++
			case !errors.As(err, &missing) || missing.Code != pgerrcode.UndefinedTable:
				assert.NoError(t, err)
				return
			}
			if stored == 1 && err == nil {
				assert.Equal(t, 1, queryInt(t, connection, `SELECT count(to_regclass('rejected_points'))`), "the schema is not complete")
			}
			if stored > 0 {
				select {
				case <-stopping:
					return
				default:
				}
			}
		}
	}()
	return func() int {
		close(stopping)
		<-stopped
		return stored
	}
}

var firstPoint = time.Date(2026, 7, 14, 10, 0, 0, 0, time.UTC)

func insertLive(ctx context.Context, connection *pgx.Conn, n int) error {
	_, err := connection.Exec(ctx, `
		INSERT INTO live_track_points (flight_id, datetime, lat, lon, received_at)
		VALUES ('a', $1, 46, 7, now()) ON CONFLICT DO NOTHING`, pgx.QueryExecModeExec, firstPoint.Add(time.Duration(n)*time.Second))
	return err
}

func copyUploaded(ctx context.Context, connection *pgx.Conn, n int) error {
	_, err := connection.CopyFrom(ctx, pgx.Identifier{"uploaded_track_points"},
		[]string{"flight_id", "datetime", "lat", "lon", "received_at"},
		pgx.CopyFromRows([][]any{{"a", firstPoint.Add(time.Duration(n) * time.Second), 46.0, 7.0, firstPoint}}))
	return err
}

func dial(t *testing.T, databaseURL string) *pgx.Conn {
	t.Helper()
	connection, err := pgx.Connect(t.Context(), databaseURL)
	require.NoError(t, err)
	t.Cleanup(func() { connection.Close(context.Background()) })
	return connection
}

func queryInt(t *testing.T, connection *pgx.Conn, query string) (n int) {
	t.Helper()
	assert.NoError(t, connection.QueryRow(context.Background(), query, pgx.QueryExecModeExec).Scan(&n))
	return n
}
