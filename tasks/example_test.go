package tasks_test

import (
	"fmt"
	"time"

	"tracklane/internal/lane"
	"tracklane/tasks"
)

// The payload of a task is a list of blocks, one a request, so that payloads are
// joined by writing one behind the other.
func ExampleEncode() {
	live := lane.All(lane.Options{})[0]
	points := lane.NewPoints(live, 2)
	track := points.AddTrack(lane.Track{
		Fields:     []lane.Field{lane.TextField("2026-07-14-anna"), {Null: true}, {Null: true}, {Null: true}},
		ReceivedAt: time.Date(2026, 7, 14, 11, 0, 2, 0, time.UTC).UnixMicro(),
	})
	for second := range 2 {
		points.Add(track, time.Date(2026, 7, 14, 11, 0, second, 0, time.UTC).UnixMicro(), 46.68605, 7.86372)
	}
	payload := tasks.Encode(nil, points)
	payload = tasks.Encode(payload, points)

	decoded, err := tasks.Decode(live, payload)
	if err != nil {
		fmt.Println(err)
		return
	}
	fmt.Println(decoded.Len(), "points, the last of", lane.TimeOf(decoded.Rows[3].Time).Format(time.RFC3339))
	// Output: 4 points, the last of 2026-07-14T11:00:01Z
}
