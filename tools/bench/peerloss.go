package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"tracklane/internal/body"
	"tracklane/internal/clock"
	"tracklane/internal/load"
)

// peerLoss is what a peer lost of what it had acknowledged, in points.
type peerLoss struct {
	peer string

	killed   loss // the peer was killed
	database loss // PostgreSQL was killed
	repeated repetition
}

// loss is the end of a run in which something was killed.
type loss struct {
	acknowledged, missing, duplicates int64
}

// repetition is what a table holds after a request of which a few points had been
// stored before.
type repetition struct {
	lost  int // new points that are missing
	twice int // rows too many
}

// killing is how often something is killed while points are sent, one a request.
type killing struct {
	rate  float64 // requests a second, which each of the peers can hold
	times int
	every time.Duration
}

func usualKilling() killing { return killing{rate: 1000, times: 3, every: 3 * time.Second} }

// duration is how long points are sent: as long after the last kill as before the
// first one.
func (k killing) duration() time.Duration { return time.Duration(k.times+1) * k.every }

const (
	repeatedPoints    = 5
	repetitionTimeout = 10 * time.Second
)

// measureLoss kills a peer, and the database of it, again and again while points
// are sent, and counts the acknowledged points that are missing at the end.
func (s *system) measureLoss(ctx context.Context, p peer, k killing) (lost peerLoss, err error) {
	lost.peer = p.name
	for _, run := range []struct {
		victim string
		found  *loss
		kill   func(context.Context, *server) error
	}{
		{"it", &lost.killed, func(ctx context.Context, running *server) error {
			return errors.Join(running.Kill(), running.restart(ctx))
		}},
		{"PostgreSQL", &lost.database, func(ctx context.Context, _ *server) error {
			return errors.Join(s.Postgres.Kill(), s.Postgres.Restart(ctx))
		}},
	} {
		if *run.found, err = s.lossOf(ctx, p, k, run.kill); err != nil {
			return lost, fmt.Errorf("%s, %s is killed: %w", p.name, run.victim, err)
		}
	}
	if lost.repeated, err = s.measureRepetition(ctx, p); err != nil {
		return lost, fmt.Errorf("%s, points are sent again: %w", p.name, err)
	}
	return lost, nil
}

// lossOf sends points to a peer, kills something meanwhile and compares.
func (s *system) lossOf(ctx context.Context, p peer, k killing, kill func(context.Context, *server) error) (
	found loss, err error,
) {
	if err := s.reset(ctx); err != nil {
		return found, err
	}
	err = p.serve(ctx, func(ctx context.Context, running *server) error {
		var report load.Report
		sent := make(chan error, 1)
		go func() {
			var err error
			report, err = load.Run(ctx, load.Options{
				URL: running.url, Lane: singlePoints().lane, PointsPerRequest: 1, Connections: saturation,
				Rate: k.rate, Duration: k.duration(),
			}, io.Discard)
			sent <- err
		}()
		for range k.times {
			clock.Sleep(ctx, k.every)
			if err := kill(ctx, running); err != nil {
				return errors.Join(err, <-sent)
			}
		}
		if err := <-sent; err != nil {
			return fmt.Errorf("send: %w", err)
		}
		result, err := report.Verify(ctx, s.Postgres.DSN()+p.search, p.drain)
		if err != nil {
			return fmt.Errorf("verify: %w", err)
		}
		found = loss{report.AcknowledgedPoints, result.Missing, result.Duplicates}
		return nil
	})
	return found, err
}

// measureRepetition sends a flight's first points, and when they are stored, the
// last of them once more in a request of a thousand, as a client does that did not
// hear the response.
func (s *system) measureRepetition(ctx context.Context, p peer) (found repetition, err error) {
	const first, all = 2 * repeatedPoints, batchPoints + repeatedPoints
	if err := s.reset(ctx); err != nil {
		return found, err
	}
	table := p.table(singlePoints())
	err = p.serve(ctx, func(ctx context.Context, running *server) error {
		if err := running.postFlight(ctx, 0, first); err != nil {
			return err
		}
		if _, err := s.waitForRows(ctx, table, first); err != nil {
			return err
		}
		if err := running.postFlight(ctx, repeatedPoints, all); err != nil {
			return err
		}
		deadline := time.Now().Add(repetitionTimeout)
		for {
			var rows, points int
			err := s.pool.QueryRow(ctx, `SELECT count(*), count(DISTINCT lat) FROM `+table).Scan(&rows, &points)
			if err != nil {
				return fmt.Errorf("count the rows: %w", err)
			}
			found = repetition{lost: all - points, twice: rows - points}
			if found.lost == 0 || time.Now().After(deadline) {
				return nil
			}
			clock.Sleep(ctx, countInterval)
		}
	})
	return found, err
}

// postFlight sends the points from one to another of a flight in one request.
func (p *server) postFlight(ctx context.Context, from, to int) error {
	start := time.Now().UTC().Truncate(24 * time.Hour).Add(-24 * time.Hour)
	points := make([]body.Point, 0, to-from)
	for i := from; i < to; i++ {
		points = append(points, body.Point{Time: start.Add(time.Duration(i) * time.Second), Lat: 41 + float64(i)/1e4, Lon: 21})
	}
	format := body.Of(singlePoints().lane)
	text := format.AppendTail(format.AppendHead(nil, []byte("sent-again"), ""), body.Sender{}, points)
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/"+singlePoints().lane, bytes.NewReader(text))
	if err != nil {
		return fmt.Errorf("post points: %w", err)
	}
	request.Header.Set("Content-Type", format.ContentType)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("post points: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted && response.StatusCode != http.StatusCreated {
		return fmt.Errorf("points got %s", response.Status)
	}
	return nil
}
