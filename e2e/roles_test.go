package e2e

import (
	"context"
	"log/slog"
	"net/url"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/jackc/pgerrcode"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/config"
	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// makeRoles runs deploy/postgres/100-roles.sql in a database.
func makeRoles(t *testing.T, database string) {
	t.Helper()
	script, err := os.ReadFile("../deploy/postgres/100-roles.sql")
	require.NoError(t, err)
	_, err = openDatabase(t, database).Exec(t.Context(), string(script))
	require.NoError(t, err)
}

// as is the URL of a database for a role.
func as(t *testing.T, database, role string) string {
	t.Helper()
	parsed, err := url.Parse(database)
	require.NoError(t, err)
	parsed.User = url.User(role)
	return parsed.String()
}

// migrate does what "tracklane migrate up" does.
func migrate(t *testing.T, database string) {
	t.Helper()
	c, err := config.Load([]string{"DATABASE_URL=" + database})
	require.NoError(t, err)
	require.NoError(t, app.Migrate(t.Context(), c, slog.New(slog.DiscardHandler)))
}

func TestRoles_ServeWithoutAnyOtherPrivilege(t *testing.T) {
	t.Parallel()
	for name, prepare := range map[string]func(t *testing.T, database string){
		"of a new installation": func(t *testing.T, database string) {
			makeRoles(t, database)
			makeRoles(t, database) // again
			migrate(t, as(t, database, "tracklane_owner"))
		},
		"of one that used a superuser": func(t *testing.T, database string) {
			migrate(t, database)
			makeRoles(t, database)
			migrate(t, as(t, database, "tracklane_owner"))
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			postgres := servers.Postgres(t, devservers.PostgresOptions{Durable: true})
			if postgres.TimescaleDB() { // as the image of TimescaleDB does
				_, err := openDatabase(t, postgres.DSN()).Exec(t.Context(), `CREATE EXTENSION timescaledb`)
				require.NoError(t, err)
			}
			prepare(t, postgres.DSN())
			requireAppWorks(t, postgres)
			requireAppMayDoNothingElse(t, openDatabase(t, as(t, postgres.DSN(), "tracklane_app")))
		})
	}
}

