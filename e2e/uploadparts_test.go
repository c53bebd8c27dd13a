package e2e

import (
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/auth"
	"tracklane/internal/devservers"
)

// partFixes is how many fixes each of the two parts of an upload has: whole batches, and
// less than a server reads of a body after its response.
const partFixes = 2000

// patientWithRedis keeps points from going past a Redis that is only slow.
const patientWithRedis = "REDIS_TIMEOUT=5s"

// partialUpload is an upload of a file that stops in the middle.
type partialUpload struct {
	rest      string
	body      *io.PipeWriter
	responded chan response
}

// beginUpload sends the first part of a file, of which the second fix is the first one
// again. The flight's id is "f".
func beginUpload(t *testing.T, url string) *partialUpload {
	t.Helper()
	const head, line = len("AXYZ042\r\nHFDTE140726\r\n"), len("B0000004630000N00715000EA0120001234\r\n")
	file := igcOf(2 * partFixes)
	first := file[:head+partFixes*line]
	content, body := io.Pipe()
	request, err := http.NewRequest(http.MethodPost, url+"/upload?filename=f.igc", content)
	require.NoError(t, err)
	request.Header.Set("Content-Type", "application/vnd.fai.igc")
	u := &partialUpload{rest: file[len(first):], body: body, responded: make(chan response, 1)}
	go func() {
		code, text, header := 0, "", http.Header{}
		if got, err := http.DefaultClient.Do(request); err == nil {
			body, _ := io.ReadAll(got.Body) // what is missing of it shows
			_ = got.Body.Close()
			code, text, header = got.StatusCode, string(body), got.Header
		}
		u.responded <- response{code: code, text: text, header: header}
	}()
	t.Cleanup(func() { _ = body.Close() })
	_, err = io.WriteString(body, first)
	require.NoError(t, err)
	return u
}

// end sends the rest of the file, and returns the response.
func (u *partialUpload) end(t *testing.T) response {
	t.Helper()
	_, _ = io.WriteString(u.body, u.rest) // a server may respond before it has all
	require.NoError(t, u.body.Close())
	select {
	case got := <-u.responded:
		return got
	case <-time.After(60 * time.Second):
		require.FailNow(t, "no response")
		return response{}
	}
}

// requireFirst waits until the first part is stored. Nothing of it is under way then,
// which a worker would find again only half a minute after Redis is back.
func requireFirst(t *testing.T, pool *pgxpool.Pool) {
	t.Helper()
	requireRows(t, pool, partFixes-1, `SELECT count(*) FROM uploaded_track_points`)
}

// rowsNow counts rows once.
func rowsNow(t *testing.T, pool *pgxpool.Pool, query string, arguments ...any) (rows int) {
	t.Helper()
	require.NoError(t, pool.QueryRow(t.Context(), query, arguments...).Scan(&rows))
	return rows
}

// Redis goes or comes back in the middle of an upload. It is "queued" as soon as one of
// its points may still wait, and "stored" only when all are committed.
func TestUpload_OfWhichOnlyAPartIsQueued(t *testing.T) {
	t.Parallel()
	mend := func(t *testing.T, url string, redis *devservers.Redis) {
		t.Helper()
		require.NoError(t, redis.Restart(t.Context()))
		require.Eventually(t, func() bool { return postJSON(t, url+"/live", flight("probe", 1)).code == 202 }, 10*time.Second, 20*time.Millisecond)
	}
	for name, c := range map[string]struct {
		downFirst, downThen bool
		code                int
		want                string
	}{
		"the first": {false, true, 202, `{"status":"queued","points":4000,"flight_id":"f","rejected":[],"rejected_total":0}`},
		"the last":  {true, false, 202, `{"status":"queued","points":4000,"flight_id":"f","rejected":[],"rejected_total":0}`},
		"none":      {true, true, 201, `{"status":"stored","points":4000,"inserted":3999,"duplicates":1,"flight_id":"f","rejected":[],"rejected_total":0}`},
	} {
		t.Run(name, func(t *testing.T) {
			database, redis := servers.Database(t), servers.Redis(t)
			if redis.InMemory() {
				return
			}
			s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+redis.URL(), patientWithRedis)
			pool := openDatabase(t, database)
			requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
			if c.downFirst {
				require.NoError(t, redis.Kill())
			}
			u := beginUpload(t, s.url)
			requireFirst(t, pool)
			if c.downThen && !c.downFirst {
				require.NoError(t, redis.Kill())
			} else if !c.downThen {
				mend(t, s.url, redis)
			}
			got := u.end(t)
			require.Equal(t, c.code, got.code, got.text)
			assert.JSONEq(t, c.want, got.text)
			if c.downThen {
				const second = `SELECT count(*) FROM uploaded_track_points WHERE datetime >= timestamptz '2026-07-14T00:00:00Z' + $1 * interval '1 s'`
				assert.Equal(t, partFixes, rowsNow(t, pool, second, partFixes-1), "what did not go to Redis is committed")
				require.NoError(t, redis.Restart(t.Context()))
			}
			requireRows(t, pool, 2*partFixes-1, `SELECT count(*) FROM uploaded_track_points`)
		})
	}
}

