package e2e

import (
	"bytes"
	"fmt"
	"io"
	"math/rand/v2"
	"mime/multipart"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/devservers"
)

func TestAPI_LiveAndUploadResponses(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	points := trackPointsOf
	large := points(strings.Repeat(" ", 10<<20) + goodPoint)
	for path, form := range map[string]int{"/live": 415, "/upload": 400} { // where it may be a file
		t.Run(path, func(t *testing.T) {
			url := s.url + path
			assert.Equal(t, 202, postJSON(t, url, points(goodPoint)).code)
			assert.Equal(t, 202, post(t, url, "", points(goodPoint)).code, "no content type is JSON")
			mixed := postJSON(t, url, points(goodPoint+`,{"datetime":"2026-07-14T11:00:00","lat":1,"lon":2},{"lat":"x"}`))
			assert.Equal(t, 202, mixed.code)
			assert.Equal(t, "queued", mixed.Status)
			assert.Equal(t, 1, mixed.Points)
			assert.Equal(t, 2, mixed.RejectedTotal)
			assert.Equal(t, "datetime", mixed.Rejected[0].Field)
			assert.Equal(t, 2, mixed.Rejected[1].Index)
			for name, c := range map[string]struct {
				code       int
				kind, body string
			}{
				"no body":           {400, "application/json", ""},
				"truncated":         {400, "application/json", points(goodPoint)[:60]},
				"deeply nested":     {400, "application/json", strings.Repeat("[", 100_000)},
				"no flight":         {400, "application/json", `{"track_points":[` + goodPoint + `]}`},
				"no points":         {422, "application/json", points("")},
				"no usable point":   {422, "application/json", points(`{"datetime":"2026-07-14T11:00:00Z","lat":90.0000001,"lon":2}`)},
				"NUL in the flight": {422, "application/json", strings.Replace(points(goodPoint), `"f"`, `"f\u0000"`, 1)},
				"invalid UTF-8":     {422, "application/json", strings.Replace(points(goodPoint), `"f"`, "\"f\xff\"", 1)},
				"a form":            {form, "application/x-www-form-urlencoded", points(goodPoint)},
				"nonsense type":     {415, "no type", points(goodPoint)},
			} {
				a := post(t, url, c.kind, c.body)
				assert.Equal(t, c.code, a.code, "%s: %s", name, a.text)
				assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"), name)
				assert.NotEmpty(t, a.Title, name)
			}
		})
	}
	assert.Equal(t, 413, postJSON(t, s.url+"/live", large).code, "10 MB")
	assert.Equal(t, 202, postJSON(t, s.url+"/upload", large).code, "10 MB")
	assert.Equal(t, 415, post(t, s.url+"/live", "application/json", points(goodPoint), "Content-Encoding", "br").code)
	assert.Equal(t, 404, postJSON(t, s.url+"/nothing", "{}").code)

	pool := openDatabase(t, database)
	requireRows(t, pool, 1, `SELECT count(*) FROM live_track_points`)
	requireRows(t, pool, 1, `SELECT count(*) FROM uploaded_track_points`)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}

// trackPointsOf is a body of points, given as JSON between commas.
func trackPointsOf(list string) string { return `{"flight_id":"f","track_points":[` + list + `]}` }

func TestAPI_KeepsTheRequestIDOfAClient(t *testing.T) {
	t.Parallel()
	s := startServer(t, app.Roles{API: true}, "DATABASE_URL="+servers.Database(t), "REDIS_URL="+servers.Redis(t).URL())
	kept := post(t, s.url+"/live", "application/json", trackPointsOf(goodPoint), "X-Request-Id", "abc-1")
	assert.Equal(t, "abc-1", kept.header.Get("X-Request-Id"))
	replaced := post(t, s.url+"/live", "application/json", trackPointsOf(goodPoint), "X-Request-Id", "a b")
	assert.NotContains(t, replaced.header.Get("X-Request-Id"), " ")
}

func TestAPI_ScoringResponses(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	scored := postJSON(t, s.url+"/scoring", `{"tracks":[`+scoringTrack+`]}`)
	assert.Equal(t, 202, scored.code)
	assert.Len(t, scored.FlightUUID, 36)
	assert.Equal(t, 400, postJSON(t, s.url+"/scoring", `{"flight_uuid":"x","tracks":[`+scoringTrack+`]}`).code)
	assert.Equal(t, 422, postJSON(t, s.url+"/scoring", `{"tracks":[]}`).code)
	pool := openDatabase(t, database)
	requireRows(t, pool, 1, `SELECT count(*) FROM scoring_tracks`)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}

