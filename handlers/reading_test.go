package handlers

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/mappage"
)

const readingKey = "0123456789abcdef0123456789abcdef"

// newReadingServer serves two flights of two pilots and races, of one point a minute
// until now.
func newReadingServer(t *testing.T) (url string) {
	t.Helper()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	now := time.Now().UTC()
	for _, flight := range []string{`"flight_id":"a/1","pilot_id":"anna","race_id":"cup"`, `"flight_id":"b","pilot_id":"bert","race_id":"open"`} {
		var points []string
		for i := range 10 {
			points = append(points, `{"datetime":"`+now.Add(time.Duration(i-9)*time.Minute).Format(time.RFC3339Nano)+`","lat":46.5,"lon":7.25,"elevation":1000}`)
		}
		got := send(t, http.MethodPost, url+"/live", strings.NewReader(`{`+flight+`,"track_points":[`+strings.Join(points, ",")+`]}`), "Content-Type", "application/json")
		require.Equal(t, http.StatusCreated, got.code, got.text)
	}
	s.config.Access.Tokens = auth.NewVerifier(readingKey, "")
	s.config.Access.Operator = auth.NewOperator("operator", "cloudbase")
	return url
}

func readToken(t *testing.T, claims auth.Claims) string {
	t.Helper()
	if claims.Scopes == nil {
		claims.Scopes = []string{"read"}
	}
	claims.Expires = time.Now().Add(time.Hour)
	token, err := auth.Sign(readingKey, claims, time.Now())
	require.NoError(t, err)
	return token
}

func readList(t *testing.T, url string, header ...string) (ids []string, list flightList) {
	t.Helper()
	got := send(t, http.MethodGet, url, nil, header...)
	require.Equal(t, http.StatusOK, got.code, got.text)
	require.NoError(t, json.Unmarshal([]byte(got.text), &list))
	for _, f := range list.Flights {
		ids = append(ids, f.ID)
	}
	return ids, list
}

func TestReading_ShowsATokenItsOwnRaceAndPilotOnly(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	for name, c := range map[string]struct {
		claims auth.Claims
		ids    []string
	}{
		"everything":    {auth.Claims{}, []string{"b", "a/1"}},
		"a race":        {auth.Claims{Race: "cup"}, []string{"a/1"}},
		"a pilot":       {auth.Claims{Pilot: "bert"}, []string{"b"}},
		"another race":  {auth.Claims{Race: "none"}, nil},
		"pilot in race": {auth.Claims{Pilot: "anna", Race: "open"}, nil},
	} {
		bearer := "Bearer " + readToken(t, c.claims)
		ids, _ := readList(t, url+"/flights", "Authorization", bearer)
		assert.Equal(t, c.ids, ids, name)
		for id, path := range map[string]string{"a/1": "/flights/a%2F1", "b": "/flights/b"} {
			want := http.StatusNotFound
			for _, visible := range c.ids {
				if visible == id {
					want = http.StatusOK
				}
			}
			assert.Equal(t, want, send(t, http.MethodGet, url+path, nil, "Authorization", bearer).code, name+path)
			assert.Equal(t, want, send(t, http.MethodGet, url+path+"/track", nil, "Authorization", bearer).code, name+path)
			assert.Equal(t, want, send(t, http.MethodGet, url+"/t/"+readToken(t, c.claims)+path+"/track", nil).code, name+path)
		}
	}
	cup := "Bearer " + readToken(t, auth.Claims{Race: "cup"})
	ids, _ := readList(t, url+"/flights?race_id=open", "Authorization", cup)
	assert.Empty(t, ids)
	assert.Equal(t, 404, send(t, http.MethodGet, url+"/flights/b/track?race_id=open", nil, "Authorization", cup).code)
}

func TestReading_NeedsTheScopeOrAnOperator(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	none := send(t, http.MethodGet, url+"/flights", nil)
	assert.Equal(t, 401, none.code)
	assert.Len(t, none.header.Values("WWW-Authenticate"), 2)
	assert.Equal(t, 401, send(t, http.MethodGet, url+"/flights", nil, "Authorization", "Bearer x.y.z").code)
	assert.Equal(t, 403, send(t, http.MethodGet, url+"/flights/b", nil, "Authorization", "Bearer "+readToken(t, auth.Claims{Scopes: []string{"live"}})).code)
	operator, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	operator.SetBasicAuth("operator", "cloudbase")
	ids, _ := readList(t, url+"/flights", "Authorization", operator.Header.Get("Authorization"))
	assert.Len(t, ids, 2)
	operator.SetBasicAuth("operator", "wrong")
	assert.Equal(t, 401, send(t, http.MethodGet, url+"/flights", nil, "Authorization", operator.Header.Get("Authorization")).code)
}

