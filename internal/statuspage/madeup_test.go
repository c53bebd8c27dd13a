package statuspage

import (
	"math"
	"time"

	"tracklane/internal/status"
)

// madeUp is an installation's snapshot at a time; its numbers change with the time.
func madeUp(at time.Time) Snapshot {
	seconds := float64(at.UnixMilli()) / 1000
	s := Snapshot{
		At: at, Version: "v1.4.0", UptimeSeconds: 3*24*3600 + math.Mod(seconds, 3600), Status: status.Healthy,
		Reasons:  []string{},
		Database: Database{Connected: true, LatencyMS: 1.2, TimescaleDB: true},
		Redis: Redis{
			Connected: true, Version: "7.0.15", UsedMemoryBytes: 47 << 20, MaxMemoryBytes: 512 << 20, LatencyMS: 0.3,
		},
	}
	for i, l := range []Lane{
		{Name: "live", Priority: 1, Weight: 6, Table: "live_track_points", PointsPerBatch: 812, Written: 18_407_133},
		{Name: "upload", Priority: 2, Weight: 3, Table: "uploaded_track_points", PointsPerBatch: 987, Written: 6_220_418, Duplicates: 48_112},
		{Name: "scoring", Priority: 2, Weight: 3, Table: "scoring_tracks", PointsPerBatch: 1000, Written: 902_551, Duplicates: 17},
		{Name: "flymaster", Priority: 3, Weight: 1, Table: "flymaster", PointsPerBatch: 534, Written: 3_114_902, Duplicates: 1_204},
	} {
		typical := []float64{1240, 3800, 420, 86}[i]
		wave := math.Sin(seconds/(60+25*float64(i))) + 0.3*math.Sin(seconds/7+float64(i))
		l.InPerSecond = typical * (1 + 0.35*wave)
		l.OutPerSecond = typical * (1 + 0.35*math.Sin((seconds-8)/(60+25*float64(i))))
		l.Waiting = int(typical * (1.2 + 0.5*wave))
		l.OldestWaitingSeconds = 1.1 + 0.4*wave
		l.Aggregating, l.Pending, l.Active = int(6+4*wave), int(2+wave), i%2+1
		l.WriteP95MS, l.EndToEndP95MS = 9+7*float64(i), 1480+210*wave
		l.Written += int(math.Mod(seconds, 1e6) * 3)
		s.Lanes = append(s.Lanes, l)
	}
	s.Workers = []Worker{
		{Host: "track-worker-1", PID: 4121, Concurrency: 4, Active: 3, StartedAt: at.Add(-74 * time.Hour)},
		{Host: "track-worker-2", PID: 882, Concurrency: 4, Active: 2, StartedAt: at.Add(-26 * time.Minute)},
	}
	return s
}

// withoutRedis is a snapshot while Redis is down.
func withoutRedis(s Snapshot) Snapshot {
	s.Status, s.Reasons = status.Degraded, []string{"Redis is down: points go straight to the database."}
	s.Redis, s.Direct, s.Workers = Redis{}, true, nil
	for i := range s.Lanes {
		s.Lanes[i].OutPerSecond = s.Lanes[i].InPerSecond
	}
	return s
}

// troubled is a snapshot with something wrong everywhere.
func troubled(s Snapshot) Snapshot {
	s.Status = status.Degraded
	s.Reasons = []string{
		"The database is down: points wait in Redis.",
		"A point in the queue live has waited for 2m14s.",
		"The queue upload has 3 archived tasks: an operator archived them, and the workers run them again.",
		"The queue scoring is paused.",
		"Redis keeps queued points in memory only: set appendonly to yes.",
	}
	s.Database = Database{}
	for i := range s.Lanes {
		l := &s.Lanes[i]
		l.OutPerSecond, l.OldestWaitingSeconds = 0, 134-44*float64(i)
		l.Waiting *= 96
		l.Retry, l.Errors = 4, 1_873
	}
	s.Lanes[1].Archived = 3
	s.Lanes[2].Paused = true
	return s
}

// refusing is a snapshot of an installation that accepts no points.
func refusing(s Snapshot) Snapshot {
	s = withoutRedis(s)
	s.Status = status.Unhealthy
	s.Reasons = []string{"Redis and the database are both down: points are refused with 503."}
	s.Database = Database{}
	for i := range s.Lanes {
		s.Lanes[i].InPerSecond, s.Lanes[i].OutPerSecond = 0, 0
	}
	return s
}
