package dev

import (
	"fmt"
	"io"
)

// banner is what is written once at the start.
type banner struct {
	version, url, database, redis string
	inMemory                      bool // Redis loses its data with the process
	pilots                        int

	user, password string // of the operators; no password: none is shown
	token          string // for every lane; empty: none is needed
}

func writeBanner(out io.Writer, b banner) {
	fmt.Fprintf(out, `tracklane %s

  Map         %[5]s
  Page        %[2]s/
  Queues      %[2]s/asynqmon
  Health      %[2]s/health
  Metrics     %[2]s/metrics
  PostgreSQL  %[3]s
  Redis       %[4]s
`, b.version, b.url, b.database, b.redis, b.mapURL())
	if b.password != "" {
		fmt.Fprintf(out, "\n  The pages ask for the user %s with the password %s\n", b.user, b.password)
	}
	if b.token != "" {
		fmt.Fprintf(out, "\n  A token for all lanes, good for 30 days:\n  %s\n", b.token)
	}
	if b.inMemory {
		fmt.Fprintln(out, "\n  No redis-server is on PATH: queued points are kept in memory only.")
	}
	fmt.Fprintf(out, "\n%d simulated pilots are flying. Ctrl-C stops everything.\n\n", b.pilots)
}

// mapURL is where the map is, with the token where one is needed.
func (b banner) mapURL() string {
	if b.token == "" {
		return b.url + "/map"
	}
	return b.url + "/t/" + b.token + "/map"
}
