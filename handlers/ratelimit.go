package handlers

import (
	"fmt"
	"math"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"golang.org/x/time/rate"

	"tracklane/internal/auth"
	"tracklane/internal/cache"
	"tracklane/internal/lane"
	"tracklane/internal/network"
)

// rateLimiter bounds how many requests a second each sender makes. Any number of
// goroutines may use one at the same time.
type rateLimiter struct {
	limit rate.Limit
	burst int

	mu      sync.Mutex
	senders *cache.Map[string, *rate.Limiter]
}

// maxSenders is how many senders are remembered at the least, in some 2 MB.
const maxSenders = 10_000

// newRateLimiter returns a limiter of so many requests a second, of which burst may
// come at once; with a limit of 0, nobody is limited.
func newRateLimiter(limit, burst int) *rateLimiter {
	return &rateLimiter{limit: rate.Limit(limit), burst: burst, senders: cache.New[string, *rate.Limiter](maxSenders)}
}

// admit returns how long a sender has to wait; 0 when its request is admitted.
func (l *rateLimiter) admit(sender string, now time.Time) (wait time.Duration) {
	if l.limit == 0 {
		return 0
	}
	reservation := l.of(sender).ReserveN(now, 1)
	if wait = reservation.DelayFrom(now); wait > 0 {
		reservation.CancelAt(now)
	}
	return wait
}

func (l *rateLimiter) of(sender string) *rate.Limiter {
	l.mu.Lock()
	defer l.mu.Unlock()
	limiter, known := l.senders.Get(sender)
	if !known {
		limiter = rate.NewLimiter(l.limit, l.burst)
	}
	l.senders.Put(sender, limiter) // whoever sends is not forgotten
	return limiter
}

// limit returns a problem if a sender has made too many requests. The response
// says when the next may come, as draft-ietf-httpapi-ratelimit-headers-10 has it.
func (s *Server) limit(c *gin.Context, sender string, now time.Time) *problem {
	wait := s.senders.admit(sender, now)
	if wait == 0 {
		return nil
	}
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	window := max(1, int(math.Ceil(float64(s.senders.burst)/float64(s.senders.limit))))
	c.Header("Retry-After", seconds)
	c.Header("RateLimit-Policy", fmt.Sprintf(`"sender";q=%d;w=%d`, s.senders.burst, window))
	c.Header("RateLimit", `"sender";r=0;t=`+seconds)
	return &problem{
		Status: http.StatusTooManyRequests, Title: "Too many requests",
		Detail: "Nothing of this request was kept. Send it again after the time in Retry-After, and put more points into each.",
	}
}

// limitToken is limit for a client whose token was looked at: a pilot's counts by
// the pilot, and a client without a good one by its address. A relay is not
// limited.
func (s *Server) limitToken(c *gin.Context, claims *auth.Claims, refused *problem, now time.Time) *problem {
	switch {
	case refused != nil:
		if limited := s.limit(c, addressSender(c), now); limited != nil {
			return limited
		}
		return refused
	case claims != nil && claims.Pilot != "":
		return s.limit(c, "pilot "+claims.Pilot, now)
	}
	return nil
}

// deviceCheck returns what checks the key of a device, and its rate, by the first
// line of its body: nobody without a key makes the server read more. It is nil
// where keys are not checked. Its errors are of type *refusal.
func (s *Server) deviceCheck(c *gin.Context, l *lane.Lane, now time.Time) func(head []byte) error {
	if l.Device == nil {
		return nil
	}
	return func(head []byte) error {
		serial, err := l.Device(head)
		sender := "device " + strconv.FormatInt(serial, 10)
		if err != nil {
			sender = addressSender(c)
		}
		var refused *problem
		if s.config.Access.Tokens != nil {
			refused = s.limit(c, sender, now)
		}
		if refused == nil && err != nil {
			refused = decodeProblem(err)
		}
		if refused != nil {
			return &refusal{refused}
		}
		return nil
	}
}

// refusal is a problem that is found while a body is read.
type refusal struct{ problem *problem }

func (r *refusal) Error() string { return r.problem.Detail }

// addressSender is a client as its network.
func addressSender(c *gin.Context) string {
	return "address " + network.OfClient(clientAddress(c)).String()
}
