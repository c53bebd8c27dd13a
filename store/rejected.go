package store

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"tracklane/internal/lane"
)

// rejectedRows is how many refused points go into one statement. A table of
// points accepts none of them, so a slow rejected_points (a trigger, a disk) may
// take each its time: this many have to fit into transactionTimeout.
const rejectedRows = 250

// rejectPoints passes over points that are there, before a trigger on the table
// can be slow about them; a transaction that runs beside it is what ON CONFLICT
// is for.
const rejectPoints = withSettings + `
	INSERT INTO rejected_points (lane, point, key, error, sqlstate, task_id, received_at)
	SELECT $1, refused.point::jsonb, hashed.key, refused.error, refused.sqlstate, nullif($2, ''), refused.received_at
	FROM settings,
		unnest($3::text[], $4::text[], $5::text[], $6::timestamptz[]) AS refused (point, error, sqlstate, received_at),
		LATERAL (SELECT sha256(convert_to((refused.point::jsonb - 'received_at')::text, 'UTF8')) AS key) AS hashed
	WHERE NOT EXISTS (SELECT FROM rejected_points AS kept WHERE kept.lane = $1 AND kept.key = hashed.key)
	ON CONFLICT DO NOTHING`

// reject puts points that the database refused into the dead-letter table, those
// that are not there yet. The error is an ErrNotKept.
func (w *Writer) reject(ctx context.Context, refused []refusedPoint, taskID string) error {
	for part := range slices.Chunk(refused, rejectedRows) {
		var points, messages, states []string
		var received []time.Time
		for _, r := range part {
			points = append(points, string(r.point.AppendPoint(nil, 0)))
			messages = append(messages, r.why.Message)
			states = append(states, r.why.Code)
			received = append(received, lane.TimeOf(r.point.Tracks[r.point.Rows[0].TrackIndex].ReceivedAt))
		}
		err := w.execute(ctx, rejectPoints, part[0].point.Lane.Name, taskID, points, messages, states, received)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrNotKept, err)
		}
	}
	return nil
}

// RejectPayload puts a task's payload that cannot be read as points into the
// dead-letter table, unless it is there already. The error is the database's or the context's.
func (w *Writer) RejectPayload(ctx context.Context, l *lane.Lane, payload []byte, reason error, taskID string) error {
	err := w.execute(ctx, withSettings+`
		INSERT INTO rejected_points (lane, payload, key, error, task_id)
		SELECT $1, $2::bytea, sha256($2::bytea), $3, nullif($4, '') FROM settings
		ON CONFLICT DO NOTHING`,
		l.Name, payload, reason.Error(), taskID)
	if err != nil {
		return fmt.Errorf("keep an unreadable payload in rejected_points: %w", err)
	}
	return nil
}

// execute executes a statement as a transaction of its own.
func (w *Writer) execute(ctx context.Context, statement string, arguments ...any) error {
	ctx, cancel := context.WithTimeout(ctx, w.timeout)
	defer cancel()
	_, err := w.pool.Exec(ctx, statement, arguments...)
	return err
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