func TestAPI_FlymasterResponses(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	url := s.url + "/flymaster"
	for name, c := range map[string]struct {
		code       int
		kind, body string
	}{
		"a file":           {202, "text/plain", flymasterFile(flymasterLine, "bad line", "1,1,nan,1,1,1,1")},
		"a form's default": {202, "application/x-www-form-urlencoded", flymasterFile(flymasterLine)},
		"no EOF":           {400, "", "12345,0\n" + flymasterLine},
		"no good line":     {422, "", flymasterFile("1,1,nan,1,1,1,1")},
		"JSON":             {415, "application/json", "{}"},
		"too large":        {413, "", flymasterFile(strings.Repeat("x", 17<<20))},
	} {
		t.Run(name, func(t *testing.T) {
			a := post(t, url, c.kind, c.body)
			assert.Equal(t, c.code, a.code)
			assert.Equal(t, map[bool]string{true: "OK", false: "NOK"}[c.code == 202], a.text)
		})
	}
	named := post(t, url, "", flymasterFile(flymasterLine, "bad line"), "Accept", "application/json")
	assert.Equal(t, 3, named.Rejected[0].Index, "the index is the line")
	var form bytes.Buffer
	writer := multipart.NewWriter(&form)
	part, err := writer.CreateFormFile("file", "track.txt")
	require.NoError(t, err)
	_, err = io.WriteString(part, flymasterFile(strings.Replace(flymasterLine, "46.5", "46.75", 1)))
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	assert.Equal(t, "OK", post(t, url, writer.FormDataContentType(), form.String()).text)

	pool := openDatabase(t, database)
	requireRows(t, pool, 2, `SELECT count(*) FROM flymaster`)
	requireRows(t, pool, 0, `SELECT count(*) FROM rejected_points`)
}

func TestAPI_ChecksTheFlymasterKey(t *testing.T) {
	t.Parallel()
	s := startServer(t, app.Roles{API: true}, "DATABASE_URL="+servers.Database(t), "REDIS_URL="+servers.Redis(t).URL(), "FLYMASTER_SECRET=s")
	wrong := post(t, s.url+"/flymaster", "", flymasterFile(flymasterLine))
	assert.Equal(t, 403, wrong.code)
	assert.Equal(t, "NOK", wrong.text)
}

func TestAPI_StoresPointsBitForBit(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	random := rand.New(rand.NewPCG(3, 4))
	type point struct {
		lat, lon, elevation float64
		at                  time.Time
	}
	var sent []point
	var list []string
	for i := range 1501 {
		p := point{
			random.Float64()*180 - 90, random.Float64()*360 - 180, random.NormFloat64() * 1e3,
			time.Date(2026, 7, 14, 8, 0, i, random.IntN(1e6)*1000, time.UTC),
		}
		sent = append(sent, p)
		list = append(list, fmt.Sprintf(`{"datetime":%q,"lat":%v,"lon":%v,"elevation":%v}`,
			p.at.Format(time.RFC3339Nano), p.lat, p.lon, p.elevation))
	}
	for _, path := range []string{"/live", "/upload"} {
		require.Equal(t, 202, postJSON(t, s.url+path, `{"flight_id":"bits","track_points":[`+strings.Join(list, ",")+`]}`).code)
	}
	pool := openDatabase(t, database)
	for _, table := range []string{"live_track_points", "uploaded_track_points"} {
		requireRows(t, pool, len(sent), `SELECT count(*) FROM `+table)
		rows, err := pool.Query(t.Context(), `SELECT datetime, lat, lon, elevation, speed IS NULL AND race_id IS NULL,
			received_at BETWEEN now() - interval '1 minute' AND now() FROM `+table+` ORDER BY datetime`)
		require.NoError(t, err)
		for i := 0; rows.Next(); i++ {
			var got point
			var nulls, received bool
			require.NoError(t, rows.Scan(&got.at, &got.lat, &got.lon, &got.elevation, &nulls, &received))
			got.at = got.at.UTC()
			require.Equal(t, sent[i], got)
			require.True(t, nulls && received)
		}
		require.NoError(t, rows.Err())
	}
}

func TestAPI_StoresDuplicatesOnceOnEitherPath(t *testing.T) {
	t.Parallel()
	database, redis := servers.Database(t), servers.Redis(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+redis.URL())
	pool := openDatabase(t, database)
	const count = `SELECT count(*) FROM live_track_points`
	twice := `{"flight_id":"a","track_points":[` + trackPoints(10) + "," + trackPoints(5) + `]}`
	require.Equal(t, 15, postJSON(t, s.url+"/live", twice).Points)
	require.Equal(t, 202, postJSON(t, s.url+"/live", flight("a", 12)).code)
	requireRows(t, pool, 12, count)
	require.NoError(t, redis.Kill())
	direct := postJSON(t, s.url+"/live", flight("a", 20))
	require.Equal(t, 201, direct.code, direct.text)
	assert.Equal(t, "stored", direct.Status)
	assert.Equal(t, 20, direct.Points)
	assert.Equal(t, 8, *direct.Inserted)
	assert.Equal(t, 12, *direct.Duplicates)
	assert.Less(t, direct.took, time.Second)
	requireRows(t, pool, 20, count)
	require.NoError(t, redis.Restart(t.Context()))
	require.Eventually(t, func() bool { return postJSON(t, s.url+"/live", flight("a", 25)).code == 202 },
		5*time.Second, 50*time.Millisecond, "Redis is used again within 5 s")
	requireRows(t, pool, 25, count)
}

