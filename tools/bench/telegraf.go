package main

import (
	"context"
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
// batches, with a buffer that holds a whole run.
const telegrafConfig = `
[agent]
  omit_hostname = true
  flush_interval = "1s"
  metric_batch_size = 5000
  metric_buffer_limit = 4000000

[[inputs.http_listener_v2]]
  service_address = "tcp://%s"
  paths = ["/live", "/upload"]
  methods = ["POST"]
  max_body_size = "64MB"
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

// measureTelegraf sends the same load to Telegraf, which writes it into a table
// of its own without a key. That it acknowledges with 204, before anything is
// stored, does not matter: the rows count.
func (s *system) measureTelegraf(ctx context.Context, w workload, points int) (e endToEnd, err error) {
	if err := s.reset(ctx); err != nil {
		return e, err
	}
	address, err := harness.FreeAddress()
	if err != nil {
		return e, err
	}
	file := filepath.Join(s.Dir, "telegraf.conf")
	if err := os.WriteFile(file, fmt.Appendf(nil, telegrafConfig, address, s.Postgres.DSN()), 0o644); err != nil {
		return e, fmt.Errorf("write the configuration: %w", err)
	}
	command := func() *exec.Cmd { return exec.Command(s.telegraf, "--config", file, "--quiet") }
	url := "http://" + address
	err = withServer(ctx, command, url, "/live", http.StatusMethodNotAllowed, func(ctx context.Context, p *server) error {
		e, _, err = s.measureEndToEnd(ctx, p, telegrafTable, w.saturating(points))
		return err
	})
	return e, err
}
