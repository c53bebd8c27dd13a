package store

import (
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgtype"

	"tracklane/internal/lane"
)

// oids are those of the types of lane.Kind.SQLType.
var oids = [...]uint32{
	lane.Float:     pgtype.Float8OID,
	lane.Bool:      pgtype.BoolOID,
	lane.Timestamp: pgtype.TimestamptzOID,
	lane.Text:      pgtype.TextOID,
	lane.BigInt:    pgtype.Int8OID,
	lane.UUID:      pgtype.UUIDOID,
}

// columnList is a lane's columns, quoted, between commas.
func columnList(l *lane.Lane) string {
	var names []string
	for _, c := range l.Columns() {
		names = append(names, pgx.Identifier{c.Name}.Sanitize())
	}
	return strings.Join(names, ", ")
}

func copyStatement(l *lane.Lane) string {
	return fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)",
		pgx.Identifier{l.Table}.Sanitize(), columnList(l))
}

func insertStatement(l *lane.Lane) string {
	var arrays []string
	for i, c := range l.Columns() {
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, c.Kind.SQLType()))
	}
	return fmt.Sprintf("INSERT INTO %s (%s) SELECT * FROM unnest(%s) ON CONFLICT DO NOTHING",
		pgx.Identifier{l.Table}.Sanitize(), columnList(l), strings.Join(arrays, ", "))
}
