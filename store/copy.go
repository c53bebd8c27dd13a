package store

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"tracklane/internal/lane"
)

// copyRows is how many rows one COPY takes at the most. PostgreSQL 15 notes the
// room for each row of a COPY in a list that it searches from the start: that
// goes with the square of the rows, and with 1,000 it was 15 % of all that the
// machine did. With 500 a COPY, two a transaction, 4 to 8 % more points a second
// reached the table; with 250, again fewer.
const copyRows = 500

// closeTimeout bounds the sending of the Terminate message on a connection that
// failed.
const closeTimeout = time.Second

// copyIn writes points in one transaction with COPY.
//
// All that PostgreSQL has to be told goes out in one write: a query of as many
// COPY as it takes, which PostgreSQL runs in one transaction, and the rows of
// each. After an error it passes over what is left of them. See "Message Flow"
// in https://www.postgresql.org/docs/current/protocol-flow.html, Simple Query
// and COPY Operations.
func (w *Writer) copyIn(ctx context.Context, t *tablePlan, points *lane.Points) error {
	buffer := w.buffers.Get().(*[]byte)
	defer w.buffers.Put(buffer)
	*buffer = t.appendCopyMessages((*buffer)[:0], points)

	connection, err := w.pool.Acquire(ctx)
	if err != nil {
		return fmt.Errorf("get a database connection: %w", err)
	}
	defer connection.Release()
	if err := roundTrip(ctx, connection.Conn().PgConn(), *buffer); err != nil {
		return fmt.Errorf("copy: %w", err)
	}
	return nil
}

func (t *tablePlan) appendCopyMessages(buffer []byte, points *lane.Points) []byte {
	total := points.Len()
	parts := (total + copyRows - 1) / copyRows
	buffer, query := beginMessage(buffer, 'Q')
	buffer = append(buffer, transactionSettings...)
	buffer = append(buffer, ';')
	for range parts {
		buffer = append(buffer, t.copySQL...)
		buffer = append(buffer, ';')
	}
	buffer = append(buffer, 0)
	endMessage(buffer, query)
	for i := range parts {
		var data, done int
		buffer, data = beginMessage(buffer, 'd')
		buffer = t.encoder.appendCopy(buffer, points.Slice(i*total/parts, (i+1)*total/parts))
		endMessage(buffer, data)
		buffer, done = beginMessage(buffer, 'c')
		endMessage(buffer, done)
	}
	return buffer
}

// beginMessage appends the head of a message of PostgreSQL's protocol and
// returns where its length will stand.
func beginMessage(buffer []byte, kind byte) (extended []byte, length int) {
	return append(buffer, kind, 0, 0, 0, 0), len(buffer) + 1
}

// endMessage fills in the length of a message that ends with the buffer.
func endMessage(buffer []byte, length int) {
	binary.BigEndian.PutUint32(buffer[length:], uint32(len(buffer)-length))
}

// roundTrip sends messages that end in a query's result and waits for it. The
// error is a *pgconn.PgError when the database gave one. When ReadyForQuery did
// not come, the connection is closed.
//
// Only the sending goes past pgconn. Its SyncConn, which guards against replies
// that pgconn has read already or is reading in the background, is not needed:
// every reply is received through pgconn.
func roundTrip(ctx context.Context, connection *pgconn.PgConn, messages []byte) (err error) {
	ready := false
	defer func() {
		if !ready {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), closeTimeout)
			defer cancel()
			_ = connection.Close(ctx) // it failed before, and the first error counts
		}
	}()
	if deadline, ok := ctx.Deadline(); ok {
		if err := connection.Conn().SetWriteDeadline(deadline); err != nil {
			return fmt.Errorf("limit the time for sending: %w", err)
		}
	}
	if _, err := connection.Conn().Write(messages); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	if err := connection.Conn().SetWriteDeadline(time.Time{}); err != nil {
		return fmt.Errorf("lift the limit for sending: %w", err)
	}
	for {
		message, broken := connection.ReceiveMessage(ctx)
		if broken != nil {
			return errors.Join(err, broken)
		}
		switch message := message.(type) {
		case *pgproto3.ErrorResponse:
			if err == nil {
				err = pgconn.ErrorResponseToPgError(message)
			}
		case *pgproto3.ReadyForQuery:
			ready = true
			return err
		}
	}
}
