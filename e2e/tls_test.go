package e2e

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"fmt"
	"math/big"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/devservers"
)

// authority is a certification authority of a test.
type authority struct {
	file        string // its certificate, in PEM
	certificate *x509.Certificate
	key         *ecdsa.PrivateKey
}

func newAuthority(t *testing.T) authority {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	a := authority{key: key, file: filepath.Join(t.TempDir(), "ca.pem"), certificate: &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: t.Name()}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage: x509.KeyUsageCertSign, NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}}
	der, err := x509.CreateCertificate(rand.Reader, a.certificate, a.certificate, key.Public(), key)
	require.NoError(t, err)
	writePEM(t, a.file, "CERTIFICATE", der)
	return a
}

// issue writes a certificate for 127.0.0.1, and its key, into files of a directory.
func (a authority) issue(t *testing.T, dir string) (certFile, keyFile string) {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	require.NoError(t, err)
	template := &x509.Certificate{
		SerialNumber: big.NewInt(2), IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour),
	}
	der, err := x509.CreateCertificate(rand.Reader, template, a.certificate, key.Public(), a.key)
	require.NoError(t, err)
	private, err := x509.MarshalPKCS8PrivateKey(key)
	require.NoError(t, err)
	certFile, keyFile = filepath.Join(dir, "tls.pem"), filepath.Join(dir, "tls-key.pem")
	writePEM(t, certFile, "CERTIFICATE", der)
	writePEM(t, keyFile, "PRIVATE KEY", private)
	return certFile, keyFile
}

func writePEM(t *testing.T, file, kind string, der []byte) {
	t.Helper()
	require.NoError(t, os.WriteFile(file, pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der}), 0o600))
}

// startSecurePostgres starts a PostgreSQL with ssl on.
func startSecurePostgres(t *testing.T, a authority) *devservers.Postgres {
	t.Helper()
	postgres := servers.Postgres(t, devservers.PostgresOptions{Durable: true})
	certFile, keyFile := a.issue(t, postgres.Dir())
	info, err := os.Stat(postgres.Dir())
	require.NoError(t, err)
	for _, file := range []string{certFile, keyFile} { // the server's user reads them
		require.NoError(t, os.Chown(file, int(info.Sys().(*syscall.Stat_t).Uid), -1))
	}
	pool := openDatabase(t, postgres.DSN())
	for _, statement := range []string{
		`ALTER SYSTEM SET ssl_cert_file = 'tls.pem'`, `ALTER SYSTEM SET ssl_key_file = 'tls-key.pem'`, `ALTER SYSTEM SET ssl = on`, `SELECT pg_reload_conf()`,
	} {
		_, err := pool.Exec(t.Context(), statement)
		require.NoError(t, err)
	}
	requireRows(t, openDatabase(t, strings.Replace(postgres.DSN(), "sslmode=disable", "sslmode=require", 1)), 1, `SELECT 1`)
	return postgres
}

// startSecureRedis starts a Redis with a port for TLS; ok is false where there is
// none that can.
func startSecureRedis(t *testing.T, a authority) (port int, ok bool) {
	t.Helper()
	port, err := devservers.FreePort()
	require.NoError(t, err)
	certFile, keyFile := a.issue(t, t.TempDir())
	redis := servers.Redis(t, "--tls-port", fmt.Sprint(port), "--tls-cert-file", certFile, "--tls-key-file", keyFile,
		"--tls-ca-cert-file", a.file, "--tls-auth-clients", "no")
	return port, !redis.InMemory()
}

// secureURLs are those of servers that a program is to reach under a host's name.
func secureURLs(t *testing.T, host string, postgres *devservers.Postgres, redisPort int, authorityFile string) []string {
	t.Helper()
	database, err := url.Parse(postgres.DSN())
	require.NoError(t, err)
	database.Host = net.JoinHostPort(host, database.Port())
	database.RawQuery = url.Values{"sslmode": {"verify-full"}, "sslrootcert": {authorityFile}}.Encode()
	return []string{
		"DATABASE_URL=" + database.String(), "SSL_CERT_FILE=" + authorityFile,
		"REDIS_URL=rediss://" + net.JoinHostPort(host, fmt.Sprint(redisPort)) + "/0",
	}
}

func TestTLS_ToRedisAndPostgreSQL(t *testing.T) {
	t.Parallel()
	a := newAuthority(t)
	port, ok := startSecureRedis(t, a)
	if !ok {
		return
	}
	postgres := startSecurePostgres(t, a)
	s := startProcess(t, "serve", secureURLs(t, "127.0.0.1", postgres, port, a.file)...)
	pool := openDatabase(t, postgres.DSN())
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	require.Eventually(t, func() bool {
		return postJSON(t, s.url+"/live", flight("f", 1)).code == http.StatusAccepted
	}, 20*time.Second, 50*time.Millisecond)
	requireRows(t, pool, 1, `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, 0, `SELECT count(*) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid) WHERE application_name = 'tracklane' AND NOT ssl`)
	in := &installation{api: s.url}
	require.Eventually(t, func() bool { return in.health(t).Status == "healthy" }, 20*time.Second, 50*time.Millisecond)
}

func TestTLS_NamesWhoseCertificateIsNotAccepted(t *testing.T) {
	t.Parallel()
	a, other := newAuthority(t), newAuthority(t)
	port, ok := startSecureRedis(t, a)
	if !ok {
		return
	}
	postgres := startSecurePostgres(t, a)
	for name, c := range map[string]struct{ host, file, reason string }{
		"another authority's": {"127.0.0.1", other.file, "certificate signed by unknown authority"},
		"another host's":      {"localhost", a.file, "localhost"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := startProcess(t, "serve", secureURLs(t, c.host, postgres, port, c.file)...)
			assert.Equal(t, http.StatusServiceUnavailable, postJSON(t, s.url+"/live", flight("f", 1)).code)
			in := &installation{api: s.url}
			var reasons string
			require.Eventually(t, func() bool {
				health := in.health(t)
				reasons = strings.Join(health.Reasons, "\n")
				return health.Status == "unhealthy" && strings.Count(reasons, "is not accepted: x509: ") == 2
			}, 20*time.Second, 50*time.Millisecond, "%s", &reasons)
			assert.Contains(t, reasons, "The TLS certificate of Redis is not accepted")
			assert.Contains(t, reasons, "The TLS certificate of the database is not accepted")
			assert.Equal(t, 2, strings.Count(reasons, c.reason), reasons)
		})
	}
}
