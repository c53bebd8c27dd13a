package store

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// rejectPoint puts a point that the database refused into the dead-letter table.
func (w *Writer) rejectPoint(ctx context.Context, points *lane.Points, refusal *pgconn.PgError, taskID string) error {
	receivedAt := lane.TimeOf(points.Tracks[points.Rows[0].TrackIndex].ReceivedAt)
	_, err := w.pool.Exec(ctx, withSettings+`
		INSERT INTO rejected_points (lane, point, error, sqlstate, task_id, received_at)
		SELECT $1, $2::jsonb, $3, $4, nullif($5, ''), $6::timestamptz FROM settings`,
		points.Lane.Name, points.AppendPoint(nil, 0), refusal.Message, refusal.Code, taskID, receivedAt)
	if err != nil {
		return fmt.Errorf("keep a refused point in rejected_points: %w", err)
	}
	return nil
}

// RejectPayload puts a task's payload that cannot be read as points into the
// dead-letter table. The error is the database's or the context's.
func (w *Writer) RejectPayload(ctx context.Context, l *lane.Lane, payload []byte, reason error, taskID string) error {
	_, err := w.pool.Exec(ctx, withSettings+`
		INSERT INTO rejected_points (lane, payload, error, task_id)
		SELECT $1, $2::bytea, $3, nullif($4, '') FROM settings`,
		l.Name, payload, reason.Error(), taskID)
	if err != nil {
		return fmt.Errorf("keep an unreadable payload in rejected_points: %w", err)
	}
	return nil
}

// Rejected is what the database refused, or what could not be read: a row of the
// dead-letter table, rejected_points.
type Rejected struct {
	ID         int64      `db:"id"`
	Lane       string     `db:"lane"`
	Point      []byte     `db:"point"`   // JSON, as lane.Points.AppendPoint writes it; or nil
	Payload    []byte     `db:"payload"` // of a task, where it could not be read; or nil
	Error      string     `db:"error"`
	SQLState   *string    `db:"sqlstate"`
	TaskID     *string    `db:"task_id"`
	ReceivedAt *time.Time `db:"received_at"`
	RejectedAt time.Time  `db:"rejected_at"`
}

// RejectedPoints reads and clears the dead-letter table, rejected_points. Any
// number of goroutines may use one at the same time.
type RejectedPoints struct{ pool *pgxpool.Pool }

// NewRejectedPoints returns the rejected points of a database.
func NewRejectedPoints(pool *pgxpool.Pool) *RejectedPoints { return &RejectedPoints{pool} }

// List returns, oldest first, at most limit rows with an id above after. An
// empty lane stands for all.
func (r *RejectedPoints) List(ctx context.Context, laneName string, after int64, limit int) ([]Rejected, error) {
	rows, err := r.pool.Query(ctx, `
		SELECT id, lane, point, payload, error, sqlstate, task_id, received_at, rejected_at
		FROM rejected_points WHERE id > $1 AND ($2 = '' OR lane = $2) ORDER BY id LIMIT $3`,
		after, laneName, limit)
	if err != nil {
		return nil, fmt.Errorf("list rejected points: %w", err)
	}
	list, err := pgx.CollectRows(rows, pgx.RowToStructByName[Rejected])
	if err != nil {
		return nil, fmt.Errorf("list rejected points: %w", err)
	}
	return list, nil
}

// LastID is the highest id in the table, or 0.
func (r *RejectedPoints) LastID(ctx context.Context) (id int64, err error) {
	if err := r.pool.QueryRow(ctx, `SELECT coalesce(max(id), 0) FROM rejected_points`).Scan(&id); err != nil {
		return 0, fmt.Errorf("find the last rejected point: %w", err)
	}
	return id, nil
}

// ErrNoRejected is returned for an id that rejected_points does not have.
var ErrNoRejected = errors.New("there is no such rejected point")

// Get returns one row, or ErrNoRejected.
func (r *RejectedPoints) Get(ctx context.Context, id int64) (Rejected, error) {
	list, err := r.List(ctx, "", id-1, 1)
	if err != nil {
		return Rejected{}, err
	}
	if len(list) == 0 || list[0].ID != id {
		return Rejected{}, fmt.Errorf("rejected point %d: %w", id, ErrNoRejected)
	}
	return list[0], nil
}

// Delete removes one row, or returns ErrNoRejected.
func (r *RejectedPoints) Delete(ctx context.Context, id int64) error {
	tag, err := r.pool.Exec(ctx, `DELETE FROM rejected_points WHERE id = $1`, id)
	if err != nil {
		return fmt.Errorf("delete rejected point %d: %w", id, err)
	}
	if tag.RowsAffected() == 0 {
		return fmt.Errorf("rejected point %d: %w", id, ErrNoRejected)
	}
	return nil
}

// Purge removes the rows of a lane, or all with an empty name, that were
// rejected before a time, and returns how many it removed.
func (r *RejectedPoints) Purge(ctx context.Context, laneName string, before time.Time) (int64, error) {
	tag, err := r.pool.Exec(ctx,
		`DELETE FROM rejected_points WHERE rejected_at < $1 AND ($2 = '' OR lane = $2)`, before, laneName)
	if err != nil {
		return 0, fmt.Errorf("purge rejected points: %w", err)
	}
	return tag.RowsAffected(), nil
}
