package e2e

import (
	"archive/zip"
	"bytes"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/upload"
)

// igcOf is an IGC file of n fixes, of which the first two are the same.
func igcOf(n int) string {
	var file strings.Builder
	file.WriteString("AXYZ042\r\nHFDTE140726\r\n")
	for i := range n {
		i = max(i-1, 0)
		fmt.Fprintf(&file, "B%02d%02d%02d4630000N00715000EA0120001234\r\n", i/3600%24, i/60%60, i%60)
	}
	return file.String()
}

// The command uploads a directory twice: each fix is stored once.
func TestUpload_OfADirectoryStoresEachFixOnce(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	pool := openDatabase(t, database)
	directory := t.TempDir()
	for i := range 20 {
		require.NoError(t, os.WriteFile(filepath.Join(directory, fmt.Sprint(i, ".igc")), []byte(igcOf(100+i*100)), 0o600))
	}
	for range 2 {
		results, err := upload.Run(t.Context(), []string{directory}, upload.Options{URL: s.url}, io.Discard)
		require.NoError(t, err)
		require.Len(t, results, 20)
		requireRows(t, pool, 20*100+190*100-20, `SELECT count(*) FROM uploaded_track_points`)
	}
}

// The API and Redis are killed while a zip of 300 flights is under way; it is sent
// again until it is accepted.
func TestUpload_OfAZipIsSafeToRepeatAfterAKill(t *testing.T) {
	t.Parallel()
	database, redis := servers.Database(t), servers.Redis(t)
	if redis.InMemory() {
		return
	}
	environment := []string{"DATABASE_URL=" + database, "REDIS_URL=" + redis.URL()}
	pool := openDatabase(t, database)
	var archive bytes.Buffer
	w := zip.NewWriter(&archive)
	const flights, fixes = 300, 1500
	for i := range flights {
		out, err := w.Create(fmt.Sprintf("day/%d.igc", i))
		require.NoError(t, err)
		_, err = io.WriteString(out, igcOf(fixes))
		require.NoError(t, err)
	}
	require.NoError(t, w.Close())
	serve := startProcess(t, "serve", environment...)
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		response, err := http.Post(serve.url+"/upload", "application/zip", bytes.NewReader(archive.Bytes()))
		if err == nil { // all was accepted before the kill
			_ = response.Body.Close()
		}
	}()
	require.Eventually(t, func() bool {
		var rows int
		err := pool.QueryRow(t.Context(), `SELECT count(*) FROM uploaded_track_points`).Scan(&rows)
		return err == nil && rows > 10_000
	}, 60*time.Second, 20*time.Millisecond)
	require.NoError(t, redis.Kill())
	require.NoError(t, serve.Kill())
	<-ended
	require.NoError(t, redis.Restart(t.Context()))
	again := startProcess(t, "serve", environment...)
	require.Eventually(t, func() bool {
		return post(t, again.url+"/upload", "application/zip", archive.String()).code < 300
	}, 90*time.Second, time.Second)
	requireRows(t, pool, flights*(fixes-1), `SELECT count(*) FROM uploaded_track_points`)
}

// The command flies a file over the lane live: its fixes are stored as if now, with
// their gaps.
func TestReplay_StoresAFlightAsIfNow(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	pool := openDatabase(t, database)
	path := filepath.Join(t.TempDir(), "a.igc")
	require.NoError(t, os.WriteFile(path, []byte(igcOf(101)), 0o600))
	_, err := upload.Replay(t.Context(), []string{path}, 50, upload.Options{URL: s.url}, io.Discard)
	require.NoError(t, err)
	requireRows(t, pool, 100, `SELECT count(*) FROM live_track_points WHERE flight_id LIKE 'a-%' AND datetime BETWEEN now() - interval '10 min' AND now()`)
	requireRows(t, pool, 1, `SELECT count(*) FROM (SELECT max(datetime) - min(datetime) AS d FROM live_track_points) t WHERE d = interval '1.98 s'`)
}
