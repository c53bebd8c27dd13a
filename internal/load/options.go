// Package load puts load on a running tracklane server and, when asked to,
// checks in the database that every acknowledged point was stored exactly
// once.
package load

import (
	"errors"
	"fmt"
	"net"
	"net/url"
	"slices"
	"strings"
	"time"

	"tracklane/internal/lane"
)

// Options says what to send, how fast, and whether to verify it.
type Options struct {
	URL              string // of the server, without the lane's path
	Lane             string // live, upload, scoring or flymaster
	PointsPerRequest int    // 1 to 100,000

	// Requests and Duration end the run, whichever comes first. One of them
	// may be zero.
	Requests int
	Duration time.Duration

	Connections int // requests on their way at once

	// Rate is in requests a second over all connections; 0 is as many as the
	// server accepts. With a rate, the latency of a request that had to wait for a
	// connection counts from the moment at which it was due, so that a stalled
	// server shows in every request that it held up. Without that, latencies would
	// suffer from coordinated omission.
	Rate float64

	// Token goes with each request; empty = none.
	Token string

	// FlymasterSecret signs the files of the flymaster lane.
	FlymasterSecret string

	// Verify compares the lane's table at DatabaseURL with what the server
	// acknowledged, for up to VerifyTimeout (0: 60 s) after the last response.
	Verify        bool
	DatabaseURL   string
	VerifyTimeout time.Duration
}

const (
	maxPointsPerRequest  = 100_000
	maxConnections       = 10_000
	defaultVerifyTimeout = 60 * time.Second
)

// target is where requests go.
type target struct {
	address string // host:port
	secure  bool
	url     string
}

func (o Options) validate() error {
	switch {
	case o.PointsPerRequest < 1 || o.PointsPerRequest > maxPointsPerRequest:
		return fmt.Errorf("points per request: %d is not between 1 and %d", o.PointsPerRequest, maxPointsPerRequest)
	case o.Connections < 1 || o.Connections > maxConnections:
		return fmt.Errorf("connections: %d is not between 1 and %d", o.Connections, maxConnections)
	case o.Requests < 0:
		return fmt.Errorf("requests: %d is negative", o.Requests)
	case o.Duration < 0:
		return fmt.Errorf("duration: %s is negative", o.Duration)
	case o.Requests == 0 && o.Duration == 0:
		return errors.New("say how long to run: give a number of requests or a duration")
	case !(o.Rate >= 0 && o.Rate <= 1e9):
		return fmt.Errorf("rate: %v is not between 0 and 1,000,000,000 requests a second", o.Rate)
	case o.Verify && o.DatabaseURL == "":
		return errors.New("verifying needs the server's database: set DATABASE_URL")
	case o.VerifyTimeout < 0:
		return fmt.Errorf("verify timeout: %s is negative", o.VerifyTimeout)
	}
	return nil
}

func (o Options) lane() (*lane.Lane, error) {
	lanes := lane.All(lane.Options{})
	i := slices.IndexFunc(lanes, func(l *lane.Lane) bool { return l.Name == o.Lane })
	if i < 0 {
		names := make([]string, len(lanes))
		for i, l := range lanes {
			names[i] = l.Name
		}
		return nil, fmt.Errorf("lane: %q is none of %s", o.Lane, strings.Join(names, ", "))
	}
	return lanes[i], nil
}

func (o Options) target() (target, error) {
	server, err := url.Parse(o.URL)
	if err != nil || server.Host == "" || (server.Scheme != "http" && server.Scheme != "https") {
		return target{}, fmt.Errorf("url: %q is not like http://localhost:8080", o.URL)
	}
	port := server.Port()
	if port == "" {
		port = map[string]string{"http": "80", "https": "443"}[server.Scheme]
	}
	return target{
		address: net.JoinHostPort(server.Hostname(), port),
		secure:  server.Scheme == "https",
		url:     server.JoinPath(o.Lane).String(),
	}, nil
}
