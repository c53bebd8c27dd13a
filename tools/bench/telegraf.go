package main

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"time"

	"tracklane/tools/harness"
)

const (
	telegrafVersion = "1.37.2"
	telegrafTable   = "points"

	// telegrafTimeout is for the first build; the next ones take seconds.
	telegrafTimeout = 20 * time.Minute
)

// telegrafConfig makes Telegraf read the same requests and write them in large
// batches, with a buffer that holds a whole run. The generator counts 202 as an
// acknowledgement, and Telegraf's own 204 not.
const telegrafConfig = `
[agent]
  omit_hostname = true
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 4000000
%s
[[inputs.http_listener_v2]]
  service_address = "tcp://%s"
  paths = ["/live", "/upload"]
  methods = ["POST"]
  max_body_size = "64MB"
  http_success_code = 202
  data_format = "json_v2"
  [[inputs.http_listener_v2.json_v2]]
    measurement_name = "` + telegrafTable + `"
    [[inputs.http_listener_v2.json_v2.tag]]
      path = "flight_id"
    [[inputs.http_listener_v2.json_v2.object]]
      path = "track_points"
      timestamp_key = "datetime"
      timestamp_format = "rfc3339"

[[outputs.postgresql]]
  connection = "%s"
`

// buildTelegraf builds it with the plugins that it needs here and no others.
func (s *system) buildTelegraf(ctx context.Context) error {
	progress("building Telegraf %s, which may take some minutes", telegrafVersion)
	ctx, cancel := context.WithTimeout(ctx, telegrafTimeout)
	defer cancel()
	build := exec.CommandContext(ctx, "go", "install",
		"-tags", "custom,inputs.http_listener_v2,outputs.postgresql,parsers.json_v2",
		"github.com/influxdata/telegraf/cmd/telegraf@v"+telegrafVersion)
	build.Env = append(os.Environ(), "GOBIN="+s.Dir)
	if output, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build Telegraf: %w: %s", err, output)
	}
	s.telegraf = filepath.Join(s.Dir, "telegraf")
	return nil
}

// serveTelegraf runs Telegraf, with its buffer in memory or in a directory, while do
// runs.
func (s *system) serveTelegraf(ctx context.Context, directory string, do func(context.Context, *server) error) error {
	address, err := harness.FreeAddress()
	if err != nil {
		return err
	}
	buffer := ""
	if directory != "" {
		buffer = fmt.Sprintf("  buffer_strategy = \"disk\"\n  buffer_directory = %q\n", directory)
	}
	file := filepath.Join(s.Dir, "telegraf.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, telegrafConfig, buffer, address, s.Postgres.DSN()), 0o644); err != nil {
		return fmt.Errorf("write the configuration: %w", err)
	}
	command := func() *exec.Cmd { return exec.Command(s.telegraf, "--config", file, "--quiet") }
	return withServer(ctx, command, "http://"+address, "/live", http.StatusMethodNotAllowed, do)
}

// measureTelegraf sends the same load to Telegraf, which writes it into a table
// of its own without a key. That it acknowledges before anything is stored does
// not matter: the rows count.
func (s *system) measureTelegraf(ctx context.Context, w workload, points int) (e endToEnd, err error) {
	if err := s.reset(ctx); err != nil {
		return e, err
	}
	err = s.serveTelegraf(ctx, "", func(ctx context.Context, p *server) error {
		e, _, err = s.measureEndToEnd(ctx, p, telegrafTable, w.saturating(points))
		return err
	})
	return e, err
}

// telegrafNotice says what Telegraf's output does with a point that is there already.
const telegrafNotice = `Telegraf writes with COPY on one connection, up to 5,000 points at a time, and drops all of them when PostgreSQL
refuses one, as the key does with a point that it has, or when the connection breaks meanwhile.`