// requireAppWorks runs the program with the role tracklane_app: points come by
// Redis and by the bypass, again, as many as take COPY, and refused ones.
func requireAppWorks(t *testing.T, postgres *devservers.Postgres) {
	t.Helper()
	redis := servers.Redis(t)
	pool := openDatabase(t, postgres.DSN())
	_, err := pool.Exec(t.Context(), `INSERT INTO live_track_points (flight_id, datetime, lat, lon, received_at) VALUES ('older', '2026-07-01 12:00Z', 46, 7, now())`)
	require.NoError(t, err)
	s := startServer(t, app.Roles{API: true, Worker: true},
		"DATABASE_URL="+as(t, postgres.DSN(), "tracklane_app"), "REDIS_URL="+redis.URL(), "MIGRATE_ON_START=false")
	requireRows(t, pool, 1, `SELECT count(*) FROM flights WHERE flight_id = 'older'`)
	_, err = pool.Exec(t.Context(), `DELETE FROM live_track_points`)
	require.NoError(t, err)
	for n, rows := range []int{3, 6} {
		for _, got := range postEverywhere(t, s, n) {
			require.Less(t, got.code, 300, got.text)
		}
		requireStoredEverywhere(t, pool, rows)
	}
	if postgres.TimescaleDB() { // a second copy of a compressed point, and points beside it
		_, err := pool.Exec(t.Context(), `SELECT compress_chunk(show_chunks('live_track_points'))`)
		require.NoError(t, err)
	}
	require.Equal(t, 202, postJSON(t, s.url+"/upload", flight("many", 3000)).code) // by COPY
	requireRows(t, pool, 3006, `SELECT count(*) FROM uploaded_track_points`)
	for range 2 {
		require.Equal(t, 202, postJSON(t, s.url+"/live", flight("flight 0", 600)).code)
	}
	requireRows(t, pool, 603, `SELECT count(*) FROM live_track_points`)

	refuseBelow(t, postgres.DSN())
	in := &installation{postgres: postgres, redis: redis, api: s.url}
	if !redis.InMemory() {
		require.Eventually(t, func() bool { return in.health(t).Status == "healthy" }, 20*time.Second, 50*time.Millisecond,
			"the role lacks nothing")
	}
	const south = `{"flight_id":"south","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2},{"datetime":"2026-07-14T11:00:01Z","lat":20,"lon":2}]}`
	require.Equal(t, 202, postJSON(t, s.url+"/live", south).code)
	requireRows(t, pool, 604, `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, 1, `SELECT count(*) FROM rejected_points`)
	in.requireReason(t, "The database refused points")

	require.NoError(t, redis.Kill())
	require.Eventually(t, func() bool {
		got := postJSON(t, s.url+"/upload", flight("bypass", 3))
		return got.code == 201
	}, 20*time.Second, 50*time.Millisecond)
}

// requireAppMayDoNothingElse tries what tracklane_app must not do.
func requireAppMayDoNothingElse(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	statements := []string{
		`CREATE TABLE mine (x int)`, `CREATE TEMPORARY TABLE mine (x int)`, `CREATE SCHEMA mine`,
		`CREATE FUNCTION mine() RETURNS int LANGUAGE sql RETURN 1`, `CREATE ROLE mine`, `CREATE DATABASE mine`,
		`SET ROLE tracklane_owner`, `SELECT pg_read_file('PG_VERSION')`, `ALTER SYSTEM SET fsync = off`,
		`COPY live_track_points TO PROGRAM 'true'`,
		`INSERT INTO goose_db_version (version_id, is_applied) VALUES (9999, true)`, `DELETE FROM goose_db_version`,
		`UPDATE flights SET day = day`, `DELETE FROM flights`, `UPDATE flights_filled SET part = ''`, `DELETE FROM flights_filled`, `TRUNCATE flights_filled`,
	}
	tables := []string{"rejected_points"}
	for _, l := range lane.All(lane.Options{}) {
		tables = append(tables, l.Table)
	}
	for _, table := range tables {
		statements = append(statements,
			`UPDATE `+table+` SET received_at = now()`, `DELETE FROM `+table, `TRUNCATE `+table, `DROP TABLE `+table,
			`ALTER TABLE `+table+` ADD COLUMN mine int`, `CREATE TRIGGER mine BEFORE INSERT ON `+table+` EXECUTE FUNCTION suppress_redundant_updates_trigger()`,
			`SELECT FROM `+table+` FOR UPDATE`, `BEGIN; LOCK TABLE `+table+` IN ACCESS EXCLUSIVE MODE`)
	}
	for _, statement := range statements {
		t.Run(statement, func(t *testing.T) {
			_, err := pool.Exec(context.Background(), statement)
			var refused *pgconn.PgError
			require.ErrorAs(t, err, &refused)
			assert.Equal(t, pgerrcode.InsufficientPrivilege, refused.Code, refused.Message)
		})
	}
}

// A table that a later migration makes is the app's to read and to add to.
func TestRoles_MayUseTablesOfLaterMigrations(t *testing.T) {
	t.Parallel()
	postgres := servers.Postgres(t, devservers.PostgresOptions{})
	makeRoles(t, postgres.DSN())
	owner := as(t, postgres.DSN(), "tracklane_owner")
	migrate(t, owner)
	_, err := openDatabase(t, owner).Exec(t.Context(), `CREATE TABLE later (id bigint GENERATED ALWAYS AS IDENTITY, x int)`)
	require.NoError(t, err)
	application := openDatabase(t, as(t, postgres.DSN(), "tracklane_app"))
	_, err = application.Exec(t.Context(), `INSERT INTO later (x) VALUES (1)`)
	require.NoError(t, err)
	requireRows(t, application, 1, `SELECT count(*) FROM later`)
	_, err = application.Exec(t.Context(), `DELETE FROM later`)
	assert.ErrorContains(t, err, "permission denied")
}

// The script that compose runs after 100-roles.sql gives each role its password.
func TestRoles_GetTheirPasswords(t *testing.T) {
	t.Parallel()
	if _, err := exec.LookPath("psql"); err != nil {
		t.Log("there is no psql on this machine")
		return
	}
	postgres := servers.Postgres(t, devservers.PostgresOptions{})
	makeRoles(t, postgres.DSN())
	parsed, err := url.Parse(postgres.DSN())
	require.NoError(t, err)
	script := exec.Command("sh", "../deploy/postgres/101-passwords.sh")
	script.Env = append(os.Environ(), "PGHOST="+parsed.Hostname(), "PGPORT="+parsed.Port(), "POSTGRES_USER=tracklane", "POSTGRES_DB=tracklane",
		"POSTGRES_OWNER_PASSWORD=own'er", `POSTGRES_APP_PASSWORD=a"p\p$x`)
	output, err := script.CombinedOutput()
	require.NoError(t, err, "%s", output)
	assert.Empty(t, output)
	requireRows(t, openDatabase(t, postgres.DSN()), 2,
		`SELECT count(DISTINCT rolpassword) FROM pg_authid WHERE rolname IN ('tracklane_owner', 'tracklane_app') AND rolpassword LIKE 'SCRAM-SHA-256$%'`)
}
