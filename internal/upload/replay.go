package upload

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net/http"
	"net/url"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sync/errgroup"

	"tracklane/internal/clock"
	"tracklane/internal/lane"
	"tracklane/internal/trackfile"
)

const (
	// replayInterval is for how long a flight's fixes are gathered, and replayBatch how
	// many go with one request.
	replayInterval = time.Second
	replayBatch    = 1000

	// replayFlights is how many files are flown at once; the others follow.
	replayFlights = 500

	// longestFlight bounds how far from the first fix another may be: one whose date is
	// wrong must not hold up its flight.
	longestFlight = 7 * 24 * time.Hour

	replayShown = 5 * time.Second // between two lines that say how far it is
)

// Replay flies recorded flights over the lane live as if now, all files at once and
// the flights of a zip file one after the other. The first fix of a flight is now, and
// speed seconds of the recording pass in one: gaps are divided by speed, so that
// no fix is of the future. Each flight is a new one, named after its file and now.
//
// It prints how far it is and what came of the flights. The errors are as with Run.
func Replay(ctx context.Context, paths []string, speed float64, options Options, out io.Writer) ([]Result, error) {
	server, err := url.Parse(options.URL)
	if err != nil || server.Host == "" {
		return nil, fmt.Errorf("url: %q is not like http://localhost:8080", options.URL)
	}
	if !(speed > 0) || math.IsInf(speed, 0) {
		return nil, fmt.Errorf("speed: %v is not a number above 0", speed)
	}
	files, _, err := find(paths)
	if err != nil {
		return nil, err
	}
	ids := flightIDs(files)
	results := make([]Result, len(files))
	var landed, sent atomic.Int64
	stop := clock.Every(replayShown, func() { fmt.Fprintf(out, "%d of %d files, %d fixes sent\n", landed.Load(), len(files), sent.Load()) })
	var group errgroup.Group
	group.SetLimit(replayFlights)
	for i, path := range files {
		group.Go(func() error {
			r := &replay{ctx: ctx, options: options, url: server.JoinPath("live").String(), speed: speed, id: ids[path], sent: &sent}
			results[i] = r.fly(path)
			landed.Add(1)
			return nil
		})
	}
	_ = group.Wait() // no error is returned
	stop()
	failed, _ := summarize(out, results)
	switch {
	case ctx.Err() != nil:
		return results, fmt.Errorf("replay: %w", ctx.Err())
	case failed > 0:
		return results, fmt.Errorf("%d of %d files were not flown to their end", failed, len(files))
	}
	return results, nil
}

// replay flies the flights of one file.
type replay struct {
	ctx     context.Context
	options Options
	url     string
	speed   float64
	id      string // of the flight, without its time; empty = made of the file's name
	sent    *atomic.Int64
	result  Result

	// Of the flight that is being flown:
	track struct {
		FlightID string        `json:"flight_id"`
		DeviceID string        `json:"device_id,omitempty"`
		Points   []replayPoint `json:"track_points"`
	}
	first  int64 // Unix microseconds, as recorded
	start  time.Time
	sendAt time.Time // of the points
}

// replayPoint is a point of our own JSON.
type replayPoint struct {
	Datetime           time.Time `json:"datetime"`
	Lat                float64   `json:"lat"`
	Lon                float64   `json:"lon"`
	Elevation          *float64  `json:"elevation,omitempty"`
	BarometricAltitude *float64  `json:"barometric_altitude,omitempty"`
	Speed              *float64  `json:"speed,omitempty"`
	Heading            *float64  `json:"heading,omitempty"`
}

func (r *replay) fly(path string) Result {
	r.result.Path = path
	file, err := os.Open(path)
	if err == nil {
		defer file.Close()
		limits := trackfile.Limits{Expanded: 1 << 30, Ratio: 100, FreeExpanded: 16 << 20, Files: 1000}
		err = trackfile.Walk(file, path, "", limits, r.flyOne)
	}
	if err != nil {
		r.result.Failed, r.result.Reason = true, err.Error()
	}
	return r.result
}

