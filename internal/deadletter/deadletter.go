// Package deadletter stores again what the database refused before: the rows of
// the dead-letter table, rejected_points.
package deadletter

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
	"tracklane/store"
	"tracklane/tasks"
)

// pageSize is how many rows are in memory at the same time.
const pageSize = 500

// Retrier stores rows of the dead-letter table again. It is not safe for
// concurrent use.
type Retrier struct {
	lanes  []*lane.Lane
	points *store.RejectedPoints
	writer *store.Writer
}

// NewRetrier returns a retrier that reads from pool and writes with writer, both
// of the same database.
func NewRetrier(pool *pgxpool.Pool, lanes []*lane.Lane, writer *store.Writer) *Retrier {
	return &Retrier{lanes: lanes, points: store.NewRejectedPoints(pool), writer: writer}
}

// Result is what became of rows that were retried.
type Result struct {
	Stored     int // points that are in their table now, or were there before
	Refused    int // points that the database refused again; they stay
	Unreadable []Unreadable
}

// Unreadable is a row that holds no points that can be read. It stays.
type Unreadable struct {
	ID  int64
	Err error
}

// Retry stores the rows with these ids again, and removes those that are stored.
// It returns an error that is store.ErrNoRejected when one of the ids has no row,
// and then retries none of them. After any other error the database failed, some
// rows may be stored, and retrying all of them again is safe.
func (r *Retrier) Retry(ctx context.Context, ids ...int64) (Result, error) {
	var rows []store.Rejected
	for _, id := range ids {
		row, err := r.points.Get(ctx, id)
		if err != nil {
			return Result{}, err
		}
		rows = append(rows, row)
	}
	return r.retry(ctx, rows)
}

// RetryAll retries every row that is there when it is called, oldest first, and
// calls each with the result of every page. Its error is as Retry's.
func (r *Retrier) RetryAll(ctx context.Context, each func(Result)) error {
	last, err := r.points.LastID(ctx)
	if err != nil {
		return err
	}
	for after := int64(0); after < last; {
		page, err := r.points.List(ctx, "", after, pageSize)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].ID
		page = slices.DeleteFunc(page, func(row store.Rejected) bool { return row.ID > last })
		result, err := r.retry(ctx, page)
		if err != nil {
			return err
		}
		each(result)
	}
	return nil
}

func (r *Retrier) retry(ctx context.Context, rows []store.Rejected) (result Result, err error) {
	for _, row := range rows {
		points, err := r.read(row)
		if err != nil {
			result.Unreadable = append(result.Unreadable, Unreadable{row.ID, err})
			continue
		}
		taskID := ""
		if row.TaskID != nil {
			taskID = *row.TaskID
		}
		written, err := r.writer.Write(ctx, points, taskID)
		// A point that is refused again is in its row still; those of a payload
		// have rows of their own now.
		if err == nil && (row.Point == nil || len(written.Rejected) == 0) {
			err = r.points.Delete(ctx, row.ID)
		}
		if err != nil {
			return result, fmt.Errorf("retry the rejected point %d: %w", row.ID, err)
		}
		result.Stored += written.Inserted + written.Duplicates
		result.Refused += len(written.Rejected)
	}
	return result, nil
}

// read makes points of a row.
func (r *Retrier) read(row store.Rejected) (*lane.Points, error) {
	for _, l := range r.lanes {
		if l.Name != row.Lane {
			continue
		}
		if row.Point != nil {
			return lane.UnmarshalPoint(l, row.Point)
		}
		return tasks.Decode(l, row.Payload)
	}
	return nil, fmt.Errorf("there is no lane %q", row.Lane)
}
