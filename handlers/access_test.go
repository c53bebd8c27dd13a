package handlers

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/network"
)

const testKey = "the key of these tests, 32 letters or more"

// lockedServer is a server with tokens and an operators' password.
func lockedServer(t *testing.T, options lane.Options) (url string, pool *pgxpool.Pool) {
	t.Helper()
	s, _, pool := newTestServer(t, lane.All(options))
	config := s.config
	config.Access = Access{
		Tokens: auth.NewVerifier(testKey, ""), Operator: auth.NewOperator("operator", "cloudbase"),
		TrustedProxies: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, Hosts: []string{"tracklane.example"},
	}
	server := httptest.NewServer(New(config))
	t.Cleanup(server.Close)
	return server.URL, pool
}

// token is one for a pilot of a race that allows a scope.
func token(t *testing.T, pilot, race string, scopes ...string) string {
	t.Helper()
	now := time.Now()
	token, err := auth.Sign(testKey, auth.Claims{Pilot: pilot, Race: race, Scopes: scopes, Expires: now.Add(time.Hour)}, now)
	require.NoError(t, err)
	return token
}

// onePoint is a request for the lanes live and upload.
func onePoint(members string) string {
	return `{` + members + `"flight_id":"f","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2}]}`
}

func TestAccess_TakesATokenFromEachPlace(t *testing.T) {
	t.Parallel()
	base, _ := lockedServer(t, lane.Options{})
	good, bad := token(t, "anna", "", "live"), token(t, "anna", "", "read")
	basic := func(password string) string {
		r := httptest.NewRequest(http.MethodPost, "/", nil)
		r.SetBasicAuth("anyone", password)
		return r.Header.Get("Authorization")
	}
	for name, place := range map[string]func(token string) (path string, header []string){
		"bearer": func(token string) (string, []string) { return "/live", []string{"Authorization", "Bearer " + token} },
		"BEARER": func(token string) (string, []string) { return "/live", []string{"Authorization", "BEARER " + token} },
		"basic":  func(token string) (string, []string) { return "/live", []string{"Authorization", basic(token)} },
		"query":  func(token string) (string, []string) { return "/live?token=" + url.QueryEscape(token), nil },
		"path":   func(token string) (string, []string) { return "/t/" + url.PathEscape(token) + "/live", nil },
		"path, with a user alone": func(token string) (string, []string) {
			return "/t/" + url.PathEscape(token) + "/live", []string{"Authorization", basic("")}
		},
		"encoded": func(token string) (string, []string) {
			return "/t/" + strings.ReplaceAll(token, ".", "%2E") + "/live", nil
		},
	} {
		t.Run(name, func(t *testing.T) {
			for _, c := range []struct {
				token string
				code  int
			}{{good, 201}, {bad, 403}, {good + "x", 401}, {"x", 401}} {
				path, header := place(c.token)
				got := send(t, http.MethodPost, base+path, strings.NewReader(onePoint("")), header...)
				assert.Equal(t, c.code, got.code, got.text)
				assert.NotContains(t, got.text, c.token+`"`)
				assert.Equal(t, c.code == 401, got.header.Get("WWW-Authenticate") != "")
			}
		})
	}
	assert.Equal(t, 404, send(t, http.MethodPost, base+"/t/"+good+"/live/", nil).code, "a redirect would lose the token")
	none := send(t, http.MethodPost, base+"/live", strings.NewReader(onePoint("")))
	assert.Equal(t, 401, none.code)
	assert.Contains(t, none.text, "Authorization: Bearer")
	assert.Equal(t, 405, send(t, http.MethodPost, base+"/t/"+good, nil).code, "a token alone leads to /")
}

