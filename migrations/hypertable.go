package migrations

import (
	"context"
	"database/sql"
	"fmt"
	"log/slog"
	"time"
)

// hypertable is how TimescaleDB is to keep one of the tables.
type hypertable struct {
	table      string
	timeColumn string

	// segmentBy is the flight or device: its points are compressed together.
	segmentBy string

	// chunk is the range of time that a chunk holds. Points of the present
	// fill a chunk a day; flights of any age would make too many of those.
	chunk time.Duration
}

const day = 24 * time.Hour

// hypertables lists the tables that hold points, one for each lane.
func hypertables() []hypertable {
	return []hypertable{
		{table: "live_track_points", timeColumn: "datetime", segmentBy: "flight_id", chunk: day},
		{table: "uploaded_track_points", timeColumn: "datetime", segmentBy: "flight_id", chunk: 7 * day},
		{table: "scoring_tracks", timeColumn: "date_time", segmentBy: "flight_uuid", chunk: 7 * day},
		{table: "flymaster", timeColumn: "date_time", segmentBy: "device_id", chunk: day},
	}
}

// createStatement is the SQL that turns the table into a hypertable.
//
// The default index on time is left out. It would be one more B-tree for each
// insert to descend, and chunks already narrow a range of time down.
func (h hypertable) createStatement(migrateData bool) string {
	migrate := ""
	if migrateData {
		migrate = ", migrate_data => true"
	}
	return fmt.Sprintf("SELECT create_hypertable('%s', by_range('%s', INTERVAL '%d days'), create_default_indexes => false%s)",
		h.table, h.timeColumn, h.chunk/day, migrate)
}

// compressStatement is the SQL that allows the table's chunks to be compressed.
// The order covers all of the key, so that TimescaleDB keeps the range of each
// key column in a compressed batch and finds duplicates without unpacking much.
func (h hypertable) compressStatement() string {
	return fmt.Sprintf("ALTER TABLE %s SET (timescaledb.compress, "+
		"timescaledb.compress_segmentby = '%s', timescaledb.compress_orderby = '%s, lat, lon')",
		h.table, h.segmentBy, h.timeColumn)
}

// create makes an empty plain table a hypertable. It leaves one with points
// alone, since moving them takes a lock and time that an operator has to
// choose.
func (h hypertable) create(ctx context.Context, transaction *sql.Tx, logger *slog.Logger) error {
	empty, err := isEmpty(ctx, transaction, h.table)
	if err == nil && empty {
		// Without the lock, a point might come between the check and the change (TOCTOU).
		if _, err = transaction.ExecContext(ctx, "LOCK TABLE "+h.table+" IN ACCESS EXCLUSIVE MODE"); err == nil {
			empty, err = isEmpty(ctx, transaction, h.table)
		}
	}
	if err == nil && empty {
		_, err = transaction.ExecContext(ctx, h.createStatement(false))
	}
	if err != nil {
		return fmt.Errorf("make %s a hypertable: %w", h.table, err)
	}
	if !empty {
		logger.WarnContext(ctx, "table holds points and stays plain; `tracklane migrate status` says how to make it a hypertable",
			"table", h.table)
		return nil
	}
	logger.InfoContext(ctx, "table made a hypertable", "table", h.table, "chunk", h.chunk)
	return nil
}

// allowCompression makes the table's chunks compressible. Later calls change
// nothing: TimescaleDB does not take new settings while chunks are compressed.
func (h hypertable) allowCompression(ctx context.Context, transaction *sql.Tx) error {
	var enabled bool
	err := transaction.QueryRowContext(ctx, `
		SELECT compression_enabled FROM timescaledb_information.hypertables
		WHERE hypertable_schema = 'public' AND hypertable_name = $1`, h.table).Scan(&enabled)
	if err == nil && !enabled {
		_, err = transaction.ExecContext(ctx, h.compressStatement())
	}
	if err != nil {
		return fmt.Errorf("set up compression of %s: %w", h.table, err)
	}
	return nil
}

func isEmpty(ctx context.Context, transaction *sql.Tx, table string) (bool, error) {
	var filled bool
	err := transaction.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM "+table+")").Scan(&filled)
	return !filled, err
}
