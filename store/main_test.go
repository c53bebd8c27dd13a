package store

import (
	"context"
	"encoding/binary"
	"fmt"
	"log/slog"
	"math"
	"math/rand/v2"
	"os"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
	"tracklane/internal/devservers/devserverstest"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

// servers is what the tests of this package share.
var servers *devserverstest.Servers

func TestMain(m *testing.M) {
	os.Exit(devserverstest.Run(m, func(s *devserverstest.Servers) { servers = s }))
}

// testMaxPoints is how many points go into one statement in these tests.
const testMaxPoints = 1000

// openMigrated returns a pool of connections to a database of the test's own
// that has the lanes' tables.
func openMigrated(t testing.TB) *pgxpool.Pool {
	t.Helper()
	url := servers.Database(t)
	require.NoError(t, migrations.Up(t.Context(), url, nil, slog.New(slog.DiscardHandler)))
	return openPool(t, url)
}

// openPlain returns two databases of a server of its own that syncs what it
// commits and has no TimescaleDB: an empty one, and one with the lanes' tables.
func openPlain(t testing.TB) (empty, migrated *pgxpool.Pool) {
	t.Helper()
	server := servers.Postgres(t, devservers.PostgresOptions{Durable: true, Plain: true})
	require.NoError(t, migrations.Up(t.Context(), server.DSN(), nil, slog.New(slog.DiscardHandler)))
	url, err := server.CreateDatabase(t.Context(), "empty")
	require.NoError(t, err)
	return openPool(t, url), openPool(t, server.DSN())
}

func openPool(t testing.TB, url string) *pgxpool.Pool {
	t.Helper()
	config, err := pgxpool.ParseConfig(url)
	require.NoError(t, err)
	config.MaxConns = 10
	pool, err := Open(config)
	require.NoError(t, err)
	t.Cleanup(pool.Close)
	return pool
}

func newTestWriter(pool *pgxpool.Pool, lanes []*lane.Lane) *Writer {
	return NewWriter(pool, lanes, testMaxPoints, nil)
}

// statement is one that put rows into a table of points.
type statement struct {
	Verb string // COPY or INSERT
	Rows int
}

// watchStatements makes the database note each statement that puts rows into a
// table of points. The function it returns lists those since it was last
// called, in order.
func watchStatements(t *testing.T, pool *pgxpool.Pool, l *lane.Lane) (seen func() []statement) {
	t.Helper()
	_, err := pool.Exec(t.Context(), `
		CREATE TABLE seen (id serial, verb text, rows int);
		CREATE FUNCTION see() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			INSERT INTO seen (verb, rows) SELECT substring(current_query() FROM 'COPY|INSERT'), count(*) FROM added;
			RETURN NULL;
		END $$;
		CREATE TRIGGER see AFTER INSERT ON `+l.Table+`
			REFERENCING NEW TABLE AS added FOR EACH STATEMENT EXECUTE FUNCTION see()`)
	require.NoError(t, err)
	return func() []statement {
		t.Helper()
		rows, err := pool.Query(t.Context(), `
			WITH gone AS (DELETE FROM seen RETURNING *) SELECT verb, rows FROM gone ORDER BY id`)
		require.NoError(t, err)
		statements, err := pgx.CollectRows(rows, pgx.RowToStructByPos[statement])
		require.NoError(t, err)
		return statements
	}
}

func countRows(t *testing.T, pool *pgxpool.Pool, table string) (count int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(context.Background(), `SELECT count(*) FROM `+table).Scan(&count))
	return count
}

// firstTime is the time of the first point that the tests make up, in Unix
// microseconds.
const firstTime = 1783958400_123_456

// newTrack returns a track named after id, with a value in every field.
func newTrack(l *lane.Lane, id int) lane.Track {
	track := lane.Track{ReceivedAt: firstTime + 60_000_001, RequestID: "r"}
	for _, c := range l.TrackColumns {
		switch c.Kind {
		case lane.BigInt:
			track.Fields = append(track.Fields, lane.BigIntField(int64(id)))
		case lane.UUID:
			track.Fields = append(track.Fields, lane.Field{Value: fmt.Sprintf("%016d", id)})
		default:
			track.Fields = append(track.Fields, lane.TextField(fmt.Sprint(c.Name, " ", id)))
		}
	}
	return track
}

// flight returns the points of one track, a second apart, from the from-th up
// to but without the to-th. They have no values but those that their table
// requires.
func flight(l *lane.Lane, id, from, to int) *lane.Points {
	points := lane.NewPoints(l, to-from)
	track := points.AddTrack(newTrack(l, id))
	for i := from; i < to; i++ {
		row := points.Add(track, firstTime+int64(i)*1_000_000, 46.5+float64(i)*1e-4, 7.25)
		for column, c := range l.ValueColumns {
			if c.Required {
				points.SetBits(row, column, 0)
			}
		}
	}
	return points
}

// everyValue returns points of several tracks with random bits in every column
// that takes them, nulls where the table has them, and the extremes among them.
// The time of each is its own.
func everyValue(l *lane.Lane, n int) *lane.Points {
	random := rand.New(rand.NewPCG(5, 6))
	extremes := []float64{
		0, math.Copysign(0, -1), math.SmallestNonzeroFloat64, -math.MaxFloat64,
		math.Inf(1), math.Inf(-1), math.NaN(), 0.1, 1.0 / 3,
	}
	float := func() float64 {
		if random.IntN(4) == 0 {
			return extremes[random.IntN(len(extremes))]
		}
		for {
			if value := math.Float64frombits(random.Uint64()); !math.IsNaN(value) {
				return value
			}
		}
	}
	texts := []string{"", "Zürich", "it's \"quoted\"\\ \t\n", "🪂", strings.Repeat("ü", 100), `{"a":[1]}`, "NULL"}
	points := lane.NewPoints(l, n)
	for i := range n {
		if i%50 == 0 {
			track := newTrack(l, i-n/2)
			track.ReceivedAt = random.Int64N(4e15) - 2e15
			for field, c := range l.TrackColumns {
				switch {
				case field > 0 && random.IntN(2) == 0:
					track.Fields[field] = lane.Field{Null: true}
				case c.Kind == lane.UUID:
					id := binary.BigEndian.AppendUint64(nil, random.Uint64())
					track.Fields[field].Value = string(binary.BigEndian.AppendUint64(id, random.Uint64()))
				case c.Kind == lane.Text && field > 0:
					track.Fields[field] = lane.TextField(texts[random.IntN(len(texts))])
				}
			}
			points.AddTrack(track)
		}
		// Ten times from 1885 on, far apart: a day each would be a chunk each.
		at := (int64(i*10/n)-5)*6_200*86_400_000_000 + int64(i)*1_000_000 + random.Int64N(1_000_000)
		row := points.Add(int32(len(points.Tracks)-1), at, float(), float())
		for column, c := range l.ValueColumns {
			if !c.Required && random.IntN(3) == 0 {
				continue
			}
			switch c.Kind {
			case lane.Text:
				points.SetText(row, column, texts[random.IntN(len(texts))])
			case lane.Bool:
				points.SetBits(row, column, random.Uint64N(2))
			case lane.Timestamp:
				points.SetBits(row, column, uint64(random.Int64N(4e15)-2e15))
			default:
				points.SetFloat(row, column, float())
			}
		}
	}
	return points
}
