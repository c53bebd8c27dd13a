package checker

import (
	"context"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// Table reads the rows of a lane's table.
type Table struct {
	pool *pgxpool.Pool
	name string

	probe, count, rows, allRows, spans string // statements
}

// Row is what tells a point of a run from all others, and one value beside it.
type Row struct {
	Flight   string // the identity of the flight, or of the device, as text
	Time     time.Time
	Lat, Lon float64
	Altitude *float64 // metres, by GPS; nil is NULL
}

// Span is a stretch of a flight: so many points from the first one's time to the
// last one's.
type Span struct {
	Flight      string
	First, Last time.Time
	Points      int
}

// NewTable returns the table of a lane in the database of pool.
func NewTable(pool *pgxpool.Pool, l *lane.Lane) *Table {
	kind := l.TrackColumns[0].Kind.SQLType()
	flight, at := pgx.Identifier{l.TrackColumns[0].Name}.Sanitize(), pgx.Identifier{l.TimeColumn}.Sanitize()
	altitude, table := pgx.Identifier{l.ValueColumns[0].Name}.Sanitize(), pgx.Identifier{l.Table}.Sanitize()
	all := fmt.Sprintf("SELECT %s::text, %s, lat, lon, %s FROM %s", flight, at, altitude, table)
	some := fmt.Sprintf(" WHERE %s = ANY($1::text[]::%s[])", flight, kind)
	return &Table{
		pool: pool, name: l.Table,
		probe:   fmt.Sprintf("SELECT %s FROM %s LIMIT 0", flight, table),
		count:   fmt.Sprintf("SELECT %s::text, count(*) FROM %s%s GROUP BY %[1]s", flight, table, some),
		allRows: all,
		rows:    all + some,
		spans: fmt.Sprintf(`
			SELECT place FROM unnest($1::text[]::%s[], $2::timestamptz[], $3::timestamptz[], $4::int[])
				WITH ORDINALITY AS sent (flight, first, last, points, place)
			WHERE points = (SELECT count(*) FROM %s WHERE %s = flight AND %s BETWEEN first AND last)`,
			kind, table, flight, at),
	}
}

// Check returns an error if the table cannot be read.
func (t *Table) Check(ctx context.Context) error {
	if _, err := t.pool.Exec(ctx, t.probe); err != nil {
		return fmt.Errorf("read table %s: %w", t.name, err)
	}
	return nil
}

// Counts returns the number of rows of each of the flights that has any.
func (t *Table) Counts(ctx context.Context, flights []string) (map[string]int64, error) {
	rows, err := t.pool.Query(ctx, t.count, flights)
	if err != nil {
		return nil, fmt.Errorf("count rows of table %s: %w", t.name, err)
	}
	stored := make(map[string]int64, len(flights))
	var flight string
	var count int64
	if _, err := pgx.ForEachRow(rows, []any{&flight, &count}, func() error {
		stored[flight] = count
		return nil
	}); err != nil {
		return nil, fmt.Errorf("count rows of table %s: %w", t.name, err)
	}
	return stored, nil
}

// Rows calls do with each row of the flights, in no order.
func (t *Table) Rows(ctx context.Context, flights []string, do func(Row)) error {
	return t.each(ctx, do, t.rows, flights)
}

// AllRows calls do with each row of the table, in no order.
func (t *Table) AllRows(ctx context.Context, do func(Row)) error {
	return t.each(ctx, do, t.allRows)
}

func (t *Table) each(ctx context.Context, do func(Row), statement string, arguments ...any) error {
	rows, err := t.pool.Query(ctx, statement, arguments...)
	if err != nil {
		return fmt.Errorf("read the points in table %s: %w", t.name, err)
	}
	var row Row
	if _, err := pgx.ForEachRow(rows, []any{&row.Flight, &row.Time, &row.Lat, &row.Lon, &row.Altitude}, func() error {
		do(row)
		return nil
	}); err != nil {
		return fmt.Errorf("read the points in table %s: %w", t.name, err)
	}
	return nil
}

// Complete returns the indexes of those spans that have as many rows as points.
func (t *Table) Complete(ctx context.Context, spans []Span) ([]int, error) {
	flights, points := make([]string, len(spans)), make([]int, len(spans))
	first, last := make([]time.Time, len(spans)), make([]time.Time, len(spans))
	for i, s := range spans {
		flights[i], first[i], last[i], points[i] = s.Flight, s.First, s.Last, s.Points
	}
	rows, err := t.pool.Query(ctx, t.spans, flights, first, last, points)
	if err != nil {
		return nil, fmt.Errorf("look for points in table %s: %w", t.name, err)
	}
	complete, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (index int, err error) {
		err = row.Scan(&index)
		return index - 1, err // PostgreSQL counts from 1
	})
	if err != nil {
		return nil, fmt.Errorf("look for points in table %s: %w", t.name, err)
	}
	return complete, nil
}
