package store

import (
	"context"
	"fmt"
	"log/slog"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
)

const (
	// olderLock is the advisory lock of whoever lists older flights: "flights" in
	// ASCII.
	olderLock = 0x666c6967687473

	// olderBlocks is how many blocks of a plain table are looked through at once, in
	// one transaction: 64 MB, which hold some 600,000 points.
	olderBlocks = 8192

	// olderTimeout bounds the transaction of one part.
	olderTimeout = 10 * time.Minute

	// olderPoll is how soon a process looks again for what another one is listing.
	olderPoll = time.Second

	// olderRetry is how soon what failed is tried again.
	olderRetry = 30 * time.Second
)

// older lists the flights of points that were written before there was a directory
// of flights.
type older struct {
	pool   *pgxpool.Pool
	logger *slog.Logger
	blocks int64 // of a part of a plain table
}

// olderPart is a part of a lane's table: a chunk of a hypertable, or a range of
// blocks of a plain table. Whoever writes points to it now lists their flights.
type olderPart struct {
	name      string
	condition string // SQL; $1 and $2 are from and to
	from, to  any
}

// ListOlderFlights adds the flights of points that are older than the directory of
// flights to it, and returns when all have been, or when ctx ends. It looks through
// a part of a table at a time, the newest first, and notes it in flights_filled, so
// that the next call goes on where this one ends. Half of the time it rests.
//
// Any number of processes may call it at the same time: one works on a part, and
// the others wait. What fails is logged, once for each reason, and tried again.
func ListOlderFlights(ctx context.Context, pool *pgxpool.Pool, lanes []*lane.Lane, logger *slog.Logger) {
	o := &older{pool: pool, logger: logger, blocks: olderBlocks}
	reported := ""
	for {
		err := o.list(ctx, lanes)
		if err == nil || ctx.Err() != nil {
			return
		}
		if err.Error() != reported {
			reported = err.Error()
			logger.WarnContext(ctx, "flights of older points cannot be listed yet; trying again until they can", "error", err)
		}
		if !clock.Sleep(ctx, olderRetry) {
			return
		}
	}
}

func (o *older) list(ctx context.Context, lanes []*lane.Lane) error {
	for _, l := range lanes {
		if err := o.listLane(ctx, l); err != nil {
			return fmt.Errorf("list the flights of %s: %w", l.Table, err)
		}
	}
	return nil
}

// listLane lists the flights of one lane's table, unless that has been done.
func (o *older) listLane(ctx context.Context, l *lane.Lane) error {
	filled, err := o.filled(ctx, l)
	if err != nil || filled[""] {
		return err
	}
	parts, err := o.parts(ctx, l)
	if err != nil {
		return err
	}
	start, added := time.Now(), int64(0)
	for _, part := range parts {
		if filled[part.name] {
			continue
		}
		rows, err := o.listPart(ctx, l, part)
		if err != nil {
			return err
		}
		added += rows
	}
	if _, err := o.pool.Exec(ctx, noteFilled, l.Name, ""); err != nil {
		return err
	}
	if added > 0 {
		o.logger.InfoContext(ctx, "flights of older points listed", "table", l.Table, "rows", added, "took", time.Since(start))
	}
	return nil
}

// filled is the set of a lane's parts that have been looked through.
func (o *older) filled(ctx context.Context, l *lane.Lane) (map[string]bool, error) {
	rows, err := o.pool.Query(ctx, `SELECT part FROM flights_filled WHERE lane = $1`, l.Name)
	if err != nil {
		return nil, err
	}
	filled, part := make(map[string]bool), ""
	_, err = pgx.ForEachRow(rows, []any{&part}, func() error {
		filled[part] = true
		return nil
	})
	return filled, err
}

const noteFilled = `INSERT INTO flights_filled (lane, part) VALUES ($1, $2) ON CONFLICT DO NOTHING`

// parts divides a lane's table as it is now, the newest part first. In a hypertable
// a range of time is one of chunks, and a plain table has no index on time: there,
// blocks are what can be read without the others.
func (o *older) parts(ctx context.Context, l *lane.Lane) ([]olderPart, error) {
	var hypertable bool
	if err := o.pool.QueryRow(ctx, `SELECT to_regclass('timescaledb_information.hypertables') IS NOT NULL`).Scan(&hypertable); err != nil {
		return nil, fmt.Errorf("look for TimescaleDB: %w", err)
	}
	if hypertable {
		err := o.pool.QueryRow(ctx, `SELECT EXISTS (SELECT FROM timescaledb_information.hypertables
			WHERE hypertable_schema = 'public' AND hypertable_name = $1)`, l.Table).Scan(&hypertable)
		if err != nil {
			return nil, fmt.Errorf("look for hypertables: %w", err)
		}
	}
	if hypertable {
		return o.chunks(ctx, l)
	}
	return o.blockRanges(ctx, l)
}

