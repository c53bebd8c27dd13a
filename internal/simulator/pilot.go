package simulator

import (
	"context"
	"fmt"
	"math/rand/v2"
	"time"

	"tracklane/internal/simulator/flight"
)

// How pilots differ: every fourth flew already today, every fourth is in the
// air at the start, and every fourth carries a Flymaster instead of a phone.
const (
	kinds          = 4
	flewAlready    = 0
	inTheAir       = 1
	withFlymaster  = 2
	withPoorSignal = 3

	betweenTakeOffs = 3 * time.Second
	inTheAirSince   = 6 * time.Minute

	flymasterInterval = 5  // seconds between a device's files
	flymasterFile     = 10 // fixes in each, so that some come twice

	// Back up the hill after a landing.
	shortestRest = 5 * time.Minute
	longestRest  = 15 * time.Minute
)

// pilot flies, and hands what the instruments record to the outbox.
type pilot struct {
	number int
	name   string
	site   flight.Site
	random *rand.Rand
	secret string
	outbox *outbox
}

// fly flies one flight after another until ctx is done.
func (p *pilot) fly(ctx context.Context, start time.Time, second time.Duration) {
	if p.number%kinds == flewAlready {
		p.recall(start)
	}
	wait := time.Duration(p.number) * betweenTakeOffs
	var elapsed time.Duration
	if p.number%kinds == inTheAir {
		wait, elapsed = 0, inTheAirSince
	}
	ticker := time.NewTicker(second)
	defer ticker.Stop()
	for ctx.Err() == nil {
		landed := p.flyOnce(ctx, start.Add(-elapsed), wait, elapsed, ticker.C)
		rest := shortestRest + time.Duration(p.random.Int64N(int64(longestRest-shortestRest)))
		rest = rest.Truncate(time.Second)
		for range int(rest / time.Second) {
			select {
			case <-ctx.Done():
				return
			case <-ticker.C:
			}
		}
		start, wait, elapsed = landed.Add(rest), time.Minute, 0
	}
}

// recall hands in the flight that the pilot landed from a few minutes before
// start. Its Flymaster had no signal and sends everything now.
func (p *pilot) recall(start time.Time) {
	seed := p.random.Uint64()
	fixes := flight.New(p.site, start, 0, seed).Fly()
	landed := start.Add(-5 * time.Minute)
	shift := landed.Sub(fixes[len(fixes)-1].Time)
	for i := range fixes {
		fixes[i].Time = fixes[i].Time.Add(shift)
	}
	recorded := p.newRecording(fixes[0].Time)
	recorded.fixes = fixes
	p.outbox.add(recorded.flymaster(fixes, start, p.secret))
	p.handIn(recorded)
}

// flyOnce flies one flight that is elapsed old already, a second with each
// tick, and returns when the pilot landed.
func (p *pilot) flyOnce(ctx context.Context, start time.Time, wait, elapsed time.Duration, ticks <-chan time.Time) time.Time {
	flown := flight.New(p.site, start, wait, p.random.Uint64())
	recorded := p.newRecording(start)
	for range int(elapsed / time.Second) {
		recorded.fixes = append(recorded.fixes, flown.Next())
	}
	unsent := p.bundle()
	for flown.Fix().Phase != flight.Landed {
		select {
		case <-ctx.Done():
			return flown.Fix().Time
		case <-ticks:
		}
		fix := flown.Next()
		recorded.fixes = append(recorded.fixes, fix)
		if unsent--; unsent == 0 {
			p.report(recorded, fix.Time)
			unsent = p.bundle()
		}
	}
	p.report(recorded, flown.Fix().Time)
	recorded.fixes = inFlight(recorded.fixes)
	p.handIn(recorded)
	return flown.Fix().Time
}

// bundle is for how many seconds the pilot's instrument records before it
// sends.
func (p *pilot) bundle() int {
	switch p.number % kinds {
	case withFlymaster:
		return flymasterInterval
	case withPoorSignal:
		return 3 + p.random.IntN(3)
	default:
		return 1
	}
}

// report sends what the server has not seen of a flight.
func (p *pilot) report(recorded *recording, now time.Time) {
	if p.number%kinds == withFlymaster {
		from := max(0, len(recorded.fixes)-flymasterFile)
		p.outbox.add(recorded.flymaster(recorded.fixes[from:], now, p.secret))
		return
	}
	if unreported := recorded.fixes[recorded.reported:]; len(unreported) > 0 {
		p.outbox.add(recorded.live(unreported))
		recorded.reported = len(recorded.fixes)
	}
}

// handIn uploads a flight, and has it scored.
func (p *pilot) handIn(recorded *recording) {
	p.outbox.add(recorded.upload())
	p.outbox.add(recorded.scoring())
}

// inFlight cuts the wait for take-off from a flight.
func inFlight(fixes []flight.Fix) []flight.Fix {
	for i, fix := range fixes {
		if fix.Phase != flight.Waiting {
			return fixes[i:]
		}
	}
	return nil
}

// newRecording names a flight after its pilot and its day and time.
func (p *pilot) newRecording(start time.Time) *recording {
	return &recording{
		flightID: fmt.Sprintf("%s-%s", p.name, start.Format("20060102-150405")),
		pilotID:  p.name,
		deviceID: fmt.Sprintf("phone-%03d", p.number+1),
		serial:   int64(firstSerial + p.number),
	}
}
