package handlers

import (
	"context"
	"time"

	"tracklane/internal/statuspage"
)

// snapshot is what the operators' page shows.
func (s *Server) snapshot(ctx context.Context) statuspage.Snapshot {
	o := s.look(ctx)
	state := s.health(o)
	shown := statuspage.Snapshot{
		At: o.at, Version: s.Version, Uptime: time.Since(s.started).Seconds(),
		Status: statuspage.Status(state.Status), Reasons: state.Reasons,
		Database: statuspage.Database{
			Connected: o.database.Connected, Latency: o.database.Latency, TimescaleDB: o.database.TimescaleDB,
		},
		Redis: statuspage.Redis{
			Connected: o.redis.Connected, Version: o.redis.Version,
			UsedMemory: o.redis.UsedMemory, MaxMemory: o.redis.MaxMemory, Latency: milliseconds(o.redis.Latency),
		},
		Direct: s.Enqueuer != nil && !s.Enqueuer.Available(),
	}
	for i, l := range s.Lanes {
		info, figures := o.queues[l.Name], o.figures[l.Name]
		shown.Lanes = append(shown.Lanes, statuspage.Lane{
			Name: l.Name, Priority: l.Priority, Weight: s.Weights[l.Name], Table: l.Table, Paused: info.Paused,
			InPerSecond: figures.AcceptedPerSecond, OutPerSecond: figures.WrittenPerSecond,
			Waiting: o.waiting[i].Points, OldestWaiting: o.waiting[i].OldestAge.Seconds(),
			Aggregating: info.Aggregating, Pending: info.Pending, Active: info.Active,
			Retry: info.Retry, Archived: info.Archived,
			PointsPerBatch: pointsPerBatch(figures),
			WriteP95:       milliseconds(figures.Write.Quantile(.95)), EndToEndP95: milliseconds(figures.EndToEnd.Quantile(.95)),
			Written: figures.PointsWritten, Duplicates: figures.Duplicates, Errors: figures.Errors,
		})
	}
	for _, p := range o.processors {
		shown.Workers = append(shown.Workers, statuspage.Worker{
			Host: p.Host, PID: p.PID, Concurrency: p.Concurrency, Active: p.Active, StartedAt: p.StartedAt,
		})
	}
	return shown
}
