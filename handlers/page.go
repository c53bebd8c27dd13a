package handlers

import (
	"context"
	"fmt"

	"tracklane/internal/metrics"
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

// distressLine is what the page says of a pilot in distress.
func distressLine(call metrics.DistressCall) string {
	line := "SOS at " + call.At.UTC().Format("2006-01-02 15:04:05 UTC")
	for _, part := range [][2]string{{"pilot", call.Pilot}, {"race", call.Race}, {"device", call.Device}} {
		if part[1] != "" {
			line += ", " + part[0] + " " + part[1]
		}
	}
	if call.Lat != nil && call.Lon != nil {
		line += fmt.Sprintf(", at %.5f, %.5f", *call.Lat, *call.Lon)
	}
	return line + " (" + call.App + "): " + call.Says
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
	for _, call := range s.Distress {
		shown.Distress = append(shown.Distress, distressLine(call))
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
