// Package status knows the state of an installation: of its database, its
// Redis, its queues and its workers. The health check, the queue status, the
// gauges of Prometheus and the operators' page are all made of its Snapshot.
package status

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"time"

	"tracklane/internal/metrics"
	"tracklane/tasks"
)

// State is an installation's state in one word.
type State string

// The states of an installation.
const (
	Healthy   State = "healthy"
	Degraded  State = "degraded"  // points are accepted, but something is wrong
	Unhealthy State = "unhealthy" // points are refused
)

// Snapshot is the state of an installation at one time. It is shared: nobody
// may change what it points to.
type Snapshot struct {
	At      time.Time
	Version string
	Uptime  time.Duration // of this process

	Database Database
	Redis    tasks.Redis

	RedisWritable bool // Redis accepts writes
	RedisFull     bool // it has no room for more points of the live lane

	// BypassesRedis reports whether this process writes points directly into
	// the database.
	BypassesRedis bool

	// Open reports whether this process serves everybody, without tokens and
	// passwords, and OpenToOthers whether other machines reach it.
	Open, OpenToOthers bool

	// Lanes are in the order of their priority.
	Lanes []Lane

	// Distress are the calls of pilots in distress of the last day, oldest first;
	// while Redis is down, those that this process got.
	Distress []metrics.DistressCall

	// Workers are the worker processes that are alive; none while Redis is down.
	Workers []tasks.WorkerProcess
}

// Database is the state of PostgreSQL. All but Pool and Err is zero while it is
// down.
type Database struct {
	Connected   bool
	Err         error // why it is not connected
	Latency     time.Duration
	TimescaleDB bool // the extension is installed
	Writable    bool // points of every lane can be inserted
	NoSync      bool // its fsync is off
	HasRejected bool // the dead-letter table holds points
	NoRejects   bool // this role may not put points into the dead-letter table
	NoFlights   bool // flights of new points cannot be listed
	Pool        Pool
}

// Pool is the state of this process's pool of connections to the database.
type Pool struct {
	Acquired, Idle, Max int           // connections
	AcquireWait         time.Duration // in total, since the start of the process
}

// Lane is the state of one lane. Queue and Backlog are zero while Redis is
// down, and Stats are then those of this process alone.
type Lane struct {
	Name     string
	Priority int
	Weight   int
	Table    string
	Queue    tasks.Queue
	Backlog  tasks.Backlog
	Stats    metrics.Stats
}

// State is Unhealthy when points cannot be accepted, Degraded when there are
// Reasons, and Healthy otherwise.
func (s Snapshot) State() State {
	switch {
	case !s.Database.Writable && (!s.RedisWritable || s.RedisFull):
		return Unhealthy
	case len(s.Reasons()) > 0:
		return Degraded
	}
	return Healthy
}

// maxBacklogAge is how old the oldest point of a backlog may be before it is a
// reason.
const maxBacklogAge = time.Minute

// Reasons says in whole sentences what is wrong; it is empty when nothing is.
func (s Snapshot) Reasons() []string {
	reasons := []string{}
	add := func(format string, values ...any) {
		reasons = append(reasons, fmt.Sprintf(format, values...))
	}
	switch {
	case !s.Database.Connected && !s.Redis.Connected:
		add("%s and the database are both down: points are refused with 503.", s.downRedis())
	case !s.Redis.Connected:
		add("%s is down: points go straight to the database.", s.downRedis())
	case !s.Database.Connected:
		add("The database is down: points wait in Redis.")
	}
	if reason := certificateError(s.Redis.Err); reason != nil {
		add("The TLS certificate of Redis is not accepted: %v.", reason)
	}
	if reason := certificateError(s.Database.Err); reason != nil {
		add("The TLS certificate of the database is not accepted: %v.", reason)
	}
	if s.Database.Connected && !s.Database.Writable {
		add("The database accepts no points: it is read-only, a table is missing, or this process's role may not insert into it.")
	}
	if s.Database.NoSync {
		add("PostgreSQL may lose committed points when its machine fails: its fsync is off, set it to on.")
	}
	if s.Redis.Connected && !s.RedisWritable {
		add("Redis accepts no writes: it is a replica, out of memory, or cannot write its file.")
	}
	if s.RedisFull {
		add("Redis holds as many points as it may (MAX_WAITING_POINTS, or its maxmemory): new ones go straight to the database.")
	}
	if s.Redis.Connected {
		s.addRedisReasons(add)
	}
	s.addQueueReasons(add)
	if s.OpenToOthers {
		add("Everybody may post points and see these pages: AUTH is off.")
	}
	if s.Database.NoRejects {
		add("This process may not write to rejected_points, so points that the database refuses stay in their queue: grant its role SELECT and INSERT on that table.")
	}
	if s.Database.NoFlights {
		add("New flights are not listed in /flights: run 'tracklane migrate up' if there is no table flights, or grant this process's role SELECT and INSERT on it.")
	}
	if s.Database.HasRejected {
		add("The database refused points: look at 'tracklane rejected list'.")
	}
	return reasons
}

