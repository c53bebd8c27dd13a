package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"net/netip"
	"sync"
	"time"

	"tracklane/internal/network"
)

// Operator is the account of the operators. Any number of goroutines may use it at
// the same time.
type Operator struct {
	credentials [sha256.Size]byte

	mu       sync.Mutex
	failures map[netip.Prefix]failures // by address
}

// failures are wrong passwords from one address, one after the other.
type failures struct {
	count int
	last  time.Time
}

const (
	// firstDelay is how long an address waits after its first wrong password; each
	// other one doubles that, up to maxOperatorDelay.
	firstDelay       = 250 * time.Millisecond
	maxOperatorDelay = 10 * time.Second

	// forgetAfter is how long an address has to be silent until its failures are
	// forgotten.
	forgetAfter = 10 * time.Minute

	// maxAddresses is how many addresses with failures are remembered.
	maxAddresses = 10_000
)

// NewOperator returns the account with a user name and a password.
func NewOperator(user, password string) *Operator {
	return &Operator{credentials: hashOf(user, password), failures: make(map[netip.Prefix]failures)}
}

// hashOf makes texts of any length comparable in constant time. The lengths are in
// it, so that no two pairs are joined to the same text.
func hashOf(user, password string) [sha256.Size]byte {
	u, p := sha256.Sum256([]byte(user)), sha256.Sum256([]byte(password))
	return sha256.Sum256(append(u[:], p[:]...))
}

// Check reports whether somebody at an address who gives these credentials is an
// operator. wait is above 0 when it did not look at them: the address gave wrong
// ones before, and has to wait so long. An IPv6 address stands for its /64.
func (o *Operator) Check(address netip.Addr, user, password string, now time.Time) (ok bool, wait time.Duration) {
	given := hashOf(user, password)
	matches := subtle.ConstantTimeCompare(given[:], o.credentials[:]) == 1
	from := network.OfClient(address)

	o.mu.Lock()
	defer o.mu.Unlock()
	f, failed := o.failures[from]
	if failed && now.Sub(f.last) > forgetAfter {
		delete(o.failures, from)
		f = failures{}
	}
	if wait := f.delay() - now.Sub(f.last); f.count > 0 && wait > 0 {
		return false, wait
	}
	if matches {
		delete(o.failures, from)
		return true, 0
	}
	if !failed && len(o.failures) >= maxAddresses {
		o.forget(now)
	}
	o.failures[from] = failures{count: f.count + 1, last: now}
	return false, 0
}

// delay is how long an address has to wait after its last failure.
func (f failures) delay() time.Duration {
	const doublings = 6 // beyond, the delay is above maxOperatorDelay
	return min(firstDelay<<min(max(f.count-1, 0), doublings), maxOperatorDelay)
}

// forget makes room for other addresses: it drops those that were silent for long,
// and any others until a tenth of the room is free, so that it need not look through
// all of them for each new one.
func (o *Operator) forget(now time.Time) {
	for from, f := range o.failures {
		if now.Sub(f.last) > forgetAfter {
			delete(o.failures, from)
		}
	}
	for from := range o.failures {
		if len(o.failures) < maxAddresses*9/10 {
			return
		}
		delete(o.failures, from)
	}
}
