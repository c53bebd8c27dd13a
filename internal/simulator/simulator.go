// Package simulator flies simulated pilots against a tracklane server: they send
// their positions while in the air, and when they have landed their flights are
// uploaded and scored.
package simulator

import (
	"context"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/url"
	"sync"
	"time"

	"tracklane/internal/simulator/flight"
)

// Options says who flies where.
type Options struct {
	URL   string // of the server, like http://localhost:8080
	Count int    // of pilots; 0 or less flies none
	Seed  uint64 // the same seed flies the same flights

	// Token goes with each post; empty = none.
	Token string

	// FlymasterSecret signs the files that Flymaster devices send.
	FlymasterSecret string

	Logger *slog.Logger // required
}

const (
	requestTimeout = 10 * time.Second
	idleTimeout    = 30 * time.Second
)

// Fly flies the pilots until ctx is done, and stops within a second of that.
// Each pilot flies again some time after landing. A server that cannot be
// reached is tried again; what was not sent when Fly returns is lost.
//
// The error says that the options are wrong; it is nil when ctx ended the
// flying.
func Fly(ctx context.Context, options Options) error {
	return fly(ctx, options, time.Second)
}

// fly makes a simulated second last as long as second.
func fly(ctx context.Context, options Options, second time.Duration) error {
	server, err := url.Parse(options.URL)
	if err != nil || server.Host == "" {
		return fmt.Errorf("fly pilots: url %q is not like http://localhost:8080", options.URL)
	}
	if options.Count <= 0 {
		return nil
	}
	transport := &http.Transport{
		MaxIdleConns:        options.Count,
		MaxIdleConnsPerHost: options.Count,
		IdleConnTimeout:     idleTimeout,
	}
	defer transport.CloseIdleConnections()
	client := &http.Client{Transport: transport, Timeout: requestTimeout}
	start := time.Now().UTC().Truncate(time.Second)

	var flying sync.WaitGroup
	for i := range options.Count {
		p := &pilot{
			number: i,
			name:   fmt.Sprintf("pilot-%03d", i+1),
			site:   flight.Krushevo(),
			random: rand.New(rand.NewPCG(options.Seed, uint64(i))),
			secret: options.FlymasterSecret,
			outbox: newOutbox(client, server, options.Token, options.Logger.With("pilot", i+1)),
		}
		flying.Go(func() { p.outbox.run(ctx) })
		flying.Go(func() { p.fly(ctx, start, second) })
	}
	flying.Wait()
	return nil
}