func TestAPI_AcceptsPointsInEachWayForRedisToBeDown(t *testing.T) {
	t.Parallel()
	silent, err := net.Listen("tcp", "127.0.0.1:0")
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, silent.Close()) })

	cases := map[string]func(t *testing.T) (url string){
		"refused":                    func(*testing.T) string { return "redis://127.0.0.1:1/0" },
		"accepts and never responds": func(*testing.T) string { return "redis://" + silent.Addr().String() + "/0" },
		"unreachable":                func(*testing.T) string { return "redis://no-such-host.invalid:6379/0" },
		"out of memory": func(t *testing.T) string {
			return servers.Redis(t, "--maxmemory", "1").URL()
		},
		"read-only": func(t *testing.T) string {
			return servers.Redis(t, "--replicaof", "127.0.0.1 1", "--replica-serve-stale-data", "yes").URL()
		},
	}
	for name, start := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if probe := servers.Redis(t); probe.InMemory() && (name == "out of memory" || name == "read-only") {
				return // the embedded server is never either
			}
			database := servers.Database(t)
			s := startServer(t, app.Roles{API: true}, "DATABASE_URL="+database, "REDIS_URL="+start(t))
			pool := openDatabase(t, database)
			requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'live_track_points'`)
			for i := range 20 {
				a := postJSON(t, s.url+"/live", flight(fmt.Sprint(i), 3))
				require.Equal(t, 201, a.code, a.text)
				assert.Less(t, a.took, time.Second)
				if i > 0 {
					assert.Less(t, a.took, 200*time.Millisecond, "the breaker is open: nobody waits for Redis")
				}
			}
			requireRows(t, pool, 60, `SELECT count(*) FROM live_track_points`)
		})
	}
}

func TestAPI_RefusesPointsOnlyWhenBothAreDown(t *testing.T) {
	t.Parallel()
	s := startServer(t, app.Roles{API: true}, "DATABASE_URL=postgres://tracklane@127.0.0.1:1/none", "REDIS_URL=redis://127.0.0.1:1/0")
	a := postJSON(t, s.url+"/live", flight("f", 1))
	assert.Equal(t, 503, a.code)
	assert.NotEmpty(t, a.header.Get("Retry-After"))
	assert.Equal(t, "application/problem+json", a.header.Get("Content-Type"))
	assert.Equal(t, "NOK", post(t, s.url+"/flymaster", "", flymasterFile(flymasterLine)).text)
}

func TestProgram_PartsStartInAnyOrder(t *testing.T) {
	t.Parallel()
	postgres, redis := servers.Postgres(t, devservers.PostgresOptions{}), servers.Redis(t)
	require.NoError(t, postgres.Kill())
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+postgres.DSN(), "REDIS_URL="+redis.URL())
	require.Equal(t, 202, postJSON(t, s.url+"/live", flight("early", 7)).code, "PostgreSQL is down at the start")
	require.NoError(t, postgres.Restart(t.Context()))
	pool := openDatabase(t, postgres.DSN())
	requireRows(t, pool, 7, `SELECT count(*) FROM live_track_points`)
	s.stop()

	require.NoError(t, redis.Kill())
	s = startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+postgres.DSN(), "REDIS_URL="+redis.URL())
	require.Equal(t, 201, postJSON(t, s.url+"/live", flight("direct", 7)).code, "Redis is down at the start")
	require.NoError(t, redis.Restart(t.Context()))
	require.Eventually(t, func() bool { return postJSON(t, s.url+"/live", flight("late", 7)).code == 202 },
		5*time.Second, 50*time.Millisecond)
	requireRows(t, pool, 21, `SELECT count(*) FROM live_track_points`)
}

func TestProgram_StopUnderLoadLosesNothing(t *testing.T) {
	t.Parallel()
	database, redis := servers.Database(t), servers.Redis(t)
	environment := []string{"DATABASE_URL=" + database, "REDIS_URL=" + redis.URL()}
	s := startServer(t, app.Roles{API: true, Worker: true}, environment...)
	const clients = 8
	acknowledged := make(chan int, clients)
	for client := range clients {
		go func() {
			n := 0
			for ; ; n++ {
				body := flight(fmt.Sprintf("c%d-%d", client, n), 1+n%3*300)
				response, err := http.Post(s.url+"/live", "application/json", strings.NewReader(body))
				if err != nil {
					break // it has stopped
				}
				_ = response.Body.Close()
				if response.StatusCode > 202 {
					break
				}
			}
			acknowledged <- n
		}()
	}
	pool := openDatabase(t, database)
	require.Eventually(t, func() bool {
		var rows int
		return pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows) == nil && rows > 10_000
	}, 30*time.Second, 20*time.Millisecond)
	s.stop()
	total := 0
	for range clients {
		for n := range <-acknowledged {
			total += 1 + n%3*300
		}
	}
	startServer(t, app.Roles{Worker: true}, environment...)
	require.Eventually(t, func() bool {
		var rows int
		return pool.QueryRow(t.Context(), `SELECT count(*) FROM live_track_points`).Scan(&rows) == nil && rows >= total
	}, 30*time.Second, 50*time.Millisecond, "acknowledged points are missing")
}
