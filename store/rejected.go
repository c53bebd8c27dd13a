package store

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5/pgconn"

	"tracklane/lane"
)

// rejectPoint keeps a point that the database refused.
func (w *Writer) rejectPoint(ctx context.Context, points *lane.Points, refusal *pgconn.PgError, taskID string) error {
	receivedAt := lane.TimeOf(points.Tracks[points.Rows[0].Track].ReceivedAt)
	_, err := w.pool.Exec(ctx, `
		INSERT INTO rejected_points (lane, point, error, sqlstate, task_id, received_at)
		VALUES ($1, $2, $3, $4, nullif($5, ''), $6)`,
		points.Lane.Name, points.AppendJSON(nil, 0), refusal.Message, refusal.Code, taskID, receivedAt)
	if err != nil {
		return fmt.Errorf("keep a refused point in rejected_points: %w", err)
	}
	return nil
}

// RejectPayload keeps a task's payload that cannot be read as points.
func (w *Writer) RejectPayload(ctx context.Context, l *lane.Lane, payload []byte, reason error, taskID string) error {
	_, err := w.pool.Exec(ctx, `
		INSERT INTO rejected_points (lane, payload, error, task_id) VALUES ($1, $2, $3, nullif($4, ''))`,
		l.Name, payload, reason.Error(), taskID)
	if err != nil {
		return fmt.Errorf("keep an unreadable payload in rejected_points: %w", err)
	}
	return nil
}
