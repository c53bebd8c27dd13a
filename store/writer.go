package store

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// Writer puts points into their lanes' tables. Any number of goroutines may
// use one at the same time.
type Writer struct {
	pool    *pgxpool.Pool
	observe Observer

	// maxPoints is how many points go into one transaction.
	maxPoints int

	timeout time.Duration // of one transaction

	tables    map[string]*tablePlan
	directory *directory
	buffers   sync.Pool // of *[]byte
}

// tablePlan is how one lane's points are written.
type tablePlan struct {
	encoder            encoder
	copySQL            string
	insertSQL          string
	insertReturningSQL string

	// copyCooldown is how many more batches without a duplicate are inserted
	// before the next is copied.
	copyCooldown atomic.Int32
}

// Result says what became of points that were written.
type Result struct {
	Inserted   int       // new in the table
	Duplicates int       // in the table already, or twice in the same list
	Rejected   []Refusal // refused by the database, in the order of their index

	// Unlisted is why flights of the points are not in the directory of flights,
	// although the points are stored: this role may not add to it, or there is no
	// such table. Only an Observer is told.
	Unlisted error
}

// Refusal is a point that the database refused for what it holds. Nothing but
// that point is affected: of points with the same key, each stands for itself.
type Refusal struct {
	// Index is the point's place in the order in which points were added to the
	// list that was written, from 0, as lane.Points.Index returns it. A list
	// that is merged of several requests maps it back to one of them.
	Index int

	SQLState string // of class 22 or 23
	Message  string // the database's, of one line
}

// String says why the point was refused, in words for the point's sender.
func (r Refusal) String() string {
	return fmt.Sprintf("the database refused it: %s (SQLSTATE %s)", r.Message, r.SQLState)
}

// Observer is told the outcome of each Write: the points that the database was
// given, without the duplicates among them, what became of them, and Write's
// error. It is called from the goroutine that writes and must not keep points.
type Observer func(points *lane.Points, result Result, took time.Duration, err error)

const (
	// transactionTimeout bounds one transaction, so that a silent database
	// cannot hold a caller for good. A list of points that takes many may last
	// longer.
	transactionTimeout = 30 * time.Second

	// copyMin is the fewest points for which COPY pays: below it a single
	// INSERT is as fast and never has to be done again.
	copyMin = 100

	// insertsAfterDuplicate is where the cooldown starts after a batch with
	// duplicates. A copy that meets a duplicate is work for nothing.
	insertsAfterDuplicate = 8

	// maxDays is over how many days one transaction may spread. In a hypertable
	// each may be a chunk, which takes several locks and, when it is new, 10 to 30
	// ms: 1,000 of them took as long as transactionTimeout.
	maxDays = 100
)

// NewWriter returns a writer of at most maxPoints points a transaction. A nil
// observer is not told.
func NewWriter(pool *pgxpool.Pool, lanes []*lane.Lane, maxPoints int, observe Observer) *Writer {
	if observe == nil {
		observe = func(*lane.Points, Result, time.Duration, error) {}
	}
	w := &Writer{pool: pool, observe: observe, maxPoints: maxPoints, timeout: transactionTimeout,
		tables: make(map[string]*tablePlan), directory: newDirectory()}
	w.buffers.New = func() any { return new([]byte) }
	for _, l := range lanes {
		w.tables[l.Name] = &tablePlan{
			encoder:   newEncoder(l),
			copySQL:   copyStatement(l),
			insertSQL: insertStatement(l), insertReturningSQL: insertReturningStatement(l),
		}
	}
	return w
}

// ErrNotKept is returned when all points are in their table but those that the
// database refused, and rejected_points could not take these.
var ErrNotKept = errors.New("refused points cannot be kept in rejected_points")

// Write commits points in transactions of at most the writer's maxPoints rows,
// each of which may take transactionTimeout. It changes the order of the list.
//
// When it returns nil, every point is in its table, was there before, or is in
// rejected_points because the database refused what it holds; taskID goes with
// those. After an ErrNotKept the result is complete, too, and what it lists as
// rejected is nowhere. After any other error some points may be committed and
// some not. Writing all of them again is safe, and rejects none of them twice.
func (w *Writer) Write(ctx context.Context, points *lane.Points, taskID string) (Result, error) {
	return w.write(ctx, points, taskID, new(outcome))
}

