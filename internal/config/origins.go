package config

import (
	"fmt"
	"net/url"
	"strings"
)

// Origins are those of web pages, each as a browser sends it in the header Origin:
// scheme, host, and the port unless it is the scheme's own.
type Origins []string

// UnmarshalText reads origins with commas between them. The error names the first
// that no browser would send.
func (o *Origins) UnmarshalText(text []byte) error {
	var read Origins
	for part := range strings.SplitSeq(string(text), ",") {
		part = strings.TrimSpace(part)
		if !isOrigin(part) {
			return fmt.Errorf("%q is not an origin", part)
		}
		read = append(read, part)
	}
	*o = read
	return nil
}

func isOrigin(text string) bool {
	parsed, err := url.Parse(text)
	if err != nil || text != parsed.Scheme+"://"+strings.ToLower(parsed.Host) || strings.Contains(text, "*") {
		return false // it has a user, a path, capitals, or stands for several
	}
	defaultPort := map[string]string{"http": "80", "https": "443"}[parsed.Scheme]
	return defaultPort != "" && parsed.Hostname() != "" && parsed.Port() != defaultPort && !strings.HasSuffix(parsed.Host, ":")
}