func TestAccess_RowsAreTheTokensPilotsAndRaces(t *testing.T) {
	t.Parallel()
	base, pool := lockedServer(t, lane.Options{})
	post := func(token, members string) response {
		return send(t, http.MethodPost, base+"/live", strings.NewReader(onePoint(members)), "Authorization", "Bearer "+token)
	}
	anna := token(t, "anna", "cup", "live")
	assert.Equal(t, 403, post(anna, `"pilot_id":"bert",`).code)
	assert.Equal(t, 403, post(anna, `"race_id":"other",`).code)
	assert.Empty(t, pilots(t, pool))
	assert.Equal(t, 201, post(anna, "").code)
	assert.Equal(t, []string{"anna of cup"}, pilots(t, pool))
	assert.Equal(t, 201, post(anna, `"pilot_id":"anna",`).code)

	_, err := pool.Exec(t.Context(), `DELETE FROM live_track_points`)
	require.NoError(t, err)
	relay := token(t, "", "", "live")
	assert.Equal(t, 201, post(relay, `"pilot_id":"bert","race_id":"other",`).code)
	assert.Equal(t, []string{"bert of other"}, pilots(t, pool))
}

func pilots(t *testing.T, pool *pgxpool.Pool) (names []string) {
	t.Helper()
	rows, err := pool.Query(context.Background(), `SELECT pilot_id || ' of ' || race_id FROM live_track_points`)
	require.NoError(t, err)
	for rows.Next() {
		var name string
		require.NoError(t, rows.Scan(&name))
		names = append(names, name)
	}
	require.NoError(t, rows.Err())
	return names
}

func TestAccess_ADeviceWithAKeyNeedsNoToken(t *testing.T) {
	t.Parallel()
	file := func(secret string) string {
		return "12345," + lane.FlymasterKey(12345, secret) + "\n1783958400,1783958399,46.5,7.25,1234,11.5,270\nEOF\n"
	}
	base, _ := lockedServer(t, lane.Options{FlymasterSecret: "s"})
	assert.Equal(t, 201, send(t, http.MethodPost, base+"/flymaster", strings.NewReader(file("s"))).code)
	assert.Equal(t, 403, send(t, http.MethodPost, base+"/flymaster", strings.NewReader(file("t"))).code)

	unchecked, _ := lockedServer(t, lane.Options{})
	refused := send(t, http.MethodPost, unchecked+"/flymaster", strings.NewReader(file("s")))
	assert.Equal(t, 401, refused.code)
	assert.Equal(t, "NOK", refused.text)
	path := "/t/" + token(t, "", "", "flymaster") + "/flymaster"
	assert.Equal(t, 201, send(t, http.MethodPost, unchecked+path, strings.NewReader(file("s"))).code)
}

func TestAccess_OperatorsLogIn(t *testing.T) {
	t.Parallel()
	base, _ := lockedServer(t, lane.Options{})
	login := func(user, password string) []string {
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.SetBasicAuth(user, password)
		return []string{"Authorization", r.Header.Get("Authorization")}
	}
	right := login("operator", "cloudbase")
	for _, path := range []string{
		"/", "/page/page.css", "/events", "/metrics", "/queue/status", "/asynqmon", "/asynqmon/api/queues",
	} {
		t.Run(path, func(t *testing.T) {
			got := send(t, http.MethodGet, base+path, nil)
			assert.Equal(t, 401, got.code)
			assert.Contains(t, got.header.Get("WWW-Authenticate"), "Basic")
			token := token(t, "", "", auth.Scopes()...)
			assert.Equal(t, 401, send(t, http.MethodGet, base+path, nil, "Authorization", "Bearer "+token).code)
			assert.Equal(t, 401, send(t, http.MethodGet, base+"/t/"+token+path, nil).code)
			if path != "/events" { // which never ends
				assert.NotContains(t, []int{401, 403, 429}, send(t, http.MethodGet, base+path, nil, right...).code)
			}
		})
	}
	for _, path := range []string{"/livez", "/readyz"} {
		assert.NotEqual(t, 401, send(t, http.MethodGet, base+path, nil).code, path)
	}
	assert.Regexp(t, `^\{"status":"[a-z]+"\}\s*$`, send(t, http.MethodGet, base+"/health", nil).text)
	assert.Contains(t, send(t, http.MethodGet, base+"/health", nil, right...).text, "reasons")
	assert.NotContains(t, []int{401, 403}, send(t, http.MethodGet, base+"/health", nil, "Authorization", "Bearer x").code)

	// Last, since the address has to wait then.
	assert.Equal(t, 401, send(t, http.MethodGet, base+"/health", nil, login("operator", "wrong")...).code)
	waits := send(t, http.MethodGet, base+"/metrics", nil, right...)
	assert.Equal(t, 429, waits.code)
	assert.Equal(t, "1", waits.header.Get("Retry-After"))
}

