package load

import (
	"fmt"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tracklane/internal/lane"
)

const secret = "open sesame"

func TestWorkload_PointAtKnowsEveryPointByItsNumber(t *testing.T) {
	now := time.Now()
	for _, l := range lane.All(lane.Options{FlymasterSecret: secret}) {
		for _, points := range []int{1, 7, 1000, 2500} {
			t.Run(fmt.Sprintf("%s with %d points a request", l.Name, points), func(t *testing.T) {
				type key struct {
					track    string
					at       int64
					lat, lon float64
				}
				seen := make(map[key]bool)
				total := 0
				for _, run := range []uint64{0, 1<<64 - 1} {
					sent := newWorkload(l.Name, secret, run, points, now)
					requests := uint64(2*flightsAtOnce + 17)
					if points >= flightPoints {
						requests = maxTracks + 1
					}
					for number := range requests {
						decoded, err := l.Decode(sent.appendBody(nil, number), lane.DecodeOptions{Now: now})
						require.NoError(t, err)
						require.Empty(t, decoded.Rejected)
						require.Equal(t, points, decoded.Points.Len())
						flightNumber, _ := sent.request(number)
						for i, row := range decoded.Points.Rows {
							at := lane.TimeOf(row.Time)
							if !at.Before(now) || at.Before(now.Add(-30*24*time.Hour)) {
								t.Fatalf("a point at %s", at)
							}
							seen[key{decoded.Points.Tracks[0].Fields[0].Value, row.Time, row.Lat, row.Lon}] = true
							total++
							point, ok := sent.pointAt(flightNumber, at, row.Lat, row.Lon)
							if !ok || point != number*uint64(points)+uint64(i) {
								t.Fatalf("point %d of request %d is taken for point %d (%v)", i, number, point, ok)
							}
						}
					}
				}
				require.Len(t, seen, total)
			})
		}
	}
}

func TestWorkload_PointAtDoesNotTakeAPointForAnother(t *testing.T) {
	sent := newWorkload("live", "", 1, 10, time.Now())
	flown := sent.tracks[0]
	cases := []struct {
		name     string
		at       time.Time
		lat, lon float64
		ok       bool
	}{
		{"as it was sent", flown.start, flown.lat[0], flown.lon[0], true},
		{"a microsecond late", flown.start.Add(time.Microsecond), flown.lat[0], flown.lon[0], false},
		{"a second early", flown.start.Add(-time.Second), flown.lat[0], flown.lon[0], false},
		{"after the flight", flown.start.Add(time.Duration(len(flown.lat)) * time.Second), flown.lat[0], flown.lon[0], false},
		{"with the next point's latitude", flown.start, flown.lat[1], flown.lon[0], false},
		{"with the next point's longitude", flown.start, flown.lat[0], flown.lon[1], false},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			_, ok := sent.pointAt(0, c.at, c.lat, c.lon)
			require.Equal(t, c.ok, ok)
		})
	}
}

func TestWorkload_RequestOfIsTheInverseOfRequest(t *testing.T) {
	for _, points := range []int{1, 3, 999, 1000, 1001} {
		t.Run(fmt.Sprintf("%d points a request", points), func(t *testing.T) {
			sent := newWorkload("live", "", 1, points, time.Now())
			flights := make(map[uint64]bool)
			for number := range 3 * sent.block() {
				flightNumber, part := sent.request(number)
				flights[flightNumber] = true
				if back := sent.requestOf(flightNumber, part); back != number {
					t.Fatalf("request %d is flight %d, part %d, which is request %d", number, flightNumber, part, back)
				}
				if count := sent.flights(number + 1); count != uint64(len(flights)) {
					t.Fatalf("%d requests touch %d flights, not %d", number+1, len(flights), count)
				}
			}
		})
	}
}

// BenchmarkWorkload_AppendBody shows what rendering costs the generator: about
// 0.2 µs for a request of one point and 3 µs for one of a thousand.
func BenchmarkWorkload_AppendBody(b *testing.B) {
	for _, points := range []int{1, 1000} {
		b.Run(fmt.Sprint(points), func(b *testing.B) {
			sent := newWorkload("live", "", 1, points, time.Now())
			var body []byte
			number := uint64(0)
			for b.Loop() {
				body = sent.appendBody(body[:0], number)
				number++
			}
		})
	}
}