// telegrafPeers are Telegraf in memory without a key, as in the other
// measurements, and with the key of tracklane's table: in memory, and with its
// buffer on disk.
func (s *system) telegrafPeers() []peer {
	serve := func(keyed, onDisk bool) func(context.Context, func(context.Context, *server) error) error {
		return func(ctx context.Context, do func(context.Context, *server) error) (err error) {
			directory := ""
			if onDisk {
				if directory, err = os.MkdirTemp(s.Dir, "telegraf-buffer-"); err != nil {
					return fmt.Errorf("make a directory for the buffer: %w", err)
				}
				defer func() { err = errors.Join(err, os.RemoveAll(directory)) }()
			}
			if err := s.makeTelegrafTable(ctx, keyed); err != nil {
				return err
			}
			return s.serveTelegraf(ctx, directory, do)
		}
	}
	table := func(workload) string { return telegrafTable }
	const search, drain = "&search_path=" + telegrafViews, 20 * time.Second
	return []peer{
		{
			name: "Telegraf in memory, no key", promise: "the points are in Telegraf's memory",
			table: table, search: search, drain: drain, serve: serve(false, false),
		},
		{
			name: "Telegraf in memory", promise: "the points are in Telegraf's memory",
			table: table, search: search, drain: drain, serve: serve(true, false),
		},
		{
			name:        fmt.Sprintf("Telegraf, buffer on disk (%d connections)", diskConnections),
			promise:     "the points are in Telegraf's memory, on their way to its buffer on disk",
			connections: diskConnections, table: table, search: search, drain: drain, serve: serve(true, true),
		},
	}
}

const (
	// diskConnections keeps the responses to large requests below the generator's
	// timeout: the buffer on disk is synced once a point.
	diskConnections = 8

	// telegrafViews is a schema in which Telegraf's table goes by the names of ours.
	telegrafViews = "telegraf_views"
)

// makeTelegrafTable makes the table that Telegraf is to write into: the columns of
// tracklane's and, where it is keyed, the same key. Telegraf calls the time column
// time, and leaves out when a point came.
func (s *system) makeTelegrafTable(ctx context.Context, keyed bool) error {
	statements := []string{
		`DROP TABLE IF EXISTS ` + telegrafTable + ` CASCADE`,
		`CREATE TABLE ` + telegrafTable + ` (LIKE live_track_points)`,
		`ALTER TABLE ` + telegrafTable + ` RENAME datetime TO time`,
		`ALTER TABLE ` + telegrafTable + ` ALTER received_at SET DEFAULT now()`,
	}
	if keyed {
		var key string
		if err := s.pool.QueryRow(ctx, telegrafKey).Scan(&key); err != nil {
			return fmt.Errorf("read the key of Telegraf's table: %w", err)
		}
		statements = append(statements, `ALTER TABLE `+telegrafTable+` ADD PRIMARY KEY (`+key+`)`)
	}
	if s.Postgres.TimescaleDB() {
		statements = append(statements, `SELECT create_hypertable('`+telegrafTable+`',
			by_range('time', INTERVAL '1 day'), create_default_indexes => false)`)
	}
	statements = append(statements, `CREATE SCHEMA IF NOT EXISTS `+telegrafViews)
	for _, w := range []workload{singlePoints(), uploads()} {
		statements = append(statements, `CREATE VIEW `+telegrafViews+`.`+w.table+` AS
			SELECT flight_id, time AS datetime, lat, lon, elevation FROM `+telegrafTable)
	}
	for _, statement := range statements {
		if _, err := s.pool.Exec(ctx, statement); err != nil {
			return fmt.Errorf("make Telegraf's table: %w", err)
		}
	}
	return nil
}

// telegrafKey are the columns of tracklane's key as Telegraf calls them.
const telegrafKey = `SELECT string_agg(quote_ident(CASE attname WHEN 'datetime' THEN 'time' ELSE attname END), ', ' ORDER BY place)
	FROM pg_index CROSS JOIN unnest(indkey) WITH ORDINALITY AS key (number, place)
	JOIN pg_attribute ON attrelid = indrelid AND attnum = key.number
	WHERE indrelid = 'live_track_points'::regclass AND indisprimary`