// Redis and PostgreSQL go in the middle of an upload: the client hears that not all of
// it is stored, and when all of it is sent again, each point is stored once.
func TestUpload_ThatIsRefusedInTheMiddleIsStoredOnceInTheEnd(t *testing.T) {
	t.Parallel()
	postgres, redis := servers.Postgres(t, devservers.PostgresOptions{}), servers.Redis(t)
	if redis.InMemory() {
		return
	}
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+postgres.DSN(), "REDIS_URL="+redis.URL(), patientWithRedis)
	pool := openDatabase(t, postgres.DSN())
	requireRows(t, pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	u := beginUpload(t, s.url)
	requireFirst(t, pool)
	require.NoError(t, postgres.Kill())
	require.NoError(t, redis.Kill())
	got := u.end(t)
	require.Equal(t, http.StatusServiceUnavailable, got.code, got.text)
	assert.Equal(t, "application/problem+json", got.header.Get("Content-Type"))
	assert.Equal(t, "5", got.header.Get("Retry-After"))
	assert.Contains(t, got.text, "Not all points of this request are stored. Send all of it again")
	assert.NotContains(t, got.text, `"points"`, "nothing is claimed")

	require.NoError(t, postgres.Restart(t.Context()))
	require.NoError(t, redis.Restart(t.Context()))
	for range 2 {
		require.Eventually(t, func() bool {
			return post(t, s.url+"/upload?filename=f.igc", "application/vnd.fai.igc", igcOf(2*partFixes)).code < 300
		}, 60*time.Second, 50*time.Millisecond)
		requireRows(t, pool, 2*partFixes-1, `SELECT count(*) FROM uploaded_track_points`)
	}
}

// The rows of files are those of the token's pilot and race; a request that names others
// is refused, and nothing of it is kept.
func TestUpload_StoresFilesAsTheTokens(t *testing.T) {
	t.Parallel()
	const key = "0123456789abcdef0123456789abcdef"
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL(),
		patientWithRedis, "AUTH=on", "SECRET_KEY="+key, "OPERATOR_PASSWORD=cloudbase")
	token := func(pilot, race string, scopes ...string) []string {
		text, err := auth.Sign(key, auth.Claims{Pilot: pilot, Race: race, Scopes: scopes, Expires: time.Now().Add(time.Hour)}, time.Now())
		require.NoError(t, err)
		return bearer(text)
	}
	anna, relay := token("anna", "cup", "upload"), token("", "cup", "upload")
	archive := string(zipOf(t, 3, []byte(igcOf(101))))
	for name, c := range map[string]struct {
		query, contentType, body string
		token                    []string
		code                     int
	}{
		"a file":                {"?filename=file.igc", "application/vnd.fai.igc", igcOf(1501), anna, 202},
		"a zip":                 {"", "application/zip", archive, anna, 202},
		"one that names them":   {"?filename=named.igc&pilot_id=anna&race_id=cup", "application/vnd.fai.igc", igcOf(101), anna, 202},
		"a relay's":             {"?filename=relayed.igc&pilot_id=bert", "application/vnd.fai.igc", igcOf(101), relay, 202},
		"of another pilot":      {"?filename=bad.igc&pilot_id=bert", "application/vnd.fai.igc", igcOf(1501), anna, 403},
		"of another race":       {"?filename=bad.igc&race_id=open", "application/vnd.fai.igc", igcOf(1501), anna, 403},
		"a zip of another":      {"?pilot_id=bert", "application/zip", archive, anna, 403},
		"a relay's, other race": {"?filename=bad.igc&pilot_id=bert&race_id=open", "application/vnd.fai.igc", igcOf(1), relay, 403},
		"of another scope":      {"?filename=bad.igc", "application/vnd.fai.igc", igcOf(1), token("anna", "cup", "live", "read"), 403},
		"without a token":       {"?filename=bad.igc", "application/vnd.fai.igc", igcOf(1), nil, 401},
	} {
		got := post(t, s.url+"/upload"+c.query, c.contentType, c.body, c.token...)
		assert.Equal(t, c.code, got.code, "%s: %s", name, got.text)
		if c.code == 403 && !strings.Contains(name, "scope") {
			assert.Contains(t, got.text, "The token is not for this", name)
		}
	}
	pool := openDatabase(t, database)
	const rows = `SELECT count(*) FROM uploaded_track_points WHERE race_id = 'cup' AND pilot_id = $1`
	requireRows(t, pool, 1500+3*100+100, rows, "anna")
	requireRows(t, pool, 1500, rows+` AND flight_id = 'file'`, "anna")
	requireRows(t, pool, 100, rows+` AND flight_id = 'relayed'`, "bert")
	requireRows(t, pool, 2000, `SELECT count(*) FROM uploaded_track_points`)
}
