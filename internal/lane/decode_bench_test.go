package lane_test

import (
	"fmt"
	"strings"
	"testing"

	"tracklane/internal/lane"
)

// BenchmarkDecode reads the bodies that phones and loggers send.
func BenchmarkDecode(b *testing.B) {
	for _, points := range []int{1, 10, 1000} {
		b.Run(fmt.Sprintf("points=%d", points), func(b *testing.B) {
			var list []string
			for i := range points {
				list = append(list, fmt.Sprintf(
					`{"datetime":"2026-07-14T10:%02d:%02dZ","lat":46.%06d,"lon":7.%06d,"elevation":%d.5,"speed":10.25,"heading":%d}`,
					i/60%60, i%60, 500000+i*113, 250000+i*91, 1200+i, i%360))
			}
			body := []byte(liveBody(list...))
			l := laneNamed(b, "upload", lane.Options{})
			b.SetBytes(int64(len(body)))
			b.ReportAllocs()
			for b.Loop() {
				decoded, err := l.Decode(body, lane.DecodeOptions{Now: now})
				if err != nil || decoded.Points.Len() != points {
					b.Fatal(decoded.RejectedTotal, err, strings.TrimSpace(string(body[:100])))
				}
			}
			b.ReportMetric(float64(b.Elapsed().Nanoseconds())/float64(b.N)/float64(points), "ns/point")
		})
	}
}