func TestReading_HidesWhatIsNewerThanTheDelay(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	bearer := "Bearer " + readToken(t, auth.Claims{Delay: 270 * time.Second})
	_, list := readList(t, url+"/flights", "Authorization", bearer)
	require.Len(t, list.Flights, 2)
	for _, f := range list.Flights {
		assert.EqualValues(t, 5, f.Points)
		assert.Greater(t, time.Since(f.LastFix.Datetime), 270*time.Second)
	}
	track := send(t, http.MethodGet, url+"/flights/b/track?format=csv&to="+time.Now().UTC().Add(time.Hour).Format(time.RFC3339), nil, "Authorization", bearer)
	assert.Equal(t, 6, strings.Count(track.text, "\n"))
	all := send(t, http.MethodGet, url+"/flights/b/track?format=csv", nil, "Authorization", "Bearer "+readToken(t, auth.Claims{}))
	assert.Equal(t, 11, strings.Count(all.text, "\n"))
	early := "Bearer " + readToken(t, auth.Claims{Delay: time.Hour})
	ids, _ := readList(t, url+"/flights", "Authorization", early)
	assert.Empty(t, ids)
	assert.Equal(t, 404, send(t, http.MethodGet, url+"/flights/b", nil, "Authorization", early).code)
}

func TestReading_RespondsWithWhatChangedOnly(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	bearer := "Bearer " + readToken(t, auth.Claims{})
	for _, path := range []string{"/flights", "/flights/b", "/flights/b/track", "/flights/b/track?format=igc"} {
		first := send(t, http.MethodGet, url+path, nil, "Authorization", bearer)
		require.Equal(t, 200, first.code)
		again := send(t, http.MethodGet, url+path, nil, "Authorization", bearer, "If-None-Match", `"x", W/`+first.header.Get("ETag"))
		assert.Equal(t, 304, again.code, path)
		assert.Empty(t, again.text)
	}
}

func TestReading_RefusesBadQueries(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	bearer := "Bearer " + readToken(t, auth.Claims{})
	for _, path := range []string{
		"/flights?lane=none", "/flights?from=yesterday", "/flights?cursor=x", "/flights?limit=0", "/flights?limit=201", "/flights?race_id=%00", "/flights?race_id=%FF", "/flights?pilot_id=a%C3",
		"/flights?cursor=" + base64.RawURLEncoding.EncodeToString([]byte("2026-07-14\nlive\n\xff")),
		"/flights/b/track?format=doc", "/flights/b/track?simplify=-1", "/flights/b/track?simplify=NaN", "/flights/b/track?to=2026-07-14T12:00:00",
	} {
		assert.Equal(t, 400, send(t, http.MethodGet, url+path, nil, "Authorization", bearer).code, path)
	}
	for _, path := range []string{"/flights/none", "/flights/%00", "/flights/%FF", "/flights/b?lane=upload", "/flights/b/track?from=2100-01-01T00:00:00Z"} {
		assert.Equal(t, 404, send(t, http.MethodGet, url+path, nil, "Authorization", bearer).code, path)
	}
}

func TestReading_ShowsABrowserAPage(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	token := readToken(t, auth.Claims{Race: "cup"})
	const browser = "text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8"
	page := send(t, http.MethodGet, url+"/t/"+token+"/flights", nil, "Accept", browser)
	assert.Equal(t, 200, page.code)
	assert.Equal(t, "text/html; charset=utf-8", page.header.Get("Content-Type"))
	assert.Contains(t, page.header.Get("Content-Security-Policy"), "default-src 'none'")
	assert.Equal(t, "nosniff", page.header.Get("X-Content-Type-Options"))
	assert.Contains(t, page.header.Values("Vary"), "Accept")
	assert.Equal(t, 401, send(t, http.MethodGet, url+"/flights", nil, "Accept", browser).code)
	for _, accept := range []string{"", "*/*", "application/json"} {
		ids, _ := readList(t, url+"/t/"+token+"/flights", "Accept", accept)
		assert.Equal(t, []string{"a/1"}, ids, accept)
	}
}

