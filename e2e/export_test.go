package e2e

import (
	"bytes"
	"encoding/csv"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/export"
	"tracklane/internal/upload"
)

// exported starts a server that holds three flights of different lengths, and saves
// them in a format. It returns the directory.
func exported(t *testing.T, format string) string {
	t.Helper()
	database := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL())
	from, to := t.TempDir(), filepath.Join(t.TempDir(), "made", "by it")
	total := 0
	for i, fixes := range []int{3, 500, 4000} {
		require.NoError(t, os.WriteFile(filepath.Join(from, fmt.Sprint(i, ".igc")), []byte(igcOf(fixes+1)), 0o600))
		total += fixes
	}
	_, err := upload.Run(t.Context(), []string{from}, upload.Options{URL: s.url}, io.Discard)
	require.NoError(t, err)
	requireRows(t, openDatabase(t, database), total, `SELECT count(*) FROM uploaded_track_points`)
	var printed bytes.Buffer
	err = export.Run(t.Context(), export.Options{URL: s.url, Lane: "upload", Format: format, Output: to}, &printed)
	require.NoError(t, err)
	assert.Contains(t, printed.String(), filepath.Join(to, "2."+format))
	err = export.Run(t.Context(), export.Options{URL: s.url, Flights: []string{"0", "none"}, Format: format, Output: to}, io.Discard)
	require.ErrorContains(t, err, `flight "none"`)
	require.ErrorContains(t, err, "1 of 2 flights were not saved")
	return to
}

func TestExport_SavesEachFixOfEachFlight(t *testing.T) {
	t.Parallel()
	directory := exported(t, "igc")
	again := servers.Database(t)
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+again, "REDIS_URL="+servers.Redis(t).URL())
	_, err := upload.Run(t.Context(), []string{directory}, upload.Options{URL: s.url}, io.Discard)
	require.NoError(t, err)
	pool := openDatabase(t, again)
	for i, fixes := range []int{3, 500, 4000} {
		requireRows(t, pool, fixes, fmt.Sprintf(`SELECT count(*) FROM uploaded_track_points WHERE flight_id = '%d' AND lat = 46.5 AND lon = 7.25
			AND barometric_altitude = 1200 AND elevation = 1234
			AND datetime BETWEEN '2026-07-14T00:00:00Z' AND timestamptz '2026-07-14T00:00:00Z' + %d * interval '1 s'`, i, fixes-1))
	}
}

// Another program finds the same fixes in the files.
func TestExport_IsReadByGPSBabel(t *testing.T) {
	t.Parallel()
	program, err := exec.LookPath("gpsbabel")
	if err != nil {
		t.Skip("gpsbabel is not installed")
	}
	for _, format := range []string{"gpx", "kml"} {
		t.Run(format, func(t *testing.T) {
			t.Parallel()
			directory := exported(t, format)
			for i, fixes := range []int{3, 500, 4000} {
				var out, errors bytes.Buffer
				command := exec.CommandContext(t.Context(), program, "-t", "-i", format, "-f", filepath.Join(directory, fmt.Sprintf("%d.%s", i, format)),
					"-o", "unicsv,utc=0", "-F", "-")
				command.Stdout, command.Stderr = &out, &errors
				require.NoError(t, command.Run(), errors.String())
				assertFixes(t, out.Bytes(), fixes)
			}
		})
	}
}

// assertFixes fails unless a table of gpsbabel holds so many fixes of igcOf.
func assertFixes(t *testing.T, table []byte, fixes int) {
	t.Helper()
	rows, err := csv.NewReader(bytes.NewReader(table)).ReadAll()
	require.NoError(t, err)
	require.Len(t, rows, fixes+1)
	column := make(map[string]int)
	for i, name := range rows[0] {
		column[name] = i
	}
	at := time.Date(2026, 7, 14, 0, 0, 0, 0, time.UTC)
	for i, row := range rows[1:] {
		want := at.Add(time.Duration(i) * time.Second).Format("2006/01/02 15:04:05")
		require.Equal(t, want, row[column["Date"]]+" "+row[column["Time"]])
		require.Equal(t, "46.500000 7.250000", row[column["Latitude"]]+" "+row[column["Longitude"]])
	}
}
