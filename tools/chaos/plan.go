package main

import (
	"math/rand/v2"
	"slices"
	"time"
)

// kind is a way in which something breaks.
type kind string

const (
	kill      kind = "kill -9"
	terminate kind = "SIGTERM"
	pause     kind = "SIGSTOP"

	// Of a PostgreSQL server: one of its processes is killed, and the server
	// ends all others and recovers.
	crash kind = "kill -9 of a backend"

	cut       kind = "connections cut"
	delay     kind = "delayed"
	throttle  kind = "throttled"
	blackHole kind = "black-holed"
	mute      kind = "responses lost" // a black hole in one direction

	redisFull     kind = "maxmemory reached"
	noConnections kind = "max_connections reached"
	diskFull      kind = "disk full (53100)"
	diskSlow      kind = "slow commits"

	// Of the disk that Redis has for itself.
	redisDiskFull  kind = "disk full"
	redisDiskStall kind = "fsync stalled"

	// A replica or a standby takes over.
	redisFailover    kind = "failover to a lagging replica"
	postgresFailover kind = "failover to a synchronous standby"

	// Of a Redis Cluster: a queue goes to another master.
	slotMoved kind = "slot moved to another master"

	// Of an API, while Redis is down and has forgotten what it had not synced.
	stopInOutage kind = "SIGTERM while Redis is down"

	// Of the queues: an operator presses every button of the web UI; the clocks
	// of those who write to the queues are wrong.
	buttons   kind = "every button of the web UI"
	wrongTime kind = "clocks apart"

	// Of the clients: what they send besides.
	largeUploads kind = "uploads of 13 MB"
	refusals     kind = "refused points in bulk"

	// At the start: APIs, workers and clients run, the database is empty and out
	// of reach, and then all processes migrate it at once. One of the APIs does
	// not reach Redis.
	firstMigration kind = "first migration under load"
)

// fault is one entry of a plan.
type fault struct {
	At     time.Duration // since the start of the traffic
	Lasts  time.Duration
	Kind   kind
	Target string // a server, a process, a proxy, the queues or the clients

	// Strikes lists all that the fault needs for itself, the target too.
	Strikes []string
}

// End is when the fault is over; what was ended begins to start then.
func (f fault) End() time.Duration { return f.At + f.Lasts }

const (
	postgresName = "postgresql"
	redisName    = "redis"
	clientsName  = "clients"
	queuesName   = "queues"
)

var (
	apiNames    = []string{"api-1", "api-2"}
	workerNames = []string{"worker-1", "worker-2"}
)

// proxyName names the connections that one party opens to another.
func proxyName(from, to string) string { return from + " to " + to }

// proxyNames lists every proxy of the testbed.
func proxyNames() []string {
	var names []string
	for _, api := range apiNames {
		names = append(names, proxyName(clientsName, api))
	}
	for _, process := range slices.Concat(apiNames, workerNames) {
		names = append(names, proxyName(process, redisName), proxyName(process, postgresName))
	}
	return names
}

// faultSpec is a kind of fault, what it may strike, how long it lasts and how often
// it comes in a pool.
type faultSpec struct {
	kind     kind
	targets  []string
	min, max time.Duration
	weight   int

	also []string // what else it strikes
}

// all is what a fault of that target strikes.
func (s faultSpec) all(target string) []string {
	struck := []string{target}
	for _, other := range s.also {
		if other != target {
			struck = append(struck, other)
		}
	}
	return struck
}

// serversOfAPIs lists the APIs, the servers, and the ways between them: a Redis
// that forgets must not be one of two things that are down, nor may an API have
// been kept from seeing that Redis may forget.
func serversOfAPIs() []string {
	names := []string{postgresName, redisName}
	for _, api := range apiNames {
		names = append(names, api, proxyName(api, redisName), proxyName(api, postgresName))
	}
	return names
}

func faultSpecs() []faultSpec {
	const second = time.Second
	processes, proxies := slices.Concat(apiNames, workerNames), proxyNames()
	return []faultSpec{
		{kill, workerNames, second, 6 * second, 3, nil},
		{kill, []string{postgresName}, second, 5 * second, 2, nil},
		{kill, []string{redisName}, second, 5 * second, 3, nil},
		{kill, apiNames, second, 6 * second, 2, nil},
		{crash, []string{postgresName}, second, 2 * second, 2, nil},
		{terminate, processes, second, 6 * second, 3, nil},
		{terminate, []string{redisName}, second, 4 * second, 1, nil},
		{terminate, []string{postgresName}, second, 4 * second, 1, nil},
		{pause, processes, 5 * second, 40 * second, 2, nil},
		{pause, []string{redisName}, 5 * second, 40 * second, 1, nil},
		{pause, []string{postgresName}, 5 * second, 40 * second, 1, nil},
		{cut, proxies, second, 10 * second, 4, nil},
		{delay, proxies, 3 * second, 20 * second, 3, nil},
		{throttle, proxies, 3 * second, 20 * second, 3, nil},
		{blackHole, proxies, 3 * second, 20 * second, 3, nil},
		{mute, proxies, 3 * second, 20 * second, 3, nil},
		{redisFull, []string{redisName}, 3 * second, 15 * second, 2, nil},
		{noConnections, []string{postgresName}, 3 * second, 12 * second, 2, nil},
		{diskFull, []string{postgresName}, 3 * second, 15 * second, 1, nil},
		{diskSlow, []string{postgresName}, 3 * second, 15 * second, 1, nil},
		{redisDiskFull, []string{redisName}, 3 * second, 10 * second, 2, nil},
		{redisDiskStall, []string{redisName}, 2 * second, 8 * second, 2, nil},
		{stopInOutage, apiNames, 6 * second, 8 * second, 2, serversOfAPIs()},
		{redisFailover, []string{redisName}, 2 * second, 6 * second, 1, nil},
		{postgresFailover, []string{postgresName}, 2 * second, 6 * second, 1, nil},
		{buttons, []string{queuesName}, 2 * second, 8 * second, 2, nil},
		{wrongTime, []string{queuesName}, 3 * second, 15 * second, 2, nil},
		{largeUploads, []string{clientsName}, 2 * second, 8 * second, 2, nil},
		{refusals, []string{clientsName}, 2 * second, 8 * second, 2, nil},
	}
}

