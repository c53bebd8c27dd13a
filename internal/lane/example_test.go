package lane_test

import (
	"fmt"
	"time"

	"tracklane/internal/lane"
)

func ExampleLane_decode() {
	live := lane.All(lane.Options{})[0]
	decoded, err := live.Decode([]byte(`{"flight_id": "2026-07-14-anna", "track_points": [
		{"datetime": "2026-07-14T10:15:30Z", "lat": 46.68605, "lon": 7.86372, "elevation": 1954},
		{"datetime": "2026-07-14T10:15:31", "lat": 46.68601, "lon": 7.86379}]}`),
		lane.DecodeOptions{Now: time.Date(2026, time.July, 14, 10, 15, 32, 0, time.UTC)})
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(string(decoded.Points.AppendPoint(nil, 0)))
	for _, r := range decoded.Rejected {
		fmt.Printf("point %d: %s %s\n", r.Index, r.Field, r.Error)
	}
	// Output:
	// {"flight_id":"2026-07-14-anna","datetime":"2026-07-14T10:15:30Z","lat":46.68605,"lon":7.86372,"elevation":1954,"received_at":"2026-07-14T10:15:32Z"}
	// point 1: datetime must have a zone: end it with Z or an offset such as +02:00
}
