package devservers

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"

	"github.com/jackc/pgx/v5"

	"tracklane/internal/process"
)

// PgBouncerOptions says how a PgBouncer is to run.
type PgBouncerOptions struct {
	// Dir is the directory of the server's configuration, lock and log, for this server
	// alone. It is made when it is missing.
	Dir string
	// Database is the URL of the PostgreSQL server behind it, on the loopback interface.
	Database string
	// PoolSize is how many connections to each database it opens, at most.
	PoolSize int
}

// PgBouncer is a PgBouncer in transaction mode that runs as a child of this process. Its
// methods may be called from several goroutines.
type PgBouncer struct {
	server
	url string
}

// ErrNoPgBouncer is returned where there is no PgBouncer.
var ErrNoPgBouncer = errors.New("pgbouncer is not installed")

// StartPgBouncer starts the pgbouncer that is installed on a free port of the loopback
// interface and returns when the database accepts connections through it, after 30 s at
// the latest. The caller must Kill it. Should the caller die before, so does the server.
func StartPgBouncer(ctx context.Context, options PgBouncerOptions) (*PgBouncer, error) {
	binary := FindDaemon("pgbouncer")
	if binary == "" {
		return nil, ErrNoPgBouncer
	}
	p, err := startPgBouncer(ctx, binary, options)
	if err != nil {
		return nil, fmt.Errorf("start PgBouncer in %s: %w", options.Dir, err)
	}
	return p, nil
}

// HasPgBouncer reports whether StartPgBouncer finds a PgBouncer.
func HasPgBouncer() bool { return FindDaemon("pgbouncer") != "" }

// FindDaemon returns the path of a program, or nothing: Debian puts daemons where only
// root's PATH leads.
func FindDaemon(name string) string {
	for _, file := range []string{name, filepath.Join("/usr/sbin", name)} {
		if path, err := exec.LookPath(file); err == nil {
			return path
		}
	}
	return ""
}

// pgBouncerConfig is PgBouncer's. It tries again after a second when the database is not
// there.
const pgBouncerConfig = `[databases]
* = host=127.0.0.1 port=%d user=%s
[pgbouncer]
listen_addr = 127.0.0.1
listen_port = %d
unix_socket_dir =
auth_type = any
pool_mode = transaction
default_pool_size = %d
max_client_conn = 200
server_login_retry = 1
`

func startPgBouncer(ctx context.Context, binary string, options PgBouncerOptions) (*PgBouncer, error) {
	database, err := pgx.ParseConfig(options.Database)
	if err != nil {
		return nil, fmt.Errorf("read the URL of the database: %w", err)
	}
	dir, err := makeDir(options.Dir)
	if err != nil {
		return nil, err
	}
	port, err := FreePort()
	if err != nil {
		return nil, err
	}
	configFile := filepath.Join(dir, "pgbouncer.ini")
	config := fmt.Appendf(nil, pgBouncerConfig, database.Port, database.User, port, options.PoolSize)
	if err := os.WriteFile(configFile, config, 0o644); err != nil {
		return nil, err
	}
	arguments := []string{"--quiet", configFile}
	if os.Geteuid() == 0 {
		arguments = append([]string{"--user=nobody"}, arguments...) // it refuses to run as root
	}
	p := &PgBouncer{
		server: server{
			name: "PgBouncer", directory: dir, stopSignal: syscall.SIGTERM, port: port,
			lock: directoryLock{path: filepath.Join(dir, "pgbouncer.lock")},
		},
		url: strings.Replace(options.Database, ":"+strconv.Itoa(int(database.Port)), ":"+strconv.Itoa(port), 1),
	}
	p.launcher = launcher{
		command: func(int) *exec.Cmd { return exec.Command(binary, arguments...) }, // the port is in the configuration
		process: process.Options{DeathSignal: syscall.SIGKILL, LogFile: filepath.Join(dir, "pgbouncer.log")},
		check:   func(ctx context.Context, _, _ int) error { return p.check(ctx) },
	}
	return p, p.start(ctx)
}

// check returns nil if the database accepts connections through it.
func (p *PgBouncer) check(ctx context.Context) error {
	connection, err := pgx.Connect(ctx, p.url)
	if err != nil {
		return err
	}
	return connection.Close(ctx)
}

// URL is that of the database through PgBouncer.
func (p *PgBouncer) URL() string { return p.url }
