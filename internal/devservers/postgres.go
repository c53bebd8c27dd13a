package devservers

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os/exec"
	"path/filepath"
	"strconv"
	"syscall"
	"time"

	"github.com/jackc/pgx/v5"

	"tracklane/internal/process"
)

const (
	userName     = "tracklane"
	databaseName = "tracklane"
)

// PostgresOptions says how a PostgreSQL is to run.
type PostgresOptions struct {
	// Dir is the directory of the server's data, lock and log, for this server
	// alone. It is made when it is missing; data in it is used again.
	Dir string
	// Logger hears of what is unusual about the start; nil: nobody does.
	Logger *slog.Logger
	// Durable keeps committed data through a crash of the machine. Without it
	// the server is faster, what is committed survives a crash of the server but
	// not one of the machine, and TimescaleDB runs no jobs, so that it compresses
	// and drops no chunks by itself.
	Durable bool
	// Plain leaves TimescaleDB out where it is installed: it cannot be created
	// in any database of the server.
	Plain bool
	// StandbyOf is the URL of the primary, its own or by way of a proxy, that a new
	// server copies, and from then on follows by streaming replication; empty: it
	// is a primary. The new server is read-only until it is promoted. From its
	// start on, a commit on the primary counts only when this server has synced
	// it, and waits while this server is down: see Postgres.CommitAlone. It needs
	// pg_basebackup, which a PostgreSQL that was downloaded lacks.
	StandbyOf string
	// BinaryRepositoryURL is the Maven repository that PostgreSQL is downloaded
	// from where none is installed; empty: Maven Central.
	BinaryRepositoryURL string
}

// Postgres is a PostgreSQL server that runs as a child of this process, with a
// superuser and a database that are both called tracklane. Its methods may be
// called from several goroutines.
type Postgres struct {
	server
	version     string
	timescaledb bool
}

// StartPostgres starts a PostgreSQL on a free port of the loopback interface and
// returns when it takes connections: in about a second the first time and half
// of that later, after 30 s at the latest (not counting the download, where the
// machine has no PostgreSQL 15 or newer). As root it runs the server as the user
// postgres or nobody; where that user cannot reach Dir, the data is kept below
// /var/tmp, and the log says so. A directory that another process has a server
// running in is refused; a server that a killed process left there is stopped.
// The caller must Stop it. Should the caller die before, so does the server.
func StartPostgres(ctx context.Context, options PostgresOptions) (*Postgres, error) {
	p, err := startPostgres(ctx, options, binarySources{installed: debianPattern, repositoryURL: options.BinaryRepositoryURL})
	if err != nil {
		return nil, fmt.Errorf("start PostgreSQL in %s: %w", options.Dir, err)
	}
	return p, nil
}

func startPostgres(ctx context.Context, options PostgresOptions, sources binarySources) (*Postgres, error) {
	dir, err := makeDir(options.Dir)
	if err != nil {
		return nil, err
	}
	lock := directoryLock{path: filepath.Join(dir, "postgres.lock")}
	if err := lock.acquire(); err != nil {
		return nil, err
	}
	c, err := prepareCluster(ctx, dir, options.StandbyOf, sources, orDiscard(options.Logger))
	if err != nil {
		lock.release()
		return nil, err
	}
	p := &Postgres{version: c.installation.version, timescaledb: c.installation.timescaledb && !options.Plain}
	p.server = server{
		name: "PostgreSQL", directory: c.dir, stopSignal: syscall.SIGINT, prepare: p.ensureDatabase, lock: lock,
		launcher: launcher{
			command: func(port int) *exec.Cmd {
				command := exec.Command(c.installation.binary("postgres"), serverArguments(c, port, options)...)
				command.Dir = c.dir
				command.Env = serverEnvironment()
				return command
			},
			process: process.Options{
				Credential:  c.credential,
				DeathSignal: syscall.SIGQUIT, // which ends children that are paused, too
				LogFile:     filepath.Join(dir, "postgres.log"),
			},
			check: p.check,
		},
	}
	if err := p.start(ctx); err != nil {
		return nil, err
	}
	if options.StandbyOf != "" {
		if err := p.becomeSynchronous(ctx, options.StandbyOf); err != nil {
			return nil, errors.Join(err, p.Kill())
		}
	}
	return p, nil
}

