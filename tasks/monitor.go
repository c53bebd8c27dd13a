package tasks

import (
	"context"
	"log/slog"
	"math"
	"sync/atomic"
	"time"

	"tracklane/internal/lane"
)

// monitorInterval is how often a Monitor asks Redis for its state.
const monitorInterval = time.Second

// Monitor asks Redis for its state once a second and tells its observers, one
// after another, in the order in which they were added: the backpressure of an
// Enqueuer and the drainer of a Worker. A process has one for both, and it counts
// the points that wait. Only the replay buffer asks too, through the connections
// that points take.
type Monitor struct {
	ask       func(context.Context) Redis
	waiting   *waitingCounter
	observers []func(context.Context, reading)
	logger    *slog.Logger

	flushFailed bool // for the log
}

// NewMonitor returns a monitor. What uses it, an Enqueuer or a Worker, is made
// before Run is called.
func NewMonitor(connections *Connections, lanes []*lane.Lane, logger *slog.Logger) *Monitor {
	inspector := NewInspector(connections, lanes)
	return &Monitor{
		ask: inspector.Redis, logger: logger,
		waiting: newWaitingCounter(connections.Inspect, lanes, inspector.estimateWaiting),
	}
}

// observe adds an observer. It must not be called once Run is.
func (m *Monitor) observe(observer func(context.Context, reading)) {
	m.observers = append(m.observers, observer)
}

// reading is what Redis responded, or a Redis that is not connected.
type reading struct {
	Redis
}

// Run asks until ctx ends, and then flushes the number of waiting points once more.
// It is called once.
func (m *Monitor) Run(ctx context.Context) {
	every(ctx, monitorInterval, func() {
		r := reading{Redis: m.ask(ctx)}
		if r.Connected {
			m.logFlush(m.waiting.flush(ctx))
		}
		for _, observe := range m.observers {
			observe(ctx, r)
		}
	})
	last, cancel := context.WithTimeout(context.WithoutCancel(ctx), InspectTimeout)
	defer cancel()
	_ = m.waiting.flush(last) // when Redis is down, too, nothing is left to do
}

// logFlush logs that the waiting points are not counted any more, or are again.
// What was counted goes with the next flush.
func (m *Monitor) logFlush(err error) {
	switch {
	case err != nil && !m.flushFailed:
		m.logger.Warn("the waiting points are not shared with the other processes", "error", err)
	case err == nil && m.flushFailed:
		m.logger.Info("the waiting points are shared with the other processes again")
	}
	m.flushFailed = err != nil
}

// every calls work at once and then at each interval, until ctx ends.
func every(ctx context.Context, interval time.Duration, work func()) {
	ticker := time.NewTicker(interval)
	defer ticker.Stop()
	for {
		work()
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// fraction is a number that goroutines share.
type fraction struct{ bits atomic.Uint64 }

func (f *fraction) store(value float64) { f.bits.Store(math.Float64bits(value)) }
func (f *fraction) load() float64       { return math.Float64frombits(f.bits.Load()) }
