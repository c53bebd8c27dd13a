package store

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"

	"tracklane/internal/cache"
	"tracklane/internal/lane"
)

// directory adds flights to the table flights before their points are written.
// Any number of goroutines may use one at the same time.
//
// It remembers which it has added, so that nearly every batch costs it no query:
// a row is one flight's day. Counts and last fixes are not kept there. They would
// be one more row version for each flight of each batch, and lock the rows of
// flights that many batches hold points of.
//
// What it remembers is true of one server. A standby that took over may lack the
// last rows, and no write need have failed for that: connections that were idle are
// made anew unnoticed. So it forgets everything when a connection was made, and each
// directoryRefresh, for a pooler that keeps the connections of its clients.
type directory struct {
	mu          sync.RWMutex
	known       *cache.Map[directoryRow, struct{}]
	generation  int       // how often it has forgotten
	connections int64     // that had been made when it last looked
	forgotten   time.Time // when it last forgot
}

// directoryRefresh is for how long a row is taken to be there without a look.
const directoryRefresh = time.Minute

// directoryRow is a row of the table flights. Its flight is as the lane's first
// track column holds it.
type directoryRow struct {
	lane, flight, pilot, race string
	day                       int64 // since 1970
}

// maxKnownFlights is how many rows of the directory are remembered at the least,
// in some 4 MB.
const maxKnownFlights = 20_000

const microsecondsPerDay = 24 * int64(time.Hour/time.Microsecond)

func newDirectory() *directory {
	return &directory{known: cache.New[directoryRow, struct{}](maxKnownFlights), forgotten: time.Now()}
}

// renew forgets what may be true no longer, now that so many connections have been
// made in all. It returns the generation of what is remembered.
func (d *directory) renew(connections int64) (generation int) {
	d.mu.RLock()
	valid := connections == d.connections && time.Since(d.forgotten) < directoryRefresh
	generation = d.generation
	d.mu.RUnlock()
	if valid {
		return generation
	}
	d.mu.Lock()
	defer d.mu.Unlock()
	d.connections = connections
	d.clear()
	return d.generation
}

// unknown returns the rows that points need and that are not known to be there,
// in the order of the table's key.
func (d *directory) unknown(points *lane.Points) []directoryRow {
	d.mu.RLock()
	defer d.mu.RUnlock()
	missing := make(map[directoryRow]struct{})
	track, day := int32(-1), int64(0)
	for i := range points.Rows {
		r := &points.Rows[i]
		// Neighbours are nearly always of one track and day.
		if on := floorDay(r.Time); r.TrackIndex != track || on != day {
			track, day = r.TrackIndex, on
			row := rowOf(points, track, day)
			if _, known := d.known.Get(row); !known {
				missing[row] = struct{}{}
			}
		}
	}
	rows := make([]directoryRow, 0, len(missing))
	for row := range missing {
		rows = append(rows, row)
	}
	slices.SortFunc(rows, func(a, b directoryRow) int {
		return cmp.Or(strings.Compare(a.id(points.Lane), b.id(points.Lane)), cmp.Compare(a.day, b.day),
			strings.Compare(a.pilot, b.pilot), strings.Compare(a.race, b.race))
	})
	return rows
}

func floorDay(microseconds int64) int64 {
	day := microseconds / microsecondsPerDay
	if microseconds < day*microsecondsPerDay {
		day--
	}
	return day
}

func rowOf(points *lane.Points, track int32, day int64) directoryRow {
	fields := points.Tracks[track].Fields
	row := directoryRow{lane: points.Lane.Name, flight: fields[0].Value, day: day}
	for i, c := range points.Lane.TrackColumns[1:] {
		switch c.Name {
		case "pilot_id":
			row.pilot = fields[i+1].Value
		case "race_id":
			row.race = fields[i+1].Value
		}
	}
	return row
}

// id is the flight's id in the directory.
func (r directoryRow) id(l *lane.Lane) string {
	switch l.TrackColumns[0].Kind {
	case lane.UUID:
		if id, err := uuid.FromBytes([]byte(r.flight)); err == nil {
			return id.String()
		}
	case lane.BigInt:
		if len(r.flight) == 8 {
			return DeviceFlight(int64(binary.BigEndian.Uint64([]byte(r.flight))), time.Unix(r.day*86_400, 0))
		}
	}
	return r.flight
}

// DeviceFlight is the id of what a device that names no flights sent on a day of
// UTC: SERIAL-YYYYMMDD.
func DeviceFlight(serial int64, day time.Time) string {
	return strconv.FormatInt(serial, 10) + day.UTC().Format("-20060102")
}

// remember notes that rows are there, unless it has forgotten since it was of a
// generation: they may have been added to another server.
func (d *directory) remember(rows []directoryRow, generation int) {
	d.mu.Lock()
	defer d.mu.Unlock()
	if generation != d.generation {
		return
	}
	for _, row := range rows {
		row.flight, row.pilot, row.race = strings.Clone(row.flight), strings.Clone(row.pilot), strings.Clone(row.race)
		d.known.Put(row, struct{}{})
	}
}

// forget is called when the next query may meet another database, such as one
// that took over without the last rows.
func (d *directory) forget() {
	d.mu.Lock()
	defer d.mu.Unlock()
	d.clear()
}

// clear forgets everything; d.mu is held.
func (d *directory) clear() {
	d.known = cache.New[directoryRow, struct{}](maxKnownFlights)
	d.generation++
	d.forgotten = time.Now()
}

const insertFlights = withSettings + `
	INSERT INTO flights (lane, flight_id, day, pilot_id, race_id)
	SELECT $1, flight_id, date '1970-01-01' + day, pilot_id, race_id
	FROM settings, unnest($2::text[], $3::int[], $4::text[], $5::text[]) AS added (flight_id, day, pilot_id, race_id)
	ON CONFLICT DO NOTHING`

// directoryGeneration is that of what the directory remembers, which is up to date
// when it returns.
func (w *Writer) directoryGeneration() int {
	return w.directory.renew(w.pool.Stat().NewConnsCount())
}

// listFlights adds the flights of points to the directory. Points are never held
// back for it where that would not pass by itself: where this role may not do so or
// there is no such table yet, which is unlisted, and for what the database does not
// accept in it. The generation is that of directoryGeneration.
func (w *Writer) listFlights(ctx context.Context, points *lane.Points, generation int) (unlisted, err error) {
	rows := w.directory.unknown(points)
	if len(rows) == 0 {
		return nil, nil
	}
	err = w.insertFlights(ctx, points.Lane, rows, generation)
	if asDataError(err) != nil {
		err = nil
		for _, row := range rows { // only what holds the data at fault is left out
			if err = w.insertFlights(ctx, points.Lane, []directoryRow{row}, generation); err != nil && asDataError(err) == nil {
				break
			}
			err = nil
		}
	}
	if refused, found := errors.AsType[*pgconn.PgError](err); found &&
		(refused.Code == pgerrcode.UndefinedTable || refused.Code == pgerrcode.InsufficientPrivilege) {
		return err, nil
	}
	return nil, err
}

func (w *Writer) insertFlights(ctx context.Context, l *lane.Lane, rows []directoryRow, generation int) error {
	var ids, pilots, races []string
	var days []int32
	for _, row := range rows {
		ids, days = append(ids, row.id(l)), append(days, int32(row.day))
		pilots, races = append(pilots, row.pilot), append(races, row.race)
	}
	if err := w.execute(ctx, insertFlights, l.Name, ids, days, pilots, races); err != nil {
		return fmt.Errorf("list the flights: %w", err)
	}
	w.directory.remember(rows, generation)
	return nil
}