// serverArguments are those of the program postgres.
func serverArguments(c cluster, port int, options PostgresOptions) []string {
	arguments := []string{"-D", c.dir, "-p", strconv.Itoa(port)}
	settings := []string{
		"listen_addresses=127.0.0.1",
		"unix_socket_directories=", // whose paths are limited to 100 characters
		"max_connections=200",
		"logging_collector=off",
		"log_min_error_statement=fatal", // no statement of a thousand points
	}
	if options.Durable {
		settings = append(settings, "shared_buffers=256MB", "max_wal_size=2GB")
	} else {
		// Commits are still written before they are acknowledged, so that killing
		// the server loses none: synchronous_commit stays on.
		settings = append(settings, "shared_buffers=32MB", "fsync=off", "full_page_writes=off")
	}
	if c.installation.timescaledb && !options.Plain {
		settings = append(settings, "shared_preload_libraries=timescaledb", "timescaledb.telemetry_level=off")
		if options.Durable {
			// TimescaleDB's own 16 have to fit in, beside the 8 for parallel queries.
			settings = append(settings, "max_worker_processes=32")
		} else {
			// Tests make databases by the dozen, each with a scheduler that runs jobs
			// as soon as it is there: they would take longer and compete for workers.
			settings = append(settings, "timescaledb.max_background_workers=0")
		}
	}
	for _, setting := range settings {
		arguments = append(arguments, "-c", setting)
	}
	return arguments
}

// check returns nil if the server on port accepts connections and is this one.
func (p *Postgres) check(ctx context.Context, port, _ int) error {
	connection, err := pgx.Connect(ctx, dsn(port, "postgres"))
	if err != nil {
		return err
	}
	defer connection.Close(ctx)
	var directory string
	if err := connection.QueryRow(ctx, "SELECT current_setting('data_directory')").Scan(&directory); err != nil {
		return err
	}
	if directory != p.directory {
		return fmt.Errorf("the server there is that of %s", directory)
	}
	return nil
}

func (p *Postgres) ensureDatabase(ctx context.Context) error {
	return p.withAdminConn(ctx, func(ctx context.Context, connection *pgx.Conn) error {
		var there bool
		err := connection.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", databaseName).Scan(&there)
		if err != nil || there {
			return err
		}
		_, err = connection.Exec(ctx, "CREATE DATABASE "+databaseName)
		return err
	})
}

// Version is the server's version, such as "15.18".
func (p *Postgres) Version() string { return p.version }

// TimescaleDB reports whether the extension can be created in the server's
// databases.
func (p *Postgres) TimescaleDB() bool { return p.timescaledb }

// Dir is where the data is: below Dir, or below /var/tmp where the server's
// user cannot reach Dir.
func (p *Postgres) Dir() string { return p.directory }

// DSN is the URL of the database tracklane. It stays the same through restarts.
func (p *Postgres) DSN() string { return dsn(p.port, databaseName) }

func dsn(port int, database string) string {
	return fmt.Sprintf("postgres://%s@%s/%s?sslmode=disable", userName, address(port), database)
}

// CreateDatabase makes another, empty database and returns its URL. The name is
// taken as it is, and must be no more than 63 bytes of letters, digits and
// underscores, in lower case.
func (p *Postgres) CreateDatabase(ctx context.Context, name string) (string, error) {
	err := p.withAdminConn(ctx, func(ctx context.Context, connection *pgx.Conn) error {
		_, err := connection.Exec(ctx, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize())
		return err
	})
	if err != nil {
		return "", fmt.Errorf("create database %s: %w", name, err)
	}
	return dsn(p.port, name), nil
}

// DropDatabase removes a database and ends the connections to it.
func (p *Postgres) DropDatabase(ctx context.Context, name string) error {
	err := p.withAdminConn(ctx, func(ctx context.Context, connection *pgx.Conn) error {
		_, err := connection.Exec(ctx, "DROP DATABASE "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)")
		return err
	})
	if err != nil {
		return fmt.Errorf("drop database %s: %w", name, err)
	}
	return nil
}

// withAdminConn does something on a connection to no database in particular, within
// startTimeout.
func (p *Postgres) withAdminConn(ctx context.Context, do func(context.Context, *pgx.Conn) error) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	connection, err := pgx.Connect(ctx, dsn(p.port, "postgres"))
	if err != nil {
		return err
	}
	defer func() {
		// It is closed properly even when ctx is done.
		ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), time.Second)
		defer cancel()
		connection.Close(ctx)
	}()
	return do(ctx, connection)
}
