package app

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/config"
)

func TestCheckReady_AsksTheProcessOfThisMachine(t *testing.T) {
	t.Parallel()
	code := http.StatusOK
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/readyz" {
			code = http.StatusNotFound
		}
		w.WriteHeader(code)
	}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "http://")
	port := address[strings.LastIndex(address, ":"):]
	for _, address := range []string{address, port, "0.0.0.0" + port, "[::]" + port, "localhost" + port} {
		t.Run(address, func(t *testing.T) {
			code = http.StatusOK
			assert.NoError(t, CheckReady(t.Context(), config.Config{HTTPAddr: address}))
			code = http.StatusServiceUnavailable
			assert.ErrorContains(t, CheckReady(t.Context(), config.Config{HTTPAddr: address}), "503")
		})
	}
	assert.Error(t, CheckReady(t.Context(), config.Config{HTTPAddr: address, OperatorAddr: "127.0.0.1:1"}))
	code = http.StatusOK
	assert.NoError(t, CheckReady(t.Context(), config.Config{HTTPAddr: "127.0.0.1:1", OperatorAddr: address}))
	server.Close()
	assert.ErrorContains(t, CheckReady(t.Context(), config.Config{HTTPAddr: address}), "refused")
	assert.ErrorContains(t, CheckReady(t.Context(), config.Config{HTTPAddr: "8080"}), "HTTP_ADDR")
}

func TestCheckReady_AsksOverTLS(t *testing.T) {
	t.Parallel()
	server := httptest.NewTLSServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	address := strings.TrimPrefix(server.URL, "https://")
	assert.NoError(t, CheckReady(t.Context(), config.Config{HTTPAddr: address, TLSCertFile: "cert.pem"}))
	assert.Error(t, CheckReady(t.Context(), config.Config{HTTPAddr: address}))
}
