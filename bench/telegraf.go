package main

import (
	"fmt"
	"os"
	"path/filepath"

	"tracklane/services"
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
  service_address = "tcp://127.0.0.1:%d"
  paths = ["/live", "/upload"]
  methods = ["POST"]
  max_body_size = "64MB"
  data_format = "json_v2"
  [[inputs.http_listener_v2.json_v2]]
    measurement_name = "points"
    [[inputs.http_listener_v2.json_v2.tag]]
      path = "flight_id"
    [[inputs.http_listener_v2.json_v2.object]]
      path = "track_points"
      timestamp_key = "datetime"
      timestamp_format = "rfc3339"

[[outputs.postgresql]]
  connection = "%s"
`

// writeTelegrafConfig returns the file and where Telegraf will listen.
func (s *system) writeTelegrafConfig() (file, url string, err error) {
	port, err := services.FreePort()
	if err != nil {
		return "", "", err
	}
	file = filepath.Join(s.folder, "telegraf.conf")
	text := fmt.Sprintf(telegrafConfig, port, s.postgres.DSN())
	if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
		return "", "", fmt.Errorf("write Telegraf's configuration: %w", err)
	}
	return file, fmt.Sprintf("http://127.0.0.1:%d", port), nil
}
