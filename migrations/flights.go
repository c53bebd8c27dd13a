package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"
)

// directory is where the flights of a lane's table are found.
type directory struct {
	lane, table string

	// query lists the table's flights: flight_id, day, pilot_id, race_id.
	query string
}

// directories lists how each lane's flights are found. store.Writer adds the same
// rows for the points that it writes.
func directories() []directory {
	named := func(table string) string {
		return `SELECT DISTINCT flight_id, (datetime AT TIME ZONE 'UTC')::date AS day,
			coalesce(pilot_id, '') AS pilot_id, coalesce(race_id, '') AS race_id FROM ` + table
	}
	return []directory{
		{"live", "live_track_points", named("live_track_points")},
		{"upload", "uploaded_track_points", named("uploaded_track_points")},
		{"scoring", "scoring_tracks", `SELECT DISTINCT flight_uuid::text AS flight_id,
			(date_time AT TIME ZONE 'UTC')::date AS day, '' AS pilot_id, '' AS race_id FROM scoring_tracks`},
		{"flymaster", "flymaster", `SELECT DISTINCT device_id || to_char(date_time AT TIME ZONE 'UTC', '-YYYYMMDD') AS flight_id,
			(date_time AT TIME ZONE 'UTC')::date AS day, '' AS pilot_id, '' AS race_id FROM flymaster`},
	}
}

// fillStatement adds the flights to the directory. The rows are found and sorted
// before the first is added, so that a writer that adds the same one waits for no
// more than the adding, and for no other lock that this one waits for.
func (d directory) fillStatement() string {
	return `WITH found AS MATERIALIZED (` + d.query + `)
		INSERT INTO flights (lane, flight_id, day, pilot_id, race_id)
		SELECT '` + d.lane + `', flight_id COLLATE "C" AS flight_id, day, pilot_id COLLATE "C" AS pilot_id, race_id COLLATE "C" AS race_id
		FROM found ORDER BY flight_id COLLATE "C", day, pilot_id COLLATE "C", race_id COLLATE "C" ON CONFLICT DO NOTHING`
}

// fillFlights adds the flights of points that were written before there was a
// directory, in a transaction for each lane: points may come in meanwhile, and
// whoever writes them adds theirs.
func fillFlights(ctx context.Context, db *sql.DB, logger *slog.Logger) error {
	for _, d := range directories() {
		err := whileLocked(ctx, db, logger, func(transaction *sql.Tx) error {
			var filled bool
			err := transaction.QueryRowContext(ctx, `SELECT EXISTS (SELECT FROM flights_filled WHERE lane = $1)`, d.lane).Scan(&filled)
			if err != nil || filled {
				return err
			}
			start := time.Now()
			added, err := transaction.ExecContext(ctx, d.fillStatement())
			if err != nil {
				return err
			}
			if _, err := transaction.ExecContext(ctx, `INSERT INTO flights_filled (lane) VALUES ($1)`, d.lane); err != nil {
				return err
			}
			if rows, err := added.RowsAffected(); err == nil && rows > 0 {
				logger.InfoContext(ctx, "flights listed", "table", d.table, "rows", rows, "took", time.Since(start))
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("list the flights of %s: %w", d.table, err)
		}
	}
	return nil
}