const (
	// The first migration lasts so long, and the first fault comes after it.
	migrationDelay = 4 * time.Second
	firstFault     = 10 * time.Second

	// The pauses between the beginnings of two faults.
	minGap, maxGap = 3 * time.Second, 8 * time.Second

	// maxAtOnce is how many faults may be under way together.
	maxAtOnce = 4

	// A short run is for a quick answer: no fault of it lasts longer than
	// shortFault.
	shortRun   = 5 * time.Minute
	shortFault = 8 * time.Second

	// recovery is kept free of faults behind the end of one on the same target:
	// the server starts, or the process takes its time to stop.
	recovery           = 3 * time.Second
	recoveryOfStop     = shutdownTimeout + recovery
	recoveryOfFailover = 15 * time.Second // the new server is made, too
)

// makePlan returns the faults of a run, of those that may come. The same seed and
// duration give the same plan. After the first migration, each kind comes up before any comes up
// again as often as its faultSpec has weight; the four kills come first, that of a
// worker before all, whose tasks are the last to come back. No target has two
// faults at a time.
func makePlan(seed uint64, duration time.Duration, all []faultSpec) []fault {
	random := rand.New(rand.NewPCG(seed, 0))
	pool := shuffled(all, random)
	for i, first := range all[:4] {
		at := slices.IndexFunc(pool, func(s faultSpec) bool {
			return s.kind == kill && s.targets[0] == first.targets[0]
		})
		pool = slices.Insert(slices.Delete(pool, at, at+1), i, first)
	}

	plan := []fault{{Lasts: migrationDelay, Kind: firstMigration, Target: postgresName, Strikes: []string{postgresName}}}
	free := make(map[string]time.Duration) // when a target may be struck again
	for at := firstFault; at < duration; at += minGap + rand64(random, maxGap-minGap) {
		if len(pool) < len(all) {
			pool = append(pool, shuffled(all, random)...)
		}
		if underWay(plan, at) >= maxAtOnce {
			continue
		}
		for i, s := range pool {
			target, ok := pick(s.targets, random, func(name string) bool {
				return !slices.ContainsFunc(s.all(name), func(struck string) bool { return free[struck] > at })
			})
			if !ok {
				continue
			}
			longest := s.max
			if duration < shortRun {
				longest = min(longest, max(shortFault, s.min+time.Second))
			}
			f := fault{
				At: at, Lasts: s.min + rand64(random, longest-s.min), Kind: s.kind,
				Target: target, Strikes: s.all(target),
			}
			if f.End() > duration {
				continue
			}
			plan = append(plan, f)
			for _, struck := range f.Strikes {
				free[struck] = f.End() + recoveryAfter(f.Kind)
			}
			pool = slices.Delete(pool, i, i+1)
			break
		}
	}
	return plan
}

// recoveryAfter is how long a target is left alone after a fault.
func recoveryAfter(k kind) time.Duration {
	switch k {
	case terminate, stopInOutage:
		return recoveryOfStop
	case redisFailover, postgresFailover:
		return recoveryOfFailover
	}
	return recovery
}

// shuffled returns a pool of the faultSpecs' weight.
func shuffled(all []faultSpec, random *rand.Rand) []faultSpec {
	var pool []faultSpec
	for _, s := range all {
		for range s.weight {
			pool = append(pool, s)
		}
	}
	random.Shuffle(len(pool), func(i, j int) { pool[i], pool[j] = pool[j], pool[i] })
	return pool
}

// pick returns one of the names that are allowed.
func pick(names []string, random *rand.Rand, allowed func(string) bool) (name string, ok bool) {
	offset := random.IntN(len(names))
	for i := range names {
		if name := names[(offset+i)%len(names)]; allowed(name) {
			return name, true
		}
	}
	return "", false
}

func underWay(plan []fault, at time.Duration) int {
	count := 0
	for _, f := range plan {
		if f.End() > at {
			count++
		}
	}
	return count
}

func rand64(random *rand.Rand, below time.Duration) time.Duration {
	return time.Duration(random.Int64N(int64(below)))
}
