package livestream

import (
	"math"

	"tracklane/internal/lane"
	"tracklane/store"
	"tracklane/tasks"
)

// decodeMessage reads what a Publisher sent.
func decodeMessage(live *lane.Lane, message []byte) ([]store.LivePoint, error) {
	if len(message) <= headLength {
		return nil, errEmptyMessage
	}
	decoded, err := tasks.Decode(live, message[headLength:])
	if err != nil {
		return nil, err
	}
	points := make([]store.LivePoint, decoded.Len())
	for row := range points {
		points[row] = pointOf(decoded, row)
	}
	return points, nil
}

// pointOf returns a row of the lane live, whose columns are those of lane.Flight and
// lane.Fix in their order.
func pointOf(points *lane.Points, row int) store.LivePoint {
	r := points.Rows[row]
	fields := points.Tracks[r.TrackIndex].Fields
	p := store.LivePoint{Fix: lane.NoFix()}
	for i, into := range []*string{&p.ID, &p.DeviceID, &p.PilotID, &p.RaceID} {
		*into = fields[i].Value
	}
	p.Time, p.Lat, p.Lon = r.Time, r.Lat, r.Lon
	for i, into := range []*float64{&p.Elevation, &p.BarometricAltitude, &p.Speed, &p.Heading} {
		if bits, given := points.Bits(row, i); given && !math.IsInf(lane.FloatOf(bits), 0) {
			*into = lane.FloatOf(bits)
		}
	}
	return p
}
