package certificate

import (
	"bytes"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// write writes a new certificate with a name, and its key.
func write(t *testing.T, certFile, keyFile, name string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
	require.NoError(t, err)
	secret, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	require.NoError(t, os.WriteFile(certFile, pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der}), 0o600))
	require.NoError(t, os.WriteFile(keyFile, pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: secret}), 0o600))
}

// handshake returns the name in the certificate that a server with config serves.
func handshake(t *testing.T, config *tls.Config, version uint16) (string, error) {
	t.Helper()
	l, err := tls.Listen("tcp", "127.0.0.1:0", config)
	require.NoError(t, err)
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			_ = c.(*tls.Conn).Handshake() // the client sees it fail, too
			_ = c.Close()
		}
	}()
	raw, err := net.Dial("tcp", l.Addr().String())
	require.NoError(t, err)
	defer raw.Close()
	// The test tells the certificates apart by their names.
	client := tls.Client(raw, &tls.Config{InsecureSkipVerify: true, MaxVersion: version, MinVersion: tls.VersionTLS10})
	if err := client.Handshake(); err != nil {
		return "", err
	}
	return client.ConnectionState().PeerCertificates[0].Subject.CommonName, nil
}

func TestFiles_AreReadAgainWhenTheyChange(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	certFile, keyFile := filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem")
	write(t, certFile, keyFile, "first")
	var log bytes.Buffer
	files, err := Load(certFile, keyFile, slog.New(slog.NewTextHandler(&log, nil)))
	require.NoError(t, err)
	config := files.Config()
	serves := func(want string) {
		t.Helper()
		files.mu.Lock()
		files.checked = time.Now().Add(-checkInterval)
		files.mu.Unlock()
		for range 2 { // the second within the interval
			name, err := handshake(t, config, tls.VersionTLS13)
			require.NoError(t, err)
			assert.Equal(t, want, name)
		}
	}
	serves("first")

	require.NoError(t, os.WriteFile(certFile, []byte("half"), 0o600))
	serves("first")
	serves("first")
	assert.Equal(t, 1, strings.Count(log.String(), "the old one stays"))

	write(t, certFile, keyFile, "second")
	serves("second")
	require.NoError(t, os.Remove(keyFile))
	serves("second")
	assert.Equal(t, 2, strings.Count(log.String(), "the old one stays"))
	assert.NotContains(t, log.String(), "PRIVATE")
}

func TestFiles_AreServedFromTLS12(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	certFile, keyFile := filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem")
	write(t, certFile, keyFile, "test")
	files, err := Load(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.NoError(t, err)
	name, err := handshake(t, files.Config(), tls.VersionTLS12)
	require.NoError(t, err)
	assert.Equal(t, "test", name)
	_, err = handshake(t, files.Config(), tls.VersionTLS11)
	assert.ErrorContains(t, err, "protocol version")
}

func TestLoad_SaysWhatIsWrongInOneLine(t *testing.T) {
	t.Parallel()
	directory := t.TempDir()
	certFile, keyFile := filepath.Join(directory, "cert.pem"), filepath.Join(directory, "key.pem")
	_, err := Load(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, certFile)
	write(t, certFile, keyFile, "one")
	write(t, certFile, filepath.Join(directory, "other.pem"), "two")
	_, err = Load(certFile, keyFile, slog.New(slog.DiscardHandler))
	require.ErrorContains(t, err, "private key does not match")
	assert.NotContains(t, err.Error(), "\n")
}
