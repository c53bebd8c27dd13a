package store

import (
	"encoding/binary"
	"math"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

// cell is a point's value in a column as pgx reads it, but with a float as its
// bits and a time in UTC: so one is equal only to itself.
func cell(points *lane.Points, row, column int) any {
	l, r := points.Lane, &points.Rows[row]
	track := &points.Tracks[r.TrackIndex]
	value := column - len(l.TrackColumns) - 3
	switch {
	case column < len(l.TrackColumns):
		field := track.Fields[column]
		switch {
		case field.Null:
			return nil
		case l.TrackColumns[column].Kind == lane.BigInt:
			return int64(binary.BigEndian.Uint64([]byte(field.Value)))
		case l.TrackColumns[column].Kind == lane.UUID:
			return uuid.UUID([]byte(field.Value))
		}
		return field.Value
	case value == -3:
		return lane.TimeOf(r.Time)
	case value == -2:
		return r.LatBits()
	case value == -1:
		return r.LonBits()
	case value == len(l.ValueColumns):
		return lane.TimeOf(track.ReceivedAt)
	}
	bits, ok := points.Bits(row, value)
	if !ok {
		return nil
	}
	switch l.ValueColumns[value].Kind {
	case lane.Text:
		text, _ := points.Text(row, value)
		return text
	case lane.Bool:
		return bits == 1
	case lane.Timestamp:
		return lane.TimeOf(int64(bits))
	}
	return bits
}

// normal turns what pgx read into what cell returns.
func normal(value any) any {
	switch value := value.(type) {
	case float64:
		return math.Float64bits(value)
	case time.Time:
		return value.UTC()
	case [16]byte:
		return uuid.UUID(value)
	}
	return value
}

func TestEncoder_KeepsEveryValueBitForBit(t *testing.T) {
	t.Parallel()
	pool := openMigrated(t)
	lanes := lane.All(lane.Options{})
	w := newTestWriter(pool, lanes)
	for _, l := range lanes {
		paths := map[string]func(*lane.Points) error{
			"copied": func(points *lane.Points) error { return w.copyIn(t.Context(), w.tables[l.Name], points) },
			"inserted": func(points *lane.Points) error {
				_, err := w.Insert(t.Context(), points)
				return err
			},
		}
		for path, write := range paths {
			t.Run(l.Name+" points that are "+path, func(t *testing.T) {
				_, err := pool.Exec(t.Context(), "TRUNCATE "+l.Table)
				require.NoError(t, err)
				points := everyValue(l, 500)
				require.NoError(t, write(points))

				rows, err := pool.Query(t.Context(), "SELECT "+columnList(l)+" FROM "+l.Table+" ORDER BY "+l.TimeColumn)
				require.NoError(t, err)
				defer rows.Close()
				row := 0
				for ; rows.Next(); row++ {
					values, err := rows.Values()
					require.NoError(t, err)
					for column, c := range l.Columns() {
						require.Equal(t, cell(points, row, column), normal(values[column]), "%s of row %d", c.Name, row)
					}
				}
				require.NoError(t, rows.Err())
				require.Equal(t, points.Len(), row)
			})
		}
	}
}

// BenchmarkEncode compares the encoder with pgx's way: a value of each column
// in an interface, and a codec looked up for it.
func BenchmarkEncode(b *testing.B) {
	l := lane.All(lane.Options{})[0]
	points := flight(l, 1, 0, 1000)
	for row := range points.Rows {
		for column := range l.ValueColumns {
			points.SetFloat(row, column, float64(row))
		}
	}
	perRow := func(b *testing.B) {
		b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points.Len()), "ns/row")
	}
	b.Run("rows to copy", func(b *testing.B) {
		e := newEncoder(l)
		var buffer []byte
		b.ReportAllocs()
		for b.Loop() {
			buffer = e.appendCopy(buffer[:0], points)
		}
		perRow(b)
	})
	b.Run("arrays to insert", func(b *testing.B) {
		e := newEncoder(l)
		var buffer []byte
		b.ReportAllocs()
		for b.Loop() {
			buffer = buffer[:0]
			for column := range e.columns {
				buffer = e.appendArray(buffer, points, column)
			}
		}
		perRow(b)
	})
	b.Run("rows as pgx does it", func(b *testing.B) {
		types := pgtype.NewMap()
		columns := l.Columns()
		var buffer []byte
		b.ReportAllocs()
		for b.Loop() {
			buffer = buffer[:0]
			for row := range points.Rows {
				for column, c := range columns {
					value := cell(points, row, column)
					if bits, ok := value.(uint64); ok {
						value = math.Float64frombits(bits)
					}
					var err error
					if buffer, err = types.Encode(oids[c.Kind], pgtype.BinaryFormatCode, value, buffer); err != nil {
						b.Fatal(err)
					}
				}
			}
		}
		perRow(b)
	})
}
