// Package network tells clients apart by their addresses.
package network

import (
	"net/netip"
	"slices"
)

// OfClient returns the network that one client has for itself: its IPv4 address, or
// the /64 of its IPv6 address. An IPv4 address that is mapped to IPv6 is itself. What
// is no address has the zero Prefix.
func OfClient(address netip.Addr) netip.Prefix {
	address = address.Unmap().WithZone("")
	bits := address.BitLen()
	if address.Is6() {
		bits = 64
	}
	prefix, err := address.Prefix(bits)
	if err != nil {
		return netip.Prefix{}
	}
	return prefix
}

// Contains reports whether an address is in one of the networks. An IPv4 address
// that is mapped to IPv6 is itself.
func Contains(networks []netip.Prefix, address netip.Addr) bool {
	return slices.ContainsFunc(networks, func(n netip.Prefix) bool { return n.Contains(address.Unmap()) })
}
