package e2e

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/clock"
)

// siege is how many hostile clients of each kind there are, for how long, and what
// another client is promised meanwhile.
type siege struct {
	slow, idle, uploads int
	duration            time.Duration
	p99                 time.Duration
}

// TestFlood_OthersAreServed is for the client whom the others are to keep out.
func TestFlood_OthersAreServed(t *testing.T) {
	parallelUnlessFull(t)
	size := siege{slow: 200, idle: 600, uploads: 4, duration: time.Second, p99: 2 * time.Second}
	if *full {
		size = siege{slow: 2000, idle: 10_300, uploads: 20, duration: 15 * time.Second, p99: 50 * time.Millisecond}
	}
	s := startAbused(t)
	runtime.GC() // what the floods before left is not collected while others are measured
	usual := s.floods()[1].request
	for _, attack := range []struct {
		name    string
		clients int
		client  func(ctx context.Context, i int)
	}{
		{"nobody", 0, nil},
		{"slow clients", size.slow, s.sendSlowly},
		{"idle clients", size.idle, func(ctx context.Context, _ int) {
			if c, err := dialFrom(0, s.url); err == nil {
				<-ctx.Done()
				_ = c.Close()
			}
		}},
		{"uploads", size.uploads, func(ctx context.Context, _ int) {
			f := flood{request: usual}
			for ctx.Err() == nil {
				if f.send(s, 0, time.Now().Add(20*time.Second), nil) != http.StatusAccepted {
					clock.Sleep(ctx, time.Second)
				}
			}
		}},
	} {
		t.Run(attack.name, func(t *testing.T) {
			ctx, cancel := context.WithCancel(t.Context())
			var clients sync.WaitGroup
			for i := range attack.clients {
				clients.Go(func() { attack.client(ctx, i) })
			}
			clock.Sleep(ctx, time.Second) // they are there
			latencies := s.measure(t, size.duration)
			cancel()
			clients.Wait()
			p99 := latencies[len(latencies)*99/100]
			t.Logf("%d requests: p50 %v, p99 %v, the longest %v; the process had %d MB at the most",
				len(latencies), latencies[len(latencies)/2], p99, latencies[len(latencies)-1], s.peak(t)>>20)
			assert.LessOrEqual(t, p99, size.p99)
			assert.Less(t, s.peak(t), maxResident)
		})
	}
}

// sendSlowly is a client that sends a header or a body a byte at a time, again and
// again. 250 of them share an address.
func (s *abusedServer) sendSlowly(ctx context.Context, i int) {
	request := s.post("/live", "application/json", []byte(flight("slow", 10)))
	if i%2 == 0 {
		request = s.head("/live", "Content-Length: 10000\r\n\r\n")
		request = append(request, strings.Repeat(" ", 10_000)...)
	}
	for ctx.Err() == nil {
		c, err := dialFrom(i/250, s.url)
		if err != nil {
			clock.Sleep(ctx, time.Second)
			continue
		}
		at := 0
		if i%2 == 0 {
			at = len(request) - 9_000 // all of the header and some of the body
		}
		_, err = c.Write(request[:at])
		for ; err == nil && at < len(request) && ctx.Err() == nil; at++ {
			_, err = c.Write(request[at : at+1])
			clock.Sleep(ctx, 200*time.Millisecond)
		}
		_ = c.Close()
	}
}

// measure sends a point every 10 ms from an address of its own, each second one over
// a new connection, and asks the probes, and returns how long each took.
func (s *abusedServer) measure(t *testing.T, duration time.Duration) []time.Duration {
	t.Helper()
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, 2)}}
	clients := []http.Client{
		{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext, MaxIdleConnsPerHost: 100}},
		{Timeout: 10 * time.Second, Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}},
	}
	var (
		mu        sync.Mutex
		latencies []time.Duration
		requests  sync.WaitGroup
	)
	send := func(client *http.Client, method, path, body string, want ...int) {
		request, err := http.NewRequest(method, s.url+path, strings.NewReader(body))
		require.NoError(t, err)
		request.Header.Set("Authorization", "Bearer "+s.good)
		start := time.Now()
		response, err := client.Do(request)
		if !assert.NoError(t, err) {
			return
		}
		_, _ = io.Copy(io.Discard, response.Body) // what counts is the time
		took := time.Since(start)
		require.NoError(t, response.Body.Close())
		assert.Contains(t, want, response.StatusCode, path)
		mu.Lock()
		defer mu.Unlock()
		latencies = append(latencies, took)
	}
	pace := time.NewTicker(10 * time.Millisecond)
	defer pace.Stop()
	for i := 0; time.Duration(i)*10*time.Millisecond < duration; i++ {
		<-pace.C
		requests.Go(func() {
			send(&clients[i%2], http.MethodPost, "/live", flight(fmt.Sprint("other", i), 1), 201, 202)
			if i%20 == 0 {
				send(&clients[1], http.MethodGet, "/livez", "", 200)
				send(&clients[1], http.MethodGet, "/readyz", "", 200)
			}
		})
	}
	requests.Wait()
	slices.Sort(latencies)
	return latencies
}