// WriteMerged writes the points of several requests of one lane together, and
// leaves the lists as they are; none of them may be empty. It returns the result of
// each request: of points with the same key, those of an earlier request come first.
// The error is that of Write, for all of them; after an ErrNotKept the results are
// complete, and after any other error they are empty.
func (w *Writer) WriteMerged(ctx context.Context, lists []*lane.Points) ([]Result, error) {
	results := make([]Result, len(lists))
	done := outcome{listsDuplicates: true}
	merged, err := w.write(ctx, lane.Merge(lists), "", &done)
	if err != nil && !errors.Is(err, ErrNotKept) {
		return results, err
	}
	starts := make([]int, len(lists)) // of each list in the merged one
	for i, list := range lists {
		results[i].Inserted = list.Len()
		if i > 0 {
			starts[i] = starts[i-1] + lists[i-1].Len()
		}
	}
	find := func(index int) (list, place int) {
		list, exact := slices.BinarySearch(starts, index)
		if !exact {
			list--
		}
		return list, index - starts[list]
	}
	for _, index := range done.duplicateIndexes {
		list, _ := find(index)
		results[list].Inserted--
		results[list].Duplicates++
	}
	for _, refusal := range merged.Rejected {
		list, place := find(refusal.Index)
		refusal.Index = lists[list].Index(place)
		results[list].Inserted--
		results[list].Rejected = append(results[list].Rejected, refusal)
	}
	return results, err
}

// write writes points and adds to done what became of them.
func (w *Writer) write(ctx context.Context, points *lane.Points, taskID string, done *outcome) (Result, error) {
	start := time.Now()
	given := points.Slice(0, 0)
	generation := w.directoryGeneration()
	unlisted, err := w.listFlights(ctx, points, generation)
	if err == nil {
		given, err = w.writeParts(ctx, points, done)
	}
	if err == nil {
		// The points may have gone to another server than their flights.
		if now := w.directoryGeneration(); now != generation {
			unlisted, err = w.listFlights(ctx, points, now)
		}
	}
	result := done.result()
	if err == nil {
		result.Unlisted = unlisted
		err = w.reject(ctx, done.refused, taskID)
	}
	if err != nil {
		w.directory.forget()
	}
	if isReadOnly(err) {
		// It is a primary no longer: the next connections look for the one that is.
		w.pool.Reset()
	}
	if err != nil {
		err = fmt.Errorf("write %d points to %s: %w", points.Len(), points.Lane.Table, err)
	}
	w.observe(given, result, time.Since(start), err)
	return result, err
}

// outcome is what has become of points so far.
type outcome struct {
	inserted, duplicates int
	refused              []refusedPoint

	// duplicateIndexes lists the duplicates, as lane.Points.Index returns them,
	// if listsDuplicates is set.
	listsDuplicates  bool
	duplicateIndexes []int
}

// addDuplicates adds points that are in the table already.
func (o *outcome) addDuplicates(points *lane.Points) {
	o.duplicates += points.Len()
	if !o.listsDuplicates {
		return
	}
	for row := range points.Rows {
		o.duplicateIndexes = append(o.duplicateIndexes, points.Index(row))
	}
}

// refusedPoint is a list of one point, and why the database refused it.
type refusedPoint struct {
	point *lane.Points
	why   *pgconn.PgError
}

func (o *outcome) result() Result {
	r := Result{Inserted: o.inserted, Duplicates: o.duplicates}
	for _, refused := range o.refused {
		r.Rejected = append(r.Rejected, Refusal{
			Index: refused.point.Index(0), SQLState: refused.why.Code, Message: refused.why.Message,
		})
	}
	slices.SortFunc(r.Rejected, func(a, b Refusal) int { return cmp.Compare(a.Index, b.Index) })
	return r
}

// writeParts writes points, the first of those that share a key. A later one is
// written when the first was refused: it may hold what the table accepts. It
// returns the points that it gave to the database at first.
func (w *Writer) writeParts(ctx context.Context, points *lane.Points, done *outcome) (given *lane.Points, err error) {
	unique := orderByKey(points)
	given, others := points.Slice(0, unique), points.Slice(unique, points.Len())
	before := len(done.refused)
	for from := 0; from < unique; from += w.maxPoints {
		part := given.Slice(from, min(from+w.maxPoints, unique))
		if err := w.writeOrSplit(ctx, part, done); err != nil {
			return given, err
		}
	}
	if others.Len() == 0 {
		return given, nil
	}
	refused := make(map[key]bool)
	for _, r := range done.refused[before:] {
		refused[keyOf(r.point, 0)] = true
	}
	again, duplicates := splitByKeys(others, refused)
	done.addDuplicates(duplicates)
	if again.Len() > 0 {
		_, err = w.writeParts(ctx, again, done)
	}
	return given, err
}

