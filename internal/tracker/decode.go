package tracker

import (
	"crypto/sha256"
	"encoding/hex"
	"math"
	"strings"
	"time"
	"unicode/utf8"

	"tracklane/internal/lane"
)

// Sender is who sends, as far as the request says beside its positions.
type Sender struct {
	Pilot, Race string // of the token; empty without one, or in a relay's
	FlightID    string // of the query; empty = made by Decode

	// Device and Session are those of who started the session that a Login named;
	// an empty Session is none. See Report.Identify.
	Device, Session string

	// User is the number of the user of a Login; 0 = the app's adapter makes it.
	User uint32
}

// Decode makes points of a lane of flights of a report, and names the positions that
// cannot be points. Each position is either a point or rejected.
//
// A flight's id, where the sender gives none, is made of the app, the token's pilot
// and race, the device and the day, and so of nothing but the request: the same
// position sent again, whenever and to whatever process, is the same row. For that
// reason a silence makes no new flight here: whether there was one depends on what
// else has arrived by then, and phones send what they kept hours later. Who reads
// divides at silences.
func (a *Adapter) Decode(l *lane.Lane, report Report, sender Sender, options lane.DecodeOptions) lane.Decoded {
	d := decoder{
		adapter: a, sender: sender, options: options, tracks: map[lane.Flight]int32{},
		decoded: lane.Decoded{Points: lane.NewPoints(l, len(report.Positions))},
	}
	for i, position := range report.Positions {
		field, reason := position.Field, position.Reason
		if reason == "" {
			field, reason = d.add(position)
		}
		if reason != "" {
			d.decoded.Reject(i, field, reason)
		}
	}
	return d.decoded
}

type decoder struct {
	adapter *Adapter
	sender  Sender
	options lane.DecodeOptions
	tracks  map[lane.Flight]int32
	decoded lane.Decoded
}

// add adds a position to the track of its flight, or returns the field at fault and
// the reason.
func (d *decoder) add(position Position) (field, reason string) {
	if position.Device == "" && position.Session == "" && d.sender.Pilot == "" {
		return "device_id", "is missing: give the device an id in the app, or use a pilot's token"
	}
	flight := lane.Flight{
		ID: d.sender.FlightID, DeviceID: position.Device, PilotID: d.sender.Pilot, RaceID: d.sender.Race,
	}
	if flight.ID == "" {
		flight.ID = d.flightID(position)
	}
	points := d.decoded.Points
	track, known := d.tracks[flight]
	if !known {
		made, field, reason := flight.Track(d.options)
		if reason != "" {
			return field, reason
		}
		track = points.AddTrack(made)
	}
	field, reason = points.AddFix(track, position.Fix, d.options.Now)
	switch {
	case reason == "":
		d.tracks[flight] = track
		d.decoded.Response = lane.ResponseMember{Name: "flight_id", Value: flight.ID}
	case !known:
		points.Tracks = points.Tracks[:track]
	}
	return field, reason
}

// maxFlightID is the longest id, in characters, that a lane takes.
const maxFlightID = 100

func (d *decoder) flightID(position Position) string {
	var who []string
	for _, part := range []string{d.sender.Pilot, d.sender.Race, position.Device, position.Session} {
		if part != "" && (len(who) == 0 || who[len(who)-1] != part) {
			who = append(who, strings.ReplaceAll(part, "/", "-"))
		}
	}
	day := localDay(position.Fix)
	id := strings.Join([]string{d.adapter.Name, strings.Join(who, "-"), day}, "-")
	if utf8.RuneCountInString(id) > maxFlightID {
		sum := sha256.Sum256([]byte(strings.Join(who, "\x00")))
		id = strings.Join([]string{d.adapter.Name, hex.EncodeToString(sum[:16]), day}, "-")
	}
	return id
}

// localDay is the day of a fix by the sun where it was made: the date in UTC would
// change during the flights of an afternoon in California.
func localDay(fix lane.Fix) string {
	const secondsPerDegree = 86_400 / 360
	offset := 0.
	if math.Abs(fix.Lon) <= 180 {
		offset = math.Round(fix.Lon * secondsPerDegree)
	}
	return lane.TimeOf(fix.Time).Add(time.Duration(offset) * time.Second).Format("20060102")
}