// flyOne flies a flight while it is read.
func (r *replay) flyOne(file *trackfile.File) error {
	r.start = time.Time{}
	err := file.Read(trackfile.Sink{
		Fix: func(_ int, fix lane.Fix) error {
			if r.start.IsZero() {
				r.begin(file, fix)
			}
			return r.add(fix)
		},
		Reject: func(index int, field, reason string) { r.leaveOut(fmt.Sprintf("%d: %s %s", index, field, reason)) },
	})
	var fault *trackfile.FormatError
	if errors.As(err, &fault) { // other files of a zip file may be good
		r.leaveOut(fault.Reason)
		r.result.Failed, r.result.Reason = true, fault.Reason
	} else if err != nil {
		return err
	}
	return r.flush()
}

func (r *replay) begin(file *trackfile.File, first lane.Fix) {
	r.start, r.first = time.Now(), first.Time
	id := r.id
	if id == "" {
		id = trackfile.FlightID(file.Name)
	}
	const longest = 80 // of the 100 characters that an id may have
	runes := []rune(id)
	r.track.FlightID = string(runes[:min(len(runes), longest)]) + "-" + r.start.UTC().Format("20060102-150405")
	r.track.DeviceID = file.Device
}

func (r *replay) leaveOut(reason string) {
	if r.result.Rejected++; r.result.Reason == "" {
		r.result.Reason = reason
	}
}

// add waits until the points before a fix are sent.
func (r *replay) add(fix lane.Fix) error {
	lat, lon := known(fix.Lat), known(fix.Lon)
	after := float64(fix.Time) - float64(r.first)
	if lat == nil || lon == nil || math.Abs(after) > float64(longestFlight.Microseconds()) {
		r.leaveOut("a fix is nowhere, or more than a week from the first")
		return nil
	}
	// Slowly enough, a week takes longer than a Duration can say.
	due := r.start.Add(time.Duration(min(after/r.speed*1000, math.MaxInt64/2)))
	if len(r.track.Points) == replayBatch || len(r.track.Points) > 0 && !due.Before(r.sendAt) {
		if err := r.flush(); err != nil {
			return err
		}
	}
	if len(r.track.Points) == 0 {
		r.sendAt = due.Add(replayInterval)
	}
	r.track.Points = append(r.track.Points, replayPoint{
		Datetime: due.UTC().Truncate(time.Microsecond), Lat: *lat, Lon: *lon, Elevation: known(fix.Elevation),
		BarometricAltitude: known(fix.BarometricAltitude), Speed: known(fix.Speed), Heading: known(fix.Heading),
	})
	return nil
}

// known is a number that JSON can hold, or nil.
func known(number float64) *float64 {
	if math.IsNaN(number) || math.IsInf(number, 0) {
		return nil
	}
	return &number
}

// flush sends the points when it is time for them, until the server has accepted or
// refused them.
func (r *replay) flush() error {
	if len(r.track.Points) == 0 {
		return nil
	}
	select {
	case <-r.ctx.Done():
		return r.ctx.Err()
	case <-time.After(time.Until(r.sendAt)):
	}
	text, err := json.Marshal(r.track)
	if err != nil {
		return fmt.Errorf("write points: %w", err)
	}
	var result Result
	var code int
	err = r.options.persist(r.ctx, func() (time.Duration, error) {
		ctx, _, done := r.options.bound(r.ctx)
		defer done()
		request, err := http.NewRequestWithContext(ctx, http.MethodPost, r.url, bytes.NewReader(text))
		if err != nil {
			return 0, fmt.Errorf("make a request: %w", err)
		}
		request.Header.Set("Content-Type", "application/json")
		got, wait, err := r.options.do(request)
		if err == nil {
			result, code = resultOf("", got), got.code
		}
		return wait, err
	})
	if err != nil {
		return err
	}
	if result.Failed && code != http.StatusUnprocessableEntity { // others may be usable
		return errors.New(result.Reason)
	}
	r.sent.Add(int64(len(r.track.Points)))
	r.track.Points = r.track.Points[:0]
	r.result.Queued += result.Queued
	r.result.Stored += result.Stored
	r.result.Duplicates += result.Duplicates
	if result.Rejected > 0 {
		r.leaveOut(result.Reason)
		r.result.Rejected += result.Rejected - 1
	}
	return nil
}