func TestReading_ShowsOperatorsAloneWhatWasRefused(t *testing.T) {
	t.Parallel()
	s, url, pool := newTestServer(t, lane.All(lane.Options{}))
	_, err := pool.Exec(t.Context(), `INSERT INTO rejected_points (lane, point, error) VALUES ('live', '{"flight_id": "a/1"}', 'too high')`)
	require.NoError(t, err)
	s.config.Access.Tokens = auth.NewVerifier(readingKey, "")
	s.config.Access.Operator = auth.NewOperator("operator", "cloudbase")
	operator, err := http.NewRequest(http.MethodGet, url, nil)
	require.NoError(t, err)
	operator.SetBasicAuth("operator", "cloudbase")
	for header, want := range map[string]int{operator.Header.Get("Authorization"): 1, "Bearer " + readToken(t, auth.Claims{}): 0} {
		_, list := readList(t, url+"/flights?refused=true", "Authorization", header)
		require.Len(t, list.Refused, want)
		if want > 0 {
			assert.Equal(t, "a/1 live 1 too high", fmt.Sprint(list.Refused[0].ID, " ", list.Refused[0].Lane, " ", list.Refused[0].Count, " ", list.Refused[0].Error))
		}
	}
}

// The flights are worth more than what was refused of them, which the database's user
// may have no right to read.
func TestReading_ShowsFlightsWithoutTheDeadLetterTable(t *testing.T) {
	t.Parallel()
	_, url, pool := newTestServer(t, lane.All(lane.Options{}))
	_, err := pool.Exec(t.Context(), `ALTER TABLE rejected_points RENAME TO out_of_reach`)
	require.NoError(t, err)
	got := send(t, http.MethodPost, url+"/live", strings.NewReader(padded("a", 1)), "Content-Type", "application/json")
	require.Equal(t, http.StatusCreated, got.code, got.text)
	ids, list := readList(t, url+"/flights?refused=true")
	assert.Equal(t, []string{"a"}, ids)
	assert.Empty(t, list.Refused)
}

func TestReading_ServesTheBackgroundToReadersAlone(t *testing.T) {
	t.Parallel()
	s, url, _ := newTestServer(t, lane.All(lane.Options{}))
	tiles := filepath.Join(t.TempDir(), "area.pmtiles")
	require.NoError(t, os.WriteFile(tiles, []byte("PMTiles"), 0o600))
	s.config.Map = mappage.New(tiles)
	s.config.Access.Tokens = auth.NewVerifier(readingKey, "")
	s.config.Access.Operator = auth.NewOperator("operator", "cloudbase")
	assert.Equal(t, 401, send(t, http.MethodGet, url+mappage.TilesPath, nil).code)
	assert.Equal(t, 403, send(t, http.MethodGet, url+"/t/"+readToken(t, auth.Claims{Scopes: []string{"live"}})+mappage.TilesPath, nil).code)
	got := send(t, http.MethodGet, url+"/t/"+readToken(t, auth.Claims{})+mappage.TilesPath, nil, "Range", "bytes=0-2")
	assert.Equal(t, 206, got.code)
	assert.Equal(t, "PMT", got.text)
	assert.Equal(t, 200, send(t, http.MethodGet, url+"/map/map.js", nil).code, "what the page is made of is for all")
}

// A page of the map asks for dozens of parts of its background at once.
func TestReading_CountsNoPartOfThePageAgainstTheLimit(t *testing.T) {
	t.Parallel()
	s, _, _ := newTestServer(t, lane.All(lane.Options{}))
	tiles := filepath.Join(t.TempDir(), "area.pmtiles")
	require.NoError(t, os.WriteFile(tiles, []byte("PMTiles"), 0o600))
	config := s.config
	config.Map = mappage.New(tiles)
	config.Access = Access{Tokens: auth.NewVerifier(readingKey, ""), RateLimit: 1, RateBurst: 3}
	server := httptest.NewServer(New(config))
	t.Cleanup(server.Close)
	anna := server.URL + "/t/" + readToken(t, auth.Claims{Pilot: "anna", Scopes: []string{"read", "live"}})
	for range 10 {
		require.Equal(t, 206, send(t, http.MethodGet, anna+mappage.TilesPath, nil, "Range", "bytes=0-2").code)
		for _, path := range []string{"/map", "/map/map.js"} {
			require.Equal(t, 200, send(t, http.MethodGet, anna+path, nil).code, path)
		}
	}
	assert.Equal(t, http.StatusCreated, send(t, http.MethodPost, anna+"/live", strings.NewReader(onePoint("")), "Content-Type", "application/json").code)
	guessed := make(map[int]int)
	for range 20 {
		guessed[send(t, http.MethodGet, server.URL+"/t/x"+mappage.TilesPath, nil).code]++
	}
	assert.Positive(t, guessed[429], "who guesses tokens is limited everywhere: %v", guessed)
}
