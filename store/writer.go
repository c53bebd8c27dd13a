package store

import (
	"context"
	"errors"
	"fmt"
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

	tables  map[string]*tablePlan
	buffers sync.Pool // of *[]byte
}

// tablePlan is how one lane's points are written.
type tablePlan struct {
	encoder   encoder
	copySQL   string
	insertSQL string

	// copyCooldown is how many more batches without a duplicate are inserted
	// before the next is copied.
	copyCooldown atomic.Int32
}

// Result says what became of points that were written.
type Result struct {
	Inserted   int // new in the table
	Duplicates int // in the table already, or twice in the same batch
	Rejected   int // refused by the database, now in the dead-letter table
}

func (r *Result) add(other Result) {
	r.Inserted += other.Inserted
	r.Duplicates += other.Duplicates
	r.Rejected += other.Rejected
}

// Observer is told the outcome of each Write: the points that the database was
// given, without the duplicates among them, what became of them, and Write's
// error. It is called from the goroutine that writes and must not keep points.
type Observer func(points *lane.Points, result Result, took time.Duration, err error)

const (
	// copyMin is the fewest points for which COPY pays: below it a single
	// INSERT is as fast and never has to be done again.
	copyMin = 100

	// insertsAfterDuplicate is where the cooldown starts after a batch with
	// duplicates. A copy that meets a duplicate is work for nothing.
	insertsAfterDuplicate = 8
)

// NewWriter returns a writer of at most maxPoints points a transaction. A nil
// observer is not told.
func NewWriter(pool *pgxpool.Pool, lanes []*lane.Lane, maxPoints int, observe Observer) *Writer {
	if observe == nil {
		observe = func(*lane.Points, Result, time.Duration, error) {}
	}
	w := &Writer{pool: pool, observe: observe, maxPoints: maxPoints, tables: make(map[string]*tablePlan)}
	w.buffers.New = func() any { return new([]byte) }
	for _, l := range lanes {
		w.tables[l.Name] = &tablePlan{
			encoder:   newEncoder(l),
			copySQL:   copyStatement(l),
			insertSQL: insertStatement(l),
		}
	}
	return w
}

// Write commits points in transactions of at most the writer's maxPoints rows.
// It sorts points by key and may shorten the list.
//
// When it returns nil, every point is in its table, was there before, or is in
// rejected_points because the database refused what it holds; taskID goes with
// those. When it returns an error some points may be committed and some not;
// writing all of them again is safe.
func (w *Writer) Write(ctx context.Context, points *lane.Points, taskID string) (Result, error) {
	start := time.Now()
	result := Result{Duplicates: orderByKey(points)}
	for from := 0; from < points.Len(); from += w.maxPoints {
		part := points.Slice(from, min(from+w.maxPoints, points.Len()))
		written, err := w.writeOrSplit(ctx, part, taskID)
		result.add(written)
		if err != nil {
			err = fmt.Errorf("write %d points to %s: %w", points.Len(), points.Lane.Table, err)
			w.observe(points, result, time.Since(start), err)
			return result, err
		}
	}
	w.observe(points, result, time.Since(start), nil)
	return result, nil
}

// writeOrSplit writes points in one transaction. When the database refuses them
// for what one of them holds, it halves the list until that one stands alone.
func (w *Writer) writeOrSplit(ctx context.Context, points *lane.Points, taskID string) (Result, error) {
	result, err := w.writeTransaction(ctx, points)
	refusal := asDataError(err)
	switch {
	case refusal == nil:
		return result, err
	case points.Len() == 1:
		if err := w.rejectPoint(ctx, points, refusal, taskID); err != nil {
			return Result{}, err
		}
		return Result{Rejected: 1}, nil
	}
	half := points.Len() / 2
	result, err = w.writeOrSplit(ctx, points.Slice(0, half), taskID)
	if err != nil {
		return result, err
	}
	second, err := w.writeOrSplit(ctx, points.Slice(half, points.Len()), taskID)
	result.add(second)
	return result, err
}

// writeTransaction copies points into the table. When one of them is there
// already, or duplicates were seen lately, it inserts them instead.
func (w *Writer) writeTransaction(ctx context.Context, points *lane.Points) (Result, error) {
	t := w.tables[points.Lane.Name]
	if points.Len() < copyMin || t.copyCooldown.Load() > 0 {
		return w.Insert(ctx, points)
	}
	err := w.copyIn(ctx, t, points)
	var refused *pgconn.PgError
	if errors.As(err, &refused) && refused.Code == pgerrcode.UniqueViolation {
		return w.Insert(ctx, points)
	}
	if err != nil {
		return Result{}, err
	}
	return Result{Inserted: points.Len()}, nil
}

// Insert commits points in one statement with ON CONFLICT DO NOTHING, and
// nothing else: no COPY, no cutting, no splitting. points must be ordered by
// key or few.
func (w *Writer) Insert(ctx context.Context, points *lane.Points) (Result, error) {
	t := w.tables[points.Lane.Name]
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
		return Result{}, fmt.Errorf("get a database connection: %w", err)
	}
	defer connection.Release()
	const binaryFormat = 1
	read := connection.Conn().PgConn().ExecParams(ctx, t.insertSQL, parameters, nil, []int16{binaryFormat}, nil).Read()
	if read.Err != nil {
		return Result{}, fmt.Errorf("insert: %w", read.Err)
	}
	result := Result{Inserted: int(read.CommandTag.RowsAffected())}
	result.Duplicates = points.Len() - result.Inserted
	t.updateCopyCooldown(result)
	return result, nil
}

// updateCopyCooldown starts the cooldown after a batch with duplicates, and
// counts it down after one without.
func (t *tablePlan) updateCopyCooldown(result Result) {
	if result.Duplicates > 0 {
		t.copyCooldown.Store(insertsAfterDuplicate)
		return
	}
	if left := t.copyCooldown.Load(); left > 0 {
		t.copyCooldown.CompareAndSwap(left, left-1)
	}
}
