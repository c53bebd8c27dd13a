package statuspage

import "time"

const (
	// sampleInterval is how far apart the samples of the history are.
	sampleInterval = 5 * time.Second

	// historyLength is how far back the history goes.
	historyLength = 15 * time.Minute

	maxSamples = int(historyLength / sampleInterval)
)

// sample is what the history keeps of a snapshot.
type sample struct {
	At    time.Time             `json:"at"`
	Lanes map[string]laneSample `json:"lanes"`
}

type laneSample struct {
	In      float64 `json:"in"`
	Out     float64 `json:"out"`
	Waiting *int    `json:"waiting"` // nil while Redis is down
}

func sampleOf(s Snapshot) sample {
	summary := sample{At: s.At, Lanes: make(map[string]laneSample, len(s.Lanes))}
	for _, l := range s.Lanes {
		kept := laneSample{In: l.InPerSecond, Out: l.OutPerSecond}
		if s.Redis.Connected {
			kept.Waiting = &l.Waiting
		}
		summary.Lanes[l.Name] = kept
	}
	return summary
}

// history is the last maxSamples samples. Its zero value is empty.
type history struct {
	ring []sample
	next int // where the next sample goes once the ring is full
}

func (h *history) add(s sample) {
	if len(h.ring) < maxSamples {
		h.ring = append(h.ring, s)
		return
	}
	h.ring[h.next] = s
	h.next = (h.next + 1) % maxSamples
}

// samples returns a copy, the oldest sample first.
func (h *history) samples() []sample {
	ordered := make([]sample, 0, len(h.ring))
	ordered = append(ordered, h.ring[h.next:]...)
	return append(ordered, h.ring[:h.next]...)
}
