package main

import (
	"context"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"tracklane/internal/clock"
)

const (
	probeInterval = 100 * time.Millisecond
	probeLook     = 10 * time.Millisecond // the error of the result, at most
	probeTimeout  = 30 * time.Second      // for a point to be seen
)

// probe posts a point of a flight of its own every probeInterval, looks for
// all that it has posted until they are there, and returns the 99th percentile
// of how long that took from the response on.
func (s *system) probe(ctx context.Context, p *server, duration time.Duration) (time.Duration, error) {
	ctx, cancel := context.WithTimeout(ctx, duration+probeTimeout)
	defer cancel()
	start := time.Now()
	responded := make(map[string]time.Time) // flights that are not seen yet
	var took []time.Duration
	for posted := 0; ; {
		due := start.Add(time.Duration(posted) * probeInterval)
		switch ending := due.Sub(start) >= duration; {
		case !ending && !time.Now().Before(due):
			flight := fmt.Sprintf("probe-%d-%06d", start.UnixNano(), posted)
			if err := p.postPoint(ctx, flight); err != nil {
				return 0, err
			}
			responded[flight] = time.Now()
			posted++
		case ending && len(responded) == 0:
			slices.Sort(took)
			return took[(len(took)*99+99)/100-1], nil
		}
		seen, err := s.seen(ctx, slices.Collect(maps.Keys(responded)))
		if err != nil {
			return 0, err
		}
		for _, flight := range seen {
			took = append(took, time.Since(responded[flight]))
			delete(responded, flight)
		}
		if !clock.Sleep(ctx, probeLook) {
			return 0, fmt.Errorf("%d probes were not seen: %w", len(responded), context.Cause(ctx))
		}
	}
}

func (p *server) postPoint(ctx context.Context, flight string) error {
	body := fmt.Sprintf(`{"flight_id":%q,"track_points":[{"datetime":%q,"lat":41.2,"lon":21.3}]}`,
		flight, time.Now().UTC().Format(time.RFC3339))
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, p.url+"/live", strings.NewReader(body))
	if err != nil {
		return fmt.Errorf("post a probe: %w", err)
	}
	request.Header.Set("Content-Type", "application/json")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return fmt.Errorf("post a probe: %w", err)
	}
	_ = response.Body.Close()
	if response.StatusCode != http.StatusAccepted {
		return fmt.Errorf("a probe got %s", response.Status)
	}
	return nil
}

// seen returns those of the flights that have a point.
func (s *system) seen(ctx context.Context, flights []string) ([]string, error) {
	rows, err := s.pool.Query(ctx, `SELECT DISTINCT flight_id FROM live_track_points WHERE flight_id = ANY($1)`, flights)
	if err != nil {
		return nil, fmt.Errorf("look for probes: %w", err)
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return nil, fmt.Errorf("look for probes: %w", err)
	}
	return seen, nil
}
