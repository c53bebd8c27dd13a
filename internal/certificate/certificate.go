// Package certificate serves TLS with a certificate that can be replaced while
// connections come in.
package certificate

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// checkInterval is how often the files are looked at, at most: on a handshake.
const checkInterval = time.Second

// Files are a certificate and its key in PEM files, which are read again when they
// change. Any number of goroutines may use it at the same time.
type Files struct {
	certFile, keyFile string
	logger            *slog.Logger

	mu          sync.Mutex
	certificate *tls.Certificate
	version     version // of the files as they were read last, rightly or not
	checked     time.Time
}

// version tells two states of the files apart.
type version [2]struct {
	modified time.Time
	size     int64
}

// Load reads a certificate and its key. What goes wrong when they are read again is
// logged once for each change, and the last good pair is served.
func Load(certFile, keyFile string, logger *slog.Logger) (*Files, error) {
	f := &Files{certFile: certFile, keyFile: keyFile, logger: logger, checked: time.Now(), version: versionOf(certFile, keyFile)}
	pair, err := tls.LoadX509KeyPair(certFile, keyFile)
	if err != nil {
		return nil, fmt.Errorf("read the certificate %s and its key %s: %w", certFile, keyFile, err)
	}
	f.certificate = &pair
	return f, nil
}

// Config returns settings of a server that serves the certificate, with TLS 1.2 or
// newer.
func (f *Files) Config() *tls.Config {
	return &tls.Config{
		MinVersion: tls.VersionTLS12,
		NextProtos: []string{"h2", "http/1.1"},
		GetCertificate: func(*tls.ClientHelloInfo) (*tls.Certificate, error) {
			return f.current(time.Now()), nil
		},
	}
}

// current returns the certificate to serve, and reads it again first if the files
// have changed.
func (f *Files) current(now time.Time) *tls.Certificate {
	f.mu.Lock()
	defer f.mu.Unlock()
	if now.Sub(f.checked) < checkInterval {
		return f.certificate
	}
	f.checked = now
	found := versionOf(f.certFile, f.keyFile)
	if found == f.version {
		return f.certificate
	}
	f.version = found
	pair, err := tls.LoadX509KeyPair(f.certFile, f.keyFile)
	if err != nil {
		f.logger.Error("the new TLS certificate cannot be used; the old one stays", "certificate", f.certFile, "key", f.keyFile, "error", err)
		return f.certificate
	}
	f.logger.Info("a new TLS certificate is used", "certificate", f.certFile, "expires", pair.Leaf.NotAfter)
	f.certificate = &pair
	return f.certificate
}

// versionOf returns the version of the files; a file that cannot be looked at has
// the zero one.
func versionOf(files ...string) (found version) {
	for i, file := range files {
		if info, err := os.Stat(file); err == nil {
			found[i].modified, found[i].size = info.ModTime(), info.Size()
		}
	}
	return found
}
