package auth

import (
	"encoding/binary"
	"net/netip"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
)

func TestOperator_KnowsItsCredentialsAlone(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		user, password string
		want           bool
	}{
		"right":              {"operator", "thermal", true},
		"wrong password":     {"operator", "Thermal", false},
		"wrong user":         {"Operator", "thermal", false},
		"nothing":            {"", "", false},
		"password longer":    {"operator", "thermal ", false},
		"the other way":      {"thermal", "operator", false},
		"joined differently": {"operatort", "hermal", false},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := NewOperator("operator", "thermal")
			ok, wait := o.Check(netip.MustParseAddr("192.0.2.1"), c.user, c.password, now)
			assert.Equal(t, c.want, ok)
			assert.Zero(t, wait)
		})
	}
}

func TestOperator_LetsAnAddressWaitLongerAfterEachFailure(t *testing.T) {
	t.Parallel()
	o := NewOperator("operator", "thermal")
	guesser, other := netip.MustParseAddr("2001:db8::1"), netip.MustParseAddr("2001:db8:0:1::1")
	at := now
	var waits []time.Duration
	for range 9 {
		ok, wait := o.Check(guesser, "operator", "guess", at)
		assert.False(t, ok)
		assert.Zero(t, wait)
		ok, wait = o.Check(netip.MustParseAddr("2001:db8::2"), "operator", "thermal", at)
		assert.False(t, ok, "the right one is not looked at either")
		waits = append(waits, wait)
		at = at.Add(wait)
	}
	const ms = time.Millisecond
	assert.Equal(t, []time.Duration{250 * ms, 500 * ms, 1000 * ms, 2000 * ms, 4000 * ms, 8000 * ms, 10_000 * ms, 10_000 * ms, 10_000 * ms}, waits)

	ok, _ := o.Check(other, "operator", "thermal", at.Add(-time.Second))
	assert.True(t, ok, "another network does not wait")
	ok, _ = o.Check(guesser, "operator", "thermal", at)
	assert.True(t, ok)
	_, wait := o.Check(guesser, "operator", "guess", at)
	assert.Zero(t, wait)
	_, wait = o.Check(guesser, "operator", "guess", at)
	assert.Equal(t, firstDelay, wait, "after the right one it begins anew")
	_, wait = o.Check(guesser, "operator", "guess", at.Add(forgetAfter+time.Second))
	assert.Zero(t, wait)
	_, wait = o.Check(guesser, "operator", "guess", at.Add(forgetAfter+time.Second))
	assert.Equal(t, firstDelay, wait, "after a while, too")
}

func TestOperator_RemembersSoManyAddresses(t *testing.T) {
	t.Parallel()
	o := NewOperator("operator", "thermal")
	for n := range uint32(3 * maxAddresses) {
		address := netip.AddrFrom4([4]byte(binary.BigEndian.AppendUint32(nil, n)))
		o.Check(address, "operator", "guess", now)
	}
	assert.LessOrEqual(t, len(o.failures), maxAddresses)
	ok, wait := o.Check(netip.Addr{}, "operator", "thermal", now)
	assert.True(t, ok, "%s", wait)
}
