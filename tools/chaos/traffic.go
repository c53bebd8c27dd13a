package main

import (
	"bytes"
	"fmt"
	"strconv"
	"time"

	"tracklane/internal/body"
	"tracklane/internal/checker"
)

// flymasterSecret is what the Flymaster devices of the traffic sign with.
const flymasterSecret = "chaos"

// stream is what one client sends: requests of one size to one lane. Every
// point follows from the stream's id, the number of its flight and its place
// there, so that nothing of what was sent needs to be kept.
type stream struct {
	id       int
	lane     string
	points   int           // a request
	requests int           // a flight
	every    time.Duration // between two requests

	// during is the fault during which it sends; empty: it sends all the time.
	during kind
}

// isRefused reports whether the database refuses all points of the stream: each
// has to be in rejected_points then, once.
func (s stream) isRefused() bool { return s.during == refusals }

// largeUpload is how many points an upload of about 13 MB has.
const largeUpload = 100_000

// makeStreams returns the traffic of a run: some 1,250 points a second, and what
// some faults add to it.
func makeStreams() []stream {
	var streams []stream
	var during kind
	add := func(count int, lane string, points, requests int, every time.Duration) {
		for range count {
			streams = append(streams, stream{len(streams), lane, points, requests, every, during})
		}
	}
	add(12, "live", 1, 1000, 125*time.Millisecond)
	add(4, "live", 10, 200, 500*time.Millisecond)
	add(3, "upload", 1000, 1, 6*time.Second)
	add(1, "upload", 2500, 1, 25*time.Second)
	add(1, "upload", 120, 4, 2*time.Second)
	add(2, "scoring", 600, 1, 6*time.Second)
	add(1, "scoring", 50, 10, time.Second)
	add(2, "flymaster", 400, 3, 6*time.Second)
	add(1, "flymaster", 30, 20, time.Second)
	during = largeUploads
	add(2, "upload", largeUpload, 1, 3*time.Second)
	during = refusals
	add(2, "live", 10, 1, 200*time.Millisecond)
	add(1, "upload", 1000, 1, 2*time.Second)
	return streams
}

// point is one fix of a flight. Altitude stands for all values beside the key.
type point struct {
	at                 time.Time
	lat, lon, altitude float64
}

// firstFix is when every flight of the traffic begins.
func firstFix() time.Time { return time.Date(2026, time.January, 1, 8, 0, 0, 0, time.UTC) }

// point returns a point of a flight by its place, one a second.
func (s stream) point(flight, place int) point {
	unit := func(salt uint64) float64 {
		h := scramble(uint64(s.id)<<48 ^ uint64(flight)<<20 ^ uint64(place) ^ salt<<60)
		return float64(h>>11) / (1 << 53)
	}
	return point{
		at:       firstFix().Add(time.Duration(place) * time.Second),
		lat:      unit(1)*178 - 89,
		lon:      unit(2)*358 - 179,
		altitude: unit(3) * 4000,
	}
}

// scramble is the finalizer of SplitMix64.
func scramble(x uint64) uint64 {
	x = (x ^ x>>30) * 0xbf58476d1ce4e5b9
	x = (x ^ x>>27) * 0x94d049bb133111eb
	return x ^ x>>31
}

// place returns the flight of a request and the place of its first point there.
func (s stream) place(number int) (flight, first int) {
	return number / s.requests, number % s.requests * s.points
}

// identity is a flight's id as its table holds it, in text.
func (s stream) identity(flight int) string {
	switch s.lane {
	case "scoring":
		return fmt.Sprintf("c4a05000-%04x-4000-8000-%012x", s.id, flight)
	case "flymaster":
		return strconv.Itoa((s.id+1)*1_000_000_000 + flight)
	default:
		name := fmt.Sprintf("%s-%d-%d", s.lane, s.id, flight)
		if s.isRefused() {
			name = refusedFlights + name
		}
		return name
	}
}

// placeOf returns the place in a flight of the point that a row holds; ok is
// false if the flight has none such.
func (s stream) placeOf(flight int, row checker.Row) (place int, ok bool) {
	place = int(row.Time.Sub(firstFix()) / time.Second)
	if place < 0 || place >= s.requests*s.points {
		return 0, false
	}
	sent := s.point(flight, place)
	return place, sent.at.Equal(row.Time) && sent.lat == row.Lat && sent.lon == row.Lon &&
		row.Altitude != nil && *row.Altitude == sent.altitude
}

// body returns a request as it is posted, and its content type.
func (s stream) body(number int) (text []byte, contentType string) {
	flight, first := s.place(number)
	points := make([]body.Point, s.points)
	for i := range points {
		p := s.point(flight, first+i)
		points[i] = body.Point{
			Time: p.at, TrackingStart: firstFix(), Lat: p.lat, Lon: p.lon, Altitude: p.altitude,
			Speed: new(11.5), Heading: new(270.0),
		}
	}
	format := body.Of(s.lane)
	text = format.AppendHead(nil, []byte(s.identity(flight)), flymasterSecret)
	text = format.AppendTail(text, body.Sender{DeviceID: "chaos"}, points)
	if s.lane == "flymaster" { // some devices write spaces and CRLF
		text = bytes.ReplaceAll(text, []byte(","), []byte(", "))
		text = bytes.ReplaceAll(text, []byte("\n"), []byte("\r\n"))
	}
	return text, format.ContentType
}
