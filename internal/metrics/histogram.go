package metrics

import (
	"math"
	"time"
)

// Histogram counts durations in buckets that grow by bucketGrowth from
// smallestBucket on, so that histograms of several processes can be added and
// a quantile of the sum is right to within 10 %.
type Histogram []uint64

const (
	smallestBucket = 100 * time.Microsecond
	bucketGrowth   = 1.2
	bucketCount    = 88 // the last starts at some 770 s
)

func bucketOf(d time.Duration) int {
	if d <= smallestBucket {
		return 0
	}
	i := int(math.Ceil(math.Log(float64(d)/float64(smallestBucket)) / math.Log(bucketGrowth)))
	return min(i, bucketCount-1)
}

func (h *Histogram) observe(d time.Duration, times int) {
	if *h == nil {
		*h = make(Histogram, bucketCount)
	}
	(*h)[bucketOf(d)] += uint64(times)
}

func (h *Histogram) add(other Histogram) {
	if len(other) != bucketCount {
		return
	}
	if *h == nil {
		*h = make(Histogram, bucketCount)
	}
	for i, n := range other {
		(*h)[i] += n
	}
}

// Quantile returns the duration below which the fraction q of the observations
// lie, to the microsecond; 0 when there are none.
func (h Histogram) Quantile(q float64) time.Duration {
	var total uint64
	for _, n := range h {
		total += n
	}
	if total == 0 {
		return 0
	}
	rank := uint64(math.Ceil(q * float64(total)))
	var seen uint64
	for i, n := range h {
		if seen += n; seen >= rank {
			// The middle of the bucket, on its logarithmic scale.
			middle := float64(smallestBucket) * math.Pow(bucketGrowth, float64(i)-0.5)
			return time.Duration(middle).Round(time.Microsecond)
		}
	}
	return 0
}