func (o *older) chunks(ctx context.Context, l *lane.Lane) ([]olderPart, error) {
	rows, err := o.pool.Query(ctx, `SELECT chunk_name, range_start, range_end FROM timescaledb_information.chunks
		WHERE hypertable_schema = 'public' AND hypertable_name = $1 ORDER BY range_start DESC`, l.Table)
	if err != nil {
		return nil, fmt.Errorf("list the chunks: %w", err)
	}
	var parts []olderPart
	var name string
	var start, end time.Time
	_, err = pgx.ForEachRow(rows, []any{&name, &start, &end}, func() error {
		parts = append(parts, olderPart{"chunk " + name, l.TimeColumn + " >= $1 AND " + l.TimeColumn + " < $2", start, end})
		return nil
	})
	if err != nil {
		return nil, fmt.Errorf("list the chunks: %w", err)
	}
	return parts, nil
}

func (o *older) blockRanges(ctx context.Context, l *lane.Lane) ([]olderPart, error) {
	var size int64
	err := o.pool.QueryRow(ctx, `SELECT pg_relation_size($1::text::regclass) / current_setting('block_size')::bigint`, l.Table).Scan(&size)
	if err != nil {
		return nil, fmt.Errorf("ask for the size: %w", err)
	}
	var parts []olderPart
	for from := (size - 1) / o.blocks * o.blocks; from >= 0 && size > 0; from -= o.blocks {
		parts = append(parts, olderPart{fmt.Sprintf("blocks %d to %d", from, from+o.blocks-1),
			"ctid >= $1::text::tid AND ctid < $2::text::tid", fmt.Sprintf("(%d,0)", from), fmt.Sprintf("(%d,0)", from+o.blocks)})
	}
	return parts, nil
}

// listPart lists the flights of a part, and then rests for as long as it took. It
// returns how many rows were added to the directory.
func (o *older) listPart(ctx context.Context, l *lane.Lane, part olderPart) (added int64, err error) {
	for {
		start := time.Now()
		added, locked, err := o.tryPart(ctx, l, part)
		if err != nil {
			return 0, err
		}
		pause := time.Since(start)
		if !locked {
			pause = olderPoll
		}
		if !clock.Sleep(ctx, pause) {
			return added, ctx.Err()
		}
		if locked {
			return added, nil
		}
	}
}

// tryPart lists the flights of a part unless another process is at work.
func (o *older) tryPart(ctx context.Context, l *lane.Lane, part olderPart) (added int64, locked bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, olderTimeout)
	defer cancel()
	err = pgx.BeginFunc(ctx, o.pool, func(transaction pgx.Tx) error {
		var filled bool
		err := transaction.QueryRow(ctx, `SELECT pg_try_advisory_xact_lock($1),
			EXISTS (SELECT FROM flights_filled WHERE lane = $2 AND part IN ('', $3))`, int64(olderLock), l.Name, part.name).Scan(&locked, &filled)
		if err != nil || filled || !locked {
			locked = locked || filled
			return err
		}
		tag, err := transaction.Exec(ctx, olderStatement(l, part.condition), part.from, part.to)
		if err != nil {
			return fmt.Errorf("%s: %w", part.name, err)
		}
		added = tag.RowsAffected()
		_, err = transaction.Exec(ctx, noteFilled, l.Name, part.name)
		return err
	})
	return added, locked, err
}

// olderStatement adds the flights of a part to the directory, as directory does for
// points that are written. The rows are found and sorted before the first is added,
// so that a writer that adds the same one waits for no more than the adding, and for
// no other lock that this one waits for.
func olderStatement(l *lane.Lane, condition string) string {
	day := "(" + l.TimeColumn + " AT TIME ZONE 'UTC')::date"
	flight, pilot, race := l.TrackColumns[0].Name+"::text", "''", "''"
	if l.TrackColumns[0].Kind == lane.BigInt {
		flight += " || to_char(" + l.TimeColumn + " AT TIME ZONE 'UTC', '-YYYYMMDD')"
	}
	for _, c := range l.TrackColumns {
		switch c.Name {
		case "pilot_id":
			pilot = "coalesce(pilot_id, '')"
		case "race_id":
			race = "coalesce(race_id, '')"
		}
	}
	return fmt.Sprintf(`WITH found AS MATERIALIZED (
			SELECT DISTINCT %s AS flight_id, %s AS day, %s AS pilot_id, %s AS race_id FROM %s WHERE %s)
		INSERT INTO flights (lane, flight_id, day, pilot_id, race_id)
		SELECT '%s', flight_id, day, pilot_id, race_id FROM found
		ORDER BY flight_id COLLATE "C", day, pilot_id COLLATE "C", race_id COLLATE "C" ON CONFLICT DO NOTHING`,
		flight, day, pilot, race, pgx.Identifier{l.Table}.Sanitize(), condition, l.Name)
}
