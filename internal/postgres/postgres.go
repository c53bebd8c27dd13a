// Package postgres is what tracklane's connections to PostgreSQL have in
// common, those that migrate the schema and those that write points.
//
// They work through a pooler in transaction mode, such as PgBouncer, where each
// transaction may meet another session of the server: nothing is prepared by
// name, no session is set up, and the parameters of the start are those alone
// that every pooler accepts. A transaction sets what else it needs by itself.
package postgres

import (
	"errors"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// Configure prepares config for tracklane's connections: they speak UTF-8,
// prepare no statement by name, and are called tracklane unless config has a
// name for them. Of several hosts they take one that accepts writes, unless
// config has another target_session_attrs than any.
func Configure(config *pgx.ConnConfig) {
	if config.ValidateConnect == nil && hasSeveralHosts(config) {
		config.ValidateConnect = pgconn.ValidateConnectTargetSessionAttrsReadWrite
	}
	if config.RuntimeParams["application_name"] == "" {
		config.RuntimeParams["application_name"] = "tracklane"
	}
	config.RuntimeParams["client_encoding"] = "UTF8"
	if config.DefaultQueryExecMode == pgx.QueryExecModeCacheStatement {
		config.DefaultQueryExecMode = pgx.QueryExecModeCacheDescribe
	}
}

// hasSeveralHosts reports whether config names more than one server. A fallback
// of the same one differs in its use of TLS.
func hasSeveralHosts(config *pgx.ConnConfig) bool {
	return slices.ContainsFunc(config.Fallbacks, func(f *pgconn.FallbackConfig) bool {
		return f.Host != config.Host || f.Port != config.Port
	})
}

// ErrEncoding is the error of CheckEncoding. It does not pass by itself: the
// database has to be made anew.
var ErrEncoding = errors.New("the database cannot hold the texts of every script")

// CheckEncoding returns an ErrEncoding, in one line that says what to do, when
// the connection's database is not encoded in UTF-8. It asks nothing of the
// server, which has said so when the connection was made.
func CheckEncoding(connection *pgx.Conn) error {
	encoding := connection.PgConn().ParameterStatus("server_encoding")
	if encoding == "UTF8" || encoding == "" {
		return nil
	}
	name := connection.Config().Database
	return fmt.Errorf("%w: %s is encoded in %s; create one with: CREATE DATABASE %s ENCODING 'UTF8' TEMPLATE template0",
		ErrEncoding, name, encoding, pgx.Identifier{name}.Sanitize())
}
