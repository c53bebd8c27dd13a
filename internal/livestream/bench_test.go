package livestream

import (
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
	"tracklane/internal/metrics"
	"tracklane/internal/storetest"
	"tracklane/store"
)

func batch(l *lane.Lane, flights, each int, start int64) *lane.Points {
	points := lane.NewPoints(l, flights*each)
	for f := range flights {
		var fields []lane.Field
		for _, text := range []string{fmt.Sprintf("flight-%03d-20260714", f), "phone", fmt.Sprintf("pilot-%03d", f), "race"} {
			fields = append(fields, lane.TextField(text))
		}
		track := points.AddTrack(lane.Track{Fields: fields, ReceivedAt: start})
		for i := range each {
			row := points.Add(track, start+int64(i)*1_000_000, 46.5+float64(f)*1e-3+float64(i)*1e-5, 7.25)
			for column, value := range []float64{1234.5, 1206.5, 11.25, 270.1} {
				points.SetFloat(row, column, value)
			}
		}
	}
	return points
}

// BenchmarkWriter writes batches of 1,000 points without a listener and with one:
// the difference is what the live stream takes from the writers.
func BenchmarkWriter(b *testing.B) {
	lanes := lane.All(lane.Options{})
	for _, listens := range []bool{false, true} {
		b.Run(fmt.Sprintf("listens=%t", listens), func(b *testing.B) {
			pool := storetest.OpenMigrated(b, servers.Database(b))
			client := newClient(b, servers.Redis(b).URL())
			publisher := NewPublisher(client, "bench")
			go publisher.Run(b.Context())
			if listens {
				messages := client.Subscribe(b.Context(), "bench").Channel()
				go func() {
					for range messages {
					}
				}()
			}
			var publishing time.Duration
			writer := store.NewWriter(pool, lanes, 1000, func(points *lane.Points, _ store.Result, _ time.Duration, _ error) {
				start := time.Now()
				publisher.Publish(points)
				publishing += time.Since(start)
			})
			start := time.Now().UnixMicro()
			for i := 0; b.Loop(); i++ {
				_, err := writer.Write(b.Context(), batch(lanes[0], 200, 5, start+int64(i)*5_000_000), "")
				require.NoError(b, err)
			}
			b.ReportMetric(float64(publishing.Microseconds())/float64(b.N), "µs-publishing/op")
			b.ReportMetric(100*publishing.Seconds()/b.Elapsed().Seconds(), "%-of-time")
		})
	}
}

// BenchmarkViewers sends 200 points of 200 flights to 1,000 viewers, as each second
// does.
func BenchmarkViewers(b *testing.B) {
	l := lane.All(lane.Options{})[0]
	pool := storetest.OpenMigrated(b, servers.Database(b))
	hub := NewHub(store.NewReader(pool, []*lane.Lane{l}), newClient(b, "redis://127.0.0.1:1"), "bench", l, metrics.New([]*lane.Lane{l}, "bench"), slog.New(slog.DiscardHandler))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(b, err)
	server := &http.Server{Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _ = hub.Serve(w, r, View{}, "") })}
	go func() { _ = server.Serve(listener) }()
	b.Cleanup(func() { _ = server.Close() })
	for range 1000 {
		connection, err := net.Dial("tcp", listener.Addr().String())
		require.NoError(b, err)
		b.Cleanup(func() { _ = connection.Close() })
		_, err = connection.Write([]byte("GET / HTTP/1.1\r\nHost: x\r\n\r\n"))
		require.NoError(b, err)
		go func() {
			into := make([]byte, 64<<10)
			for err := error(nil); err == nil; _, err = connection.Read(into) {
			}
		}()
	}
	require.Eventually(b, func() bool {
		hub.mu.Lock()
		defer hub.mu.Unlock()
		return hub.viewers == 1000
	}, patience, 10*time.Millisecond)
	processor := func() time.Duration {
		var usage syscall.Rusage
		require.NoError(b, syscall.Getrusage(syscall.RUSAGE_SELF, &usage))
		return time.Duration(usage.Utime.Nano() + usage.Stime.Nano())
	}
	before := processor()
	start := time.Now().UnixMicro()
	for i := 0; b.Loop(); i++ {
		points := batch(l, 200, 1, start+int64(i)*1_000_000)
		var shown []store.LivePoint
		for row := range points.Rows {
			shown = append(shown, pointOf(points, row))
		}
		hub.mu.Lock()
		hub.take(shown)
		hub.mu.Unlock()
		hub.send(time.Now())
		time.Sleep(300 * time.Millisecond) // each viewer has read it by then
	}
	require.Equal(b, 1000, hub.viewers)
	b.ReportMetric(float64((processor()-before).Milliseconds())/float64(b.N), "ms-processor/s")
}
