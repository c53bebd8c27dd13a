package config

import (
	"fmt"
	"net/netip"
	"strings"
)

// Networks are IP networks; a single address is one of its own.
type Networks []netip.Prefix

// UnmarshalText reads networks and addresses with commas between them. The error
// names the first that is neither.
func (n *Networks) UnmarshalText(text []byte) error {
	var read Networks
	for part := range strings.SplitSeq(string(text), ",") {
		part = strings.TrimSpace(part)
		if prefix, err := netip.ParsePrefix(part); err == nil {
			read = append(read, prefix.Masked())
			continue
		}
		address, err := netip.ParseAddr(part)
		if err != nil {
			return fmt.Errorf("%q is neither a network nor an address", part)
		}
		read = append(read, netip.PrefixFrom(address, address.BitLen()))
	}
	*n = read
	return nil
}
