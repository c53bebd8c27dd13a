package store

import (
	"errors"
	"strings"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
)

// asDataError returns the database's error when it refused a statement for the
// data in it: SQLSTATE class 22 (data exception) or 23 (integrity constraint
// violation) but for a duplicate key. Writing the same data again cannot
// succeed. It returns nil for every other error, such as a connection that
// broke or a table that is not there yet, which may pass.
func asDataError(err error) *pgconn.PgError {
	var refused *pgconn.PgError
	if !errors.As(err, &refused) || refused.Code == pgerrcode.UniqueViolation {
		return nil
	}
	if strings.HasPrefix(refused.Code, "22") || strings.HasPrefix(refused.Code, "23") {
		return refused
	}
	return nil
}

// isOutOfMemory reports whether the server had no memory for a statement, such as
// that for its locks: a smaller one may have room.
func isOutOfMemory(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == pgerrcode.OutOfMemory
}

// isReadOnly reports whether the server accepts no writes, such as a primary that
// became a standby.
func isReadOnly(err error) bool {
	var refused *pgconn.PgError
	return errors.As(err, &refused) && refused.Code == pgerrcode.ReadOnlySQLTransaction
}