// certificateError returns what makes a server's certificate unacceptable, which no
// waiting cures; nil if err has another cause.
func certificateError(err error) error {
	if unknown, found := errors.AsType[x509.UnknownAuthorityError](err); found {
		return unknown
	}
	if other, found := errors.AsType[x509.HostnameError](err); found {
		return other
	}
	if invalid, found := errors.AsType[x509.CertificateInvalidError](err); found {
		return invalid
	}
	return nil
}

// downRedis names a Redis that does not respond: of a cluster, the masters that do not.
func (s Snapshot) downRedis() string {
	var down []string
	for _, server := range s.Redis.Masters {
		if !server.Connected {
			down = append(down, server.Address)
		}
	}
	return redisAt(down)
}

// redisAt names Redis, or servers of a cluster.
func redisAt(addresses []string) string {
	if len(addresses) == 0 {
		return "Redis"
	}
	return "Redis at " + strings.Join(addresses, " and ")
}

// addRedisReasons adds what is wrong with a Redis that responds. What is wrong with
// several masters of a cluster in the same way is one reason.
func (s Snapshot) addRedisReasons(add func(format string, values ...any)) {
	addresses := make(map[string][]string) // by the reason
	formats := []string{}
	for _, server := range s.Redis.Servers() {
		for _, format := range serverReasons(server) {
			if addresses[format] == nil {
				formats = append(formats, format)
				addresses[format] = []string{}
			}
			if server.Address != "" {
				addresses[format] = append(addresses[format], server.Address)
			}
		}
	}
	for _, format := range formats {
		add(format, redisAt(addresses[format]))
	}
	if len(s.Workers) == 0 {
		add("No worker is alive: points wait in Redis.")
	}
}

// serverReasons are formats for the name of a server.
func serverReasons(server tasks.Redis) (formats []string) {
	if policy := server.MaxMemoryPolicy; policy != "" && policy != "noeviction" {
		formats = append(formats, "%s may drop queued points: its maxmemory-policy is "+policy+", set it to noeviction.")
	}
	switch fsync := server.AppendFsync; {
	case !server.AppendOnly:
		formats = append(formats, "%s keeps queued points in memory only: set appendonly to yes.")
	case fsync == "everysec" || fsync == "no":
		formats = append(formats, "%s acknowledges points before they are on its disk: its appendfsync is "+fsync+", set it to always.")
	}
	if server.Replicas > 0 && server.MinReplicas == "0" {
		formats = append(formats, "A replica of %s that takes over would lack acknowledged points: set min-replicas-to-write to 1 and min-replicas-max-lag to 10.")
	}
	if offset := server.ClockOffset; offset.Abs() > tasks.ClockTolerance {
		formats = append(formats, fmt.Sprintf("The clock of this process differs by %s from that of %%s: synchronize the clocks of all machines.",
			offset.Abs().Round(time.Second)))
	}
	return formats
}

// addQueueReasons adds what is wrong with the queues.
func (s Snapshot) addQueueReasons(add func(format string, values ...any)) {
	for _, l := range s.Lanes {
		if n := l.Queue.Archived; n > 0 {
			add("The queue %s has %d archived tasks: an operator archived them, and the workers run them again.", l.Name, n)
		}
		if age := l.Backlog.OldestAge; age > maxBacklogAge {
			add("A point in the queue %s has waited for %s.", l.Name, age.Round(time.Second))
		}
		if l.Queue.Paused {
			add("The queue %s is paused.", l.Name)
		}
	}
}

// Notes says in whole sentences what an operator may want to know although
// nothing is wrong; it is empty when there is nothing to say.
func (s Snapshot) Notes() []string {
	notes := []string{}
	if s.Database.Connected && !s.Database.TimescaleDB {
		notes = append(notes, "TimescaleDB is not installed in the database: the tables are plain ones.")
	}
	if s.Open && !s.OpenToOthers {
		notes = append(notes, "Whoever uses this machine may post points and see these pages: AUTH is off.")
	}
	return notes
}
