package app

import (
	"context"
	"crypto/tls"
	"fmt"
	"net"
	"net/http"
	"time"

	"tracklane/internal/config"
)

// readyTimeout limits a check.
const readyTimeout = 3 * time.Second

// scheme is that of the URLs of a process with these settings.
func scheme(c config.Config) string {
	if c.TLSCertFile != "" {
		return "https"
	}
	return "http"
}

// CheckReady asks the process of this machine that runs with these settings
// whether it is ready. It returns nil if the process says so within 3 s.
func CheckReady(ctx context.Context, c config.Config) error {
	address, name := c.HTTPAddr, "HTTP_ADDR"
	if c.OperatorAddr != "" {
		address, name = c.OperatorAddr, "OPERATOR_ADDR"
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return fmt.Errorf("read %s: %w", name, err)
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "localhost"
	}
	ctx, cancel := context.WithTimeout(ctx, readyTimeout)
	defer cancel()
	url := scheme(c) + "://" + net.JoinHostPort(host, port) + "/readyz"
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	// The certificate is for the name by which clients know this machine. Nothing
	// is told to the process, and it is only asked whether it is ready.
	client := &http.Client{Transport: &http.Transport{
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, DisableKeepAlives: true,
	}}
	response, err := client.Do(request)
	if err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	if err := response.Body.Close(); err != nil {
		return fmt.Errorf("ask %s: %w", url, err)
	}
	if response.StatusCode != http.StatusOK {
		return fmt.Errorf("%s: %s", url, response.Status)
	}
	return nil
}
