package e2e

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/auth"
	"tracklane/internal/devservers"
)

const readingKey = "0123456789abcdef0123456789abcdef"

// readableServer is a program with an address of the operators' own.
type readableServer struct{ clients, operators string }

// startReadable starts one that holds three flights, of two pilots and races and of two
// lanes, with a fix each ten minutes until now.
func startReadable(t *testing.T) readableServer {
	t.Helper()
	port, err := devservers.FreePort()
	require.NoError(t, err)
	database := servers.Database(t)
	serve := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL(), patientWithRedis, "AUTH=on",
		"SECRET_KEY="+readingKey, "OPERATOR_PASSWORD=cloudbase", fmt.Sprint("OPERATOR_ADDR=127.0.0.1:", port))
	s := readableServer{serve.url, fmt.Sprint("http://127.0.0.1:", port)}
	now := time.Now().UTC()
	var points []string
	for i := range 10 {
		points = append(points, `{"datetime":"`+now.Add(time.Duration(i-9)*10*time.Minute).Format(time.RFC3339Nano)+`","lat":46.5,"lon":7.25,"elevation":1000}`)
	}
	for path, flight := range map[string]string{
		"/live": `"flight_id":"a/1","pilot_id":"anna","race_id":"cup"`, "/upload": `"flight_id":"a/1","pilot_id":"anna","race_id":"cup"`,
		"/live?": `"flight_id":"b","pilot_id":"bert","race_id":"open"`,
	} {
		got := post(t, s.clients+path, "application/json", `{`+flight+`,"track_points":[`+strings.Join(points, ",")+`]}`, s.token(t, auth.Claims{Scopes: []string{"live", "upload"}})...)
		require.Equal(t, 202, got.code, got.text)
	}
	pool := openDatabase(t, database)
	requireRows(t, pool, 20, `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, 10, `SELECT count(*) FROM uploaded_track_points`)
	return s
}

// token is a header with a token, for readers unless it has other scopes.
func (readableServer) token(t *testing.T, claims auth.Claims) []string {
	t.Helper()
	if claims.Scopes == nil {
		claims.Scopes = []string{"read"}
	}
	claims.Expires = time.Now().Add(time.Hour)
	token, err := auth.Sign(readingKey, claims, time.Now())
	require.NoError(t, err)
	return bearer(token)
}

func read(t *testing.T, address string, header []string) (code int, text string) {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	require.NoError(t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	return do(t, request)
}

// flightsOf are those that a list holds, with their lanes and numbers of points.
func flightsOf(t *testing.T, text string) (flights []string) {
	t.Helper()
	var list struct {
		Flights []struct {
			ID, Lane string
			Points   int
		}
	}
	require.NoError(t, json.Unmarshal([]byte(text), &list), text)
	for _, f := range list.Flights {
		flights = append(flights, fmt.Sprint(f.Lane, " ", f.ID, " ", f.Points))
	}
	return flights
}

// At either address a token reads what its claims leave, and no more: of another race
// or pilot, and of what is newer than its delay, there is nothing.
func TestReading_OfATokenIsTheSameAtBothAddresses(t *testing.T) {
	t.Parallel()
	s := startReadable(t)
	lines := func(points int) int { return points + 1 } // of CSV
	for name, c := range map[string]struct {
		claims     auth.Claims
		flights    []string
		aBad, bBad bool // the flights are not there
		points     int
	}{
		"everything":    {auth.Claims{}, []string{"live a/1 10", "live b 10", "upload a/1 10"}, false, false, 10},
		"a race":        {auth.Claims{Race: "cup"}, []string{"live a/1 10", "upload a/1 10"}, false, true, 10},
		"another race":  {auth.Claims{Race: "none"}, nil, true, true, 0},
		"a pilot":       {auth.Claims{Pilot: "bert"}, []string{"live b 10"}, true, false, 10},
		"pilot in race": {auth.Claims{Pilot: "bert", Race: "cup"}, nil, true, true, 0},
		"a delay":       {auth.Claims{Race: "open", Delay: 45 * time.Minute}, []string{"live b 5"}, true, false, 5},
		"a long delay":  {auth.Claims{Delay: 3 * time.Hour}, nil, true, true, 0},
	} {
		for _, base := range []string{s.clients, s.operators} {
			header := s.token(t, c.claims)
			code, text := read(t, base+"/flights", header)
			require.Equal(t, 200, code, "%s: %s", name, text)
			assert.ElementsMatch(t, c.flights, flightsOf(t, text), name)
			for path, bad := range map[string]bool{"/flights/a%2F1": c.aBad, "/flights/b": c.bBad} {
				want := map[bool]int{false: 200, true: 404}[bad]
				code, text := read(t, base+path, header)
				assert.Equal(t, want, code, "%s%s: %s", name, path, text)
				for _, query := range []string{"", "&race_id=cup&race_id=open", "&to=2099-01-01T00:00:00Z"} {
					code, text = read(t, base+path+"/track?format=csv"+query, header)
					if !strings.Contains(query, "race") || bad {
						assert.Equal(t, want, code, "%s%s: %s", name, path, text)
					}
					if code == 200 {
						assert.Equal(t, lines(c.points), strings.Count(text, "\n"), name+path)
					}
				}
			}
		}
	}
}

// Operators read at their own address alone, and their endpoints and the probes are
// nowhere else; lanes are for clients.
func TestReading_OfOperatorsIsAtTheirAddress(t *testing.T) {
	t.Parallel()
	s := startReadable(t)
	operator, reader := basic("operator", "cloudbase"), s.token(t, auth.Claims{})
	for path, c := range map[string]struct{ clients, operators int }{
		"/flights":                        {401, 200},
		"/flights/b":                      {401, 200},
		"/flights/b/track?format=igc":     {401, 200},
		"/flights/none":                   {401, 404},
		"/map":                            {401, 200},
		"/docs":                           {200, 200},
		"/openapi.json":                   {200, 200},
		"/health":                         {404, 200},
		"/livez":                          {404, 200},
		"/readyz":                         {404, 200},
		"/metrics":                        {404, 200},
		"/queue/status":                   {404, 200},
		"/":                               {404, 200},
		"/asynqmon":                       {404, 200},
		"/live/osmand?id=x&lat=46&lon=7.": {401, 404},
	} {
		code, _ := read(t, s.clients+path, operator)
		assert.Equal(t, c.clients, code, "clients' "+path)
		code, _ = read(t, s.operators+path, operator)
		assert.Equal(t, c.operators, code, "operators' "+path)
		if c.clients == 404 {
			code, _ = read(t, s.operators+path, reader)
			assert.Equal(t, map[bool]int{true: 200, false: 401}[path == "/health" || path == "/livez" || path == "/readyz"], code, "a reader at operators' "+path)
		}
	}
	_, text := read(t, s.operators+"/flights", operator)
	assert.ElementsMatch(t, []string{"live a/1 10", "live b 10", "upload a/1 10"}, flightsOf(t, text))
	for _, base := range []string{s.clients, s.operators} {
		for _, path := range []string{"/flights", "/flights/b", "/flights/b/track", "/live/stream", "/map"} {
			code, _ := read(t, base+path, nil)
			assert.Equal(t, 401, code, base+path)
			code, _ = read(t, base+path, s.token(t, auth.Claims{Scopes: []string{"live"}}))
			assert.Equal(t, 403, code, base+path)
		}
	}
	assert.Equal(t, 404, post(t, s.operators+"/live", "application/json", flight("f", 1)).code)
}
