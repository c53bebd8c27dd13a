package e2e

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/apidoc/apidoctest"
	"tracklane/internal/app"
	"tracklane/internal/devservers"
)

// A program that stops answers what it has begun to read, and its probes meanwhile.
func TestProgram_KeepsItsProbesUntilTheLanesAreDrained(t *testing.T) {
	t.Parallel()
	port, err := devservers.FreePort()
	require.NoError(t, err)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+servers.Database(t),
		"REDIS_URL="+servers.Redis(t).URL(), fmt.Sprint("OPERATOR_ADDR=127.0.0.1:", port))
	probe := func(path string) int {
		client := http.Client{Timeout: 5 * time.Second, Transport: apidoctest.Over(&http.Transport{DisableKeepAlives: true})}
		response, err := client.Get(fmt.Sprint("http://127.0.0.1:", port, path))
		if err != nil {
			return 0
		}
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Eventually(t, func() bool { return probe("/readyz") == http.StatusOK }, 20*time.Second, 20*time.Millisecond)

	address := strings.TrimPrefix(s.url, "http://")
	posting, err := net.Dial("tcp", address)
	require.NoError(t, err)
	defer posting.Close()
	body := flight("stop", 1)
	_, err = fmt.Fprintf(posting, "POST /live HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: %d\r\n\r\n", len(body))
	require.NoError(t, err)
	responses := bufio.NewReader(posting)
	line, err := responses.ReadString('\n') // it waits for the body then
	require.NoError(t, err)
	require.Contains(t, line, "100 Continue")

	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	require.Eventually(t, func() bool {
		connection, err := net.Dial("tcp", address)
		if err == nil {
			_ = connection.Close() // accepted while it was open still
		}
		return err != nil
	}, 5*time.Second, time.Millisecond, "HTTP_ADDR is closed")
	assert.Equal(t, http.StatusServiceUnavailable, probe("/readyz"))
	assert.Equal(t, http.StatusOK, probe("/livez"))

	_, err = fmt.Fprint(posting, body)
	require.NoError(t, err)
	_, err = responses.ReadString('\n') // the end of the 100
	require.NoError(t, err)
	response, err := http.ReadResponse(responses, nil)
	require.NoError(t, err)
	assert.Contains(t, []int{http.StatusAccepted, http.StatusCreated}, response.StatusCode)
	<-stopped
	assert.Zero(t, probe("/livez"), "OPERATOR_ADDR is closed")
}

// A program that a load balancer asks all the time serves clients until that has heard
// that it stops, and tells them to come again over another connection.
func TestProgram_ServesClientsUntilItsBalancerKnows(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	migrate(t, database)
	s := startServer(t, app.Roles{API: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL(), "SHUTDOWN_TIMEOUT=30s")
	client := http.Client{Timeout: 20 * time.Second, Transport: apidoctest.Over(&http.Transport{DisableKeepAlives: true})}
	ready := func() (code int) {
		response, err := client.Get(s.url + "/readyz")
		if err == nil {
			code = response.StatusCode
			require.NoError(t, response.Body.Close())
		}
		return code
	}
	times := 0
	require.Eventually(t, func() bool {
		if ready() == http.StatusOK {
			times++
		}
		return times == 2
	}, 20*time.Second, 20*time.Millisecond)

	stopped := make(chan struct{})
	go func() { s.stop(); close(stopped) }()
	require.Eventually(t, func() bool { return ready() != http.StatusOK }, 20*time.Second, time.Millisecond)
	response, err := http.Post(s.url+"/live", "application/json", strings.NewReader(flight("drain", 1)))
	require.NoError(t, err)
	require.NoError(t, response.Body.Close())
	assert.Contains(t, []int{http.StatusAccepted, http.StatusCreated}, response.StatusCode)
	assert.True(t, response.Close, "it is the last request of its connection")

	stream, err := http.Get(s.url + "/live/stream")
	require.NoError(t, err)
	defer stream.Body.Close()
	assert.Equal(t, http.StatusOK, stream.StatusCode)
	_, err = io.Copy(io.Discard, stream.Body)
	assert.NoError(t, err, "the stream ends in order")
	<-stopped
}