func TestAccess_ChangesQueuesForNamesOfThisServerAlone(t *testing.T) {
	t.Parallel()
	access := Access{Hosts: []string{"tracklane.example"}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}}
	for host, own := range map[string]bool{
		"tracklane.example": true, "Tracklane.Example.:8080": true, "localhost:8080": true, "127.0.0.1:8080": true,
		"[::1]:8080": true, "[::1]": true, "192.0.2.1": true,
		"": false, "evil.example": false, "evil.example:8080": false, "tracklane.example.evil.example": false,
		"127.0.0.1.evil.example": false, "localhost.evil.example": false,
	} {
		t.Run(host, func(t *testing.T) {
			t.Parallel()
			assert.Equal(t, own, access.isOwnHost(host))
		})
	}
	assert.True(t, network.Contains(access.TrustedProxies, netip.MustParseAddr("::ffff:10.1.2.3")))
	assert.False(t, network.Contains(access.TrustedProxies, netip.MustParseAddr("192.0.2.1")))
}

func TestAccess_RefusesChangesForAnotherHostName(t *testing.T) {
	t.Parallel()
	s, base, _ := newTestServer(t, lane.All(lane.Options{}))
	post := func(host string) int {
		request, err := http.NewRequest(http.MethodPost, base+"/asynqmon/api/queues/live:pause", nil)
		require.NoError(t, err)
		request.Host = host
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	assert.Equal(t, 403, post("evil.example"))
	assert.NotEqual(t, 403, post(""), "the server's own address")
	assert.Nil(t, s.config.Access.Tokens)
}

func TestServer_ServesOperatorsApart(t *testing.T) {
	t.Parallel()
	s, together, _ := newTestServer(t, lane.All(lane.Options{}))
	assert.Nil(t, s.Operators())
	config := s.config
	config.OperatorsApart = true
	apart := New(config)
	public, operators := httptest.NewServer(apart), httptest.NewServer(apart.Operators())
	t.Cleanup(public.Close)
	t.Cleanup(operators.Close)
	for _, path := range []string{"/", "/page/page.css", "/asynqmon", "/queue/status", "/metrics", "/health", "/livez", "/readyz"} {
		t.Run(path, func(t *testing.T) {
			want := send(t, http.MethodGet, together+path, nil).code
			assert.NotEqual(t, 404, want)
			assert.Equal(t, want, send(t, http.MethodGet, operators.URL+path, nil).code)
			assert.Equal(t, 404, send(t, http.MethodGet, public.URL+path, nil).code)
		})
	}
	body := func() io.Reader { return strings.NewReader(onePoint("")) }
	assert.Equal(t, 201, send(t, http.MethodPost, public.URL+"/live", body()).code)
	assert.Equal(t, 404, send(t, http.MethodPost, operators.URL+"/live", body()).code)
}

// Whoever has no key is refused before the rest of his file has come.
func TestAccess_ChecksADevicesKeyByItsFirstLine(t *testing.T) {
	t.Parallel()
	const secret = "a secret"
	base, _ := lockedServer(t, lane.Options{FlymasterSecret: secret})
	address, err := url.Parse(base)
	require.NoError(t, err)
	good := "7," + lane.FlymasterKey(7, secret) + "\n"
	for name, c := range map[string]struct {
		header, start string
		want          int // 0 = the rest is waited for
	}{
		"a wrong key":           {"", "7,0123\n", 403},
		"a key of another":      {"", "8," + lane.FlymasterKey(7, secret) + "\n", 403},
		"no key at all":         {"", strings.Repeat("x", freeBody), 400},
		"in a form":             {"Content-Type: multipart/form-data; boundary=b\r\n", "--b\r\nContent-Disposition: form-data; name=\"file\"\r\n\r\n7,0123\n" + strings.Repeat("x", 2*freeBody), 403},
		"a form without a file": {"Content-Type: multipart/form-data; boundary=b\r\n", "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n" + strings.Repeat("x", 2*maxBeforeFile), 400},
		"the right key":         {"", good, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			connection, err := net.Dial("tcp", address.Host)
			require.NoError(t, err)
			defer connection.Close()
			_, err = fmt.Fprintf(connection, "POST /flymaster HTTP/1.1\r\nHost: x\r\n%sContent-Length: 16000000\r\n\r\n%s", c.header, c.start)
			require.NoError(t, err)
			patience := 10 * time.Second
			if c.want == 0 {
				patience = 100 * time.Millisecond
			}
			require.NoError(t, connection.SetReadDeadline(time.Now().Add(patience)))
			response, err := http.ReadResponse(bufio.NewReader(connection), nil)
			if c.want == 0 {
				require.ErrorIs(t, err, os.ErrDeadlineExceeded)
				return
			}
			require.NoError(t, err)
			assert.Equal(t, c.want, response.StatusCode)
		})
	}
}

