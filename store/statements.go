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

// transactionSettings is a query that sets what each transaction needs that
// stores a point: it is written to disk before it counts as committed, and
// TimescaleDB before 2.22 lets it reach into compressed chunks however many
// rows it finds there. They last until the transaction ends, and not for a
// session: a pooler gives each transaction another one.
const transactionSettings = `
	SELECT set_config('synchronous_commit', 'on', true),
		CASE WHEN current_setting('timescaledb.max_tuples_decompressed_per_dml_transaction', true) IS NOT NULL
		THEN set_config('timescaledb.max_tuples_decompressed_per_dml_transaction', '0', true) END`

// withSettings begins an INSERT ... SELECT FROM settings in which
// transactionSettings hold.
const withSettings = `WITH settings AS MATERIALIZED (` + transactionSettings + `) `

// columnList is a lane's columns, quoted, between commas.
func columnList(l *lane.Lane) string {
	var names []string
	for _, c := range l.Columns() {
		names = append(names, c.Name)
	}
	return strings.Join(quoted(names), ", ")
}

func quoted(names []string) []string {
	list := make([]string, len(names))
	for i, name := range names {
		list[i] = pgx.Identifier{name}.Sanitize()
	}
	return list
}

func copyStatement(l *lane.Lane) string {
	return fmt.Sprintf("COPY %s (%s) FROM STDIN (FORMAT binary)",
		pgx.Identifier{l.Table}.Sanitize(), columnList(l))
}

// insertReturningStatement is insertStatement that returns the keys of the rows
// that were not there already.
func insertReturningStatement(l *lane.Lane) string {
	return insertStatement(l) + " RETURNING " + strings.Join(quoted(l.Key()), ", ")
}

func insertStatement(l *lane.Lane) string {
	var arrays []string
	for i, c := range l.Columns() {
		arrays = append(arrays, fmt.Sprintf("$%d::%s[]", i+1, c.Kind.SQLType()))
	}
	return withSettings + fmt.Sprintf("INSERT INTO %s (%s) SELECT points.* FROM settings, unnest(%s) AS points ON CONFLICT DO NOTHING",
		pgx.Identifier{l.Table}.Sanitize(), columnList(l), strings.Join(arrays, ", "))
}