// writeOrSplit writes points in one transaction. When the database refuses them
// for what one of them holds, it halves the list until that one stands alone.
// To find k refused points of n takes at most 2n transactions, and no more than
// 2k·(log₂(n/k)+2): those that fail write nothing, so they wait for no disk.
//
// Points of more than maxDays, or in more chunks than the server can lock, are
// halved by time until they are few enough: log₂(n) times at the most, since the
// first part that fails alone ends it.
func (w *Writer) writeOrSplit(ctx context.Context, points *lane.Points, done *outcome) error {
	if spreadsOver(points, maxDays) {
		earlier, later := splitByTime(points)
		return w.writeBoth(ctx, earlier, later, done)
	}
	err := w.writeTransaction(ctx, points, done)
	if err == nil {
		return nil
	}
	if isOutOfMemory(err) {
		earlier, later := splitByTime(points)
		if earlier.Len() == 0 {
			return err
		}
		return w.writeBoth(ctx, earlier, later, done)
	}
	why := asDataError(err)
	if why == nil {
		return err
	}
	if points.Len() == 1 {
		done.refused = append(done.refused, refusedPoint{points, why})
		return nil
	}
	half := points.Len() / 2
	return w.writeBoth(ctx, points.Slice(0, half), points.Slice(half, points.Len()), done)
}

// writeBoth writes two parts of a list, one after the other.
func (w *Writer) writeBoth(ctx context.Context, first, second *lane.Points, done *outcome) error {
	if err := w.writeOrSplit(ctx, first, done); err != nil {
		return err
	}
	return w.writeOrSplit(ctx, second, done)
}

// writeTransaction copies points into the table. When one of them is there
// already, or duplicates were seen lately, it inserts them instead.
func (w *Writer) writeTransaction(ctx context.Context, points *lane.Points, done *outcome) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	t := w.tables[points.Lane.Name]
	if points.Len() < copyMin || t.copyCooldown.Load() > 0 {
		return w.insert(ctx, t, points, done)
	}
	err := w.copyIn(ctx, t, points)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.UniqueViolation {
		return w.insert(ctx, t, points, done)
	}
	if err == nil {
		done.inserted += points.Len()
	}
	return err
}

// insert inserts points and adds to done what became of them.
func (w *Writer) insert(ctx context.Context, t *tablePlan, points *lane.Points, done *outcome) error {
	if !done.listsDuplicates {
		result, err := w.Insert(ctx, points)
		done.inserted += result.Inserted
		done.duplicates += result.Duplicates
		return err
	}
	read, err := w.execInsert(ctx, t, t.insertReturningSQL, points)
	if err != nil {
		return err
	}
	inserted := make(map[key]bool, len(read.Rows))
	for _, cells := range read.Rows {
		inserted[decodeKey(cells)] = true
	}
	_, duplicates := splitByKeys(points, inserted)
	done.inserted += points.Len() - duplicates.Len()
	done.addDuplicates(duplicates)
	return nil
}

// Insert commits points in one statement with ON CONFLICT DO NOTHING, and
// nothing else: no COPY, no cutting, no splitting. points must be ordered by
// key or few.
func (w *Writer) Insert(ctx context.Context, points *lane.Points) (Result, error) {
	t := w.tables[points.Lane.Name]
	read, err := w.execInsert(ctx, t, t.insertSQL, points)
	if err != nil {
		return Result{}, err
	}
	inserted := int(read.CommandTag.RowsAffected())
	return Result{Inserted: inserted, Duplicates: points.Len() - inserted}, nil
}

// execInsert executes a statement that inserts points.
func (w *Writer) execInsert(ctx context.Context, t *tablePlan, statement string, points *lane.Points) (*pgconn.Result, error) {
	buffer := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buffer)
	*buffer = (*buffer)[:0]

	ends := make([]int, len(t.encoder.columns))
	for column := range ends {
		*buffer = t.encoder.appendArray(*buffer, points, column)
		ends[column] = len(*buffer)
	}
	parameters := make([][]byte, len(ends))
	start := 0
	for column, end := range ends {
		parameters[column] = (*buffer)[start:end]
		start = end
	}

	connection, err := w.pool.Acquire(ctx)
	if err != nil {
		return nil, fmt.Errorf("get a database connection: %w", err)
	}
	defer connection.Release()
	binaryFormat := []int16{1} // for all of them
	read := connection.Conn().PgConn().ExecParams(ctx, statement, parameters, nil, binaryFormat, binaryFormat).Read()
	if read.Err != nil {
		return nil, fmt.Errorf("insert: %w", read.Err)
	}
	t.updateCopyCooldown(int(read.CommandTag.RowsAffected()) < points.Len())
	return read, nil
}

// updateCopyCooldown starts the cooldown after a batch with duplicates, and
// counts it down after one without.
func (t *tablePlan) updateCopyCooldown(duplicates bool) {
	if duplicates {
		t.copyCooldown.Store(insertsAfterDuplicate)
		return
	}
	if left := t.copyCooldown.Load(); left > 0 {
		t.copyCooldown.CompareAndSwap(left, left-1)
	}
}