func TestServer_RefusesManyHeaderFields(t *testing.T) {
	t.Parallel()
	_, base, _ := newTestServer(t, lane.All(lane.Options{}))
	var fields []string
	for i := range maxHeaderFields {
		fields = append(fields, fmt.Sprint("X-", i), "")
	}
	assert.Equal(t, http.StatusOK, send(t, http.MethodGet, base+"/livez", nil, fields[:maxHeaderFields]...).code)
	assert.Equal(t, http.StatusRequestHeaderFieldsTooLarge, send(t, http.MethodGet, base+"/livez", nil, fields...).code)
}

// Over HTTP/2, a few connections make as many requests as they like, so that these are
// bounded, too.
func TestServer_BoundsTheStreamsOfAnAddress(t *testing.T) {
	t.Parallel()
	s, _, _ := newTestServer(t, lane.All(lane.Options{}))
	s.config.Access.MaxPerAddress = 2
	server := httptest.NewUnstartedServer(s)
	server.EnableHTTP2 = true
	server.StartTLS()
	t.Cleanup(server.Close)
	post := func(body io.Reader) int {
		response, err := server.Client().Post(server.URL+"/live", "application/json", body)
		if !assert.NoError(t, err) {
			return 0
		}
		assert.Equal(t, 2, response.ProtoMajor)
		assert.NoError(t, response.Body.Close())
		return response.StatusCode
	}
	require.Equal(t, http.StatusCreated, post(strings.NewReader(padded("a", 10))), "the others share its connection")
	var slow sync.WaitGroup
	var unfinished []io.Closer
	for range s.config.Access.MaxPerAddress {
		body, end := io.Pipe()
		slow.Go(func() { post(body) })
		unfinished = append(unfinished, end)
	}
	require.Eventually(t, func() bool { return s.underWay.Load() == 2 }, 20*time.Second, time.Millisecond)
	assert.Equal(t, http.StatusServiceUnavailable, post(strings.NewReader(padded("a", 10))))
	for _, end := range unfinished {
		require.NoError(t, end.Close())
	}
	slow.Wait()
	assert.Equal(t, http.StatusCreated, post(strings.NewReader(padded("a", 10))))
	s.streams.Store(maxStreams)
	assert.Equal(t, http.StatusServiceUnavailable, post(strings.NewReader(padded("b", 10))), "from any address")
}

func TestServer_LogsAPanicWithoutTheToken(t *testing.T) {
	t.Parallel()
	lanes := lane.All(lane.Options{})
	lanes[1].Decode = func([]byte, lane.DecodeOptions) (lane.Decoded, error) { panic("a mistake") }
	s, _, _ := newTestServer(t, lanes)
	var logged bytes.Buffer
	config := s.config
	config.Logger = slog.New(slog.NewJSONHandler(&logged, nil))
	config.Access.Tokens = auth.NewVerifier(testKey, "")
	secret := token(t, "anna", "", "upload")
	for _, request := range []*http.Request{
		httptest.NewRequest(http.MethodPost, "/t/"+secret+"/upload", strings.NewReader(onePoint(""))),
		httptest.NewRequest(http.MethodPost, "/upload?token="+secret, strings.NewReader(onePoint(""))),
	} {
		recorder := httptest.NewRecorder()
		New(config).ServeHTTP(recorder, request)
		assert.Equal(t, http.StatusInternalServerError, recorder.Code)
		assert.NotContains(t, recorder.Body.String(), secret)
	}
	assert.Contains(t, logged.String(), "a mistake")
	assert.NotContains(t, logged.String(), secret)
}
