package network

import (
	"net/netip"
	"testing"

	"github.com/stretchr/testify/assert"
)

func TestOfClient(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"192.0.2.7":            "192.0.2.7/32",
		"::ffff:192.0.2.7":     "192.0.2.7/32",
		"2001:db8::1":          "2001:db8::/64",
		"2001:db8:0:0:1::2":    "2001:db8::/64",
		"2001:db8:0:1::1":      "2001:db8:0:1::/64",
		"fe80::1%eth0":         "fe80::/64",
		"2001:db8:1:2:3:4:5:6": "2001:db8:1:2::/64",
		"::1":                  "::/64",
		"::ffff:127.0.0.1%lo0": "127.0.0.1/32",
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, netip.MustParsePrefix(want), OfClient(netip.MustParseAddr(address)))
		})
	}
	assert.Equal(t, netip.Prefix{}, OfClient(netip.Addr{}))
}

func TestContains(t *testing.T) {
	t.Parallel()
	networks := []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("2001:db8::/32")}
	for address, want := range map[string]bool{
		"10.255.0.1": true, "::ffff:10.1.2.3": true, "2001:db8::1": true, "11.0.0.1": false, "2001:db9::1": false,
	} {
		t.Run(address, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, want, Contains(networks, netip.MustParseAddr(address)))
		})
	}
	assert.False(t, Contains(nil, netip.MustParseAddr("10.0.0.1")))
}
