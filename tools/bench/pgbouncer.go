package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tracklane/internal/devservers"
	"tracklane/internal/process"
)

// pgBouncerConfig is PgBouncer's in transaction mode, with as many connections to
// the database as tracklane opens. It tries again after a second when the database
// is not there.
const pgBouncerConfig = `[databases]
* = host=127.0.0.1 port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = 10
max_client_conn = 200
server_login_retry = 1
`

const pgBouncerTimeout = 10 * time.Second // to be ready

// pgBouncerBinary is where PgBouncer is, or empty: Debian puts it where only
// root's PATH leads.
func pgBouncerBinary() string {
	for _, name := range []string{"pgbouncer", "/usr/sbin/pgbouncer"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	return ""
}

// throughPgBouncer runs the handler that inserts directly behind a PgBouncer, while
// do runs.
func (s *system) throughPgBouncer(ctx context.Context, binary string, do func(context.Context, *server) error) (err error) {
	database, err := pgx.ParseConfig(s.Postgres.DSN())
	if err != nil {
		return fmt.Errorf("set up PgBouncer: %w", err)
	}
	port, err := devservers.FreePort()
	if err != nil {
		return err
	}
	file := filepath.Join(s.Dir, "pgbouncer.ini")
	if err := os.WriteFile(file, fmt.Appendf(nil, pgBouncerConfig, database.Port, database.User, port), 0o644); err != nil {
		return fmt.Errorf("write the configuration of PgBouncer: %w", err)
	}
	arguments := []string{"--quiet", file}
	if os.Geteuid() == 0 {
		arguments = append([]string{"--user=nobody"}, arguments...) // it refuses to run as root
	}
	pooler, err := process.Start(exec.Command(binary, arguments...), process.Options{
		LogFile: filepath.Join(s.Dir, "pgbouncer.log"),
	})
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, pooler.Kill()) }()
	url := strings.Replace(s.Postgres.DSN(), ":"+strconv.Itoa(int(database.Port)), ":"+strconv.Itoa(port), 1)
	starting, cancel := context.WithTimeout(ctx, pgBouncerTimeout)
	defer cancel()
	if err := pooler.AwaitReady(starting, func(ctx context.Context) error {
		connection, err := pgx.Connect(ctx, url)
		if err != nil {
			return err
		}
		return connection.Close(ctx)
	}); err != nil {
		return err
	}
	// Each transaction may have another connection, where what was prepared before is
	// not known.
	url += "&default_query_exec_mode=cache_describe&pool_max_conns=" + strconv.Itoa(saturation)
	return s.serveDirectInsert(ctx, url, func(ctx context.Context, p *server) error {
		p.beside = pooler.PID()
		return do(ctx, p)
	})
}
