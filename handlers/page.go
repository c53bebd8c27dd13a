package handlers

import (
	"context"

	"tracklane/internal/status"
	"tracklane/internal/statuspage"
)

// pageSnapshot is what the operators' page shows.
func (s *Server) pageSnapshot(ctx context.Context) (statuspage.Snapshot, error) {
	snapshot, err := s.config.Status.Snapshot(ctx)
	if err != nil {
		return statuspage.Snapshot{}, err
	}
	return newPageSnapshot(snapshot), nil
}

func newPageSnapshot(s status.Snapshot) statuspage.Snapshot {
	shown := statuspage.Snapshot{
		At: s.At, Version: s.Version, UptimeSeconds: s.Uptime.Seconds(),
		Status: s.State(), Reasons: s.Reasons(),
		Database: statuspage.Database{
			Connected: s.Database.Connected, LatencyMS: milliseconds(s.Database.Latency),
			TimescaleDB: s.Database.TimescaleDB,
		},
		Redis: statuspage.Redis{
			Connected: s.Redis.Connected, Version: s.Redis.Version,
			UsedMemoryBytes: s.Redis.UsedMemory, MaxMemoryBytes: s.Redis.MaxMemory,
			LatencyMS: milliseconds(s.Redis.Latency),
		},
		Direct: s.BypassesRedis,
	}
	for _, l := range s.Lanes {
		shown.Lanes = append(shown.Lanes, statuspage.Lane{
			Name: l.Name, Priority: l.Priority, Weight: l.Weight, Table: l.Table, Paused: l.Queue.Paused,
			InPerSecond: l.Stats.AcceptedPerSecond, OutPerSecond: l.Stats.WrittenPerSecond,
			Waiting: l.Backlog.Points, OldestWaitingSeconds: l.Backlog.OldestAge.Seconds(),
			Aggregating: l.Queue.Aggregating, Pending: l.Queue.Pending, Active: l.Queue.Active,
			Retry: l.Queue.Retry, Archived: l.Queue.Archived,
			PointsPerBatch: roundToTenths(l.Stats.PointsPerBatch()),
			WriteP95MS:     milliseconds(l.Stats.Write.Quantile(.95)),
			EndToEndP95MS:  milliseconds(l.Stats.EndToEnd.Quantile(.95)),
			Written:        l.Stats.PointsWritten, Duplicates: l.Stats.Duplicates, Errors: l.Stats.Errors,
		})
	}
	for _, w := range s.Workers {
		shown.Workers = append(shown.Workers, statuspage.Worker{
			Host: w.Host, PID: w.PID, Concurrency: w.Concurrency, Active: w.Active, StartedAt: w.StartedAt,
		})
	}
	return shown
}
