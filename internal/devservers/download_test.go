package devservers

import (
	"archive/zip"
	"bytes"
	"context"
	"crypto/rand"
	"crypto/sha256"
	"encoding/hex"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestStartPostgres_DownloadsPostgresWhereNoneIsInstalled(t *testing.T) {
	archive := archiveOfLocalPostgres(t)
	repository := startRepository(t, jar(t, archive), "")
	sources := onlyDownloads(t, repository.URL)
	umask := syscall.Umask(0o077)
	t.Cleanup(func() { syscall.Umask(umask) })
	options := PostgresOptions{Dir: testDir(t)}

	server, err := startPostgres(t.Context(), options, sources)
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	assert.Equal(t, 1, count(t, server.DSN(), "SELECT 1"))
	assert.Equal(t, filepath.Join(options.Dir, "data"), server.Dir(), "the server's user can enter it")
	query := "SELECT count(*) FROM pg_config WHERE name IN ('BINDIR', 'SHAREDIR', 'PKGLIBDIR') AND setting LIKE '" + sources.cache + "/%'"
	assert.Equal(t, 3, count(t, server.DSN(), query), "what the server runs from")
	assert.Equal(t, []string{"postgresql-17.5.0", "postgresql-17.5.0.lock"}, names(t, sources.cache))
	require.NoError(t, server.Stop(t.Context()))

	repository.Close()
	again, err := startPostgres(t.Context(), options, sources)
	require.NoError(t, err, "with the repository down, from the cache")
	t.Cleanup(func() { assert.NoError(t, again.Kill()) })
	assert.Equal(t, 1, count(t, again.DSN(), "SELECT 1"))
}

func TestStartPostgres_SaysWhatToDoWhenTheDownloadFails(t *testing.T) {
	down := httptest.NewServer(http.NotFoundHandler())
	down.Close()
	directory := t.TempDir()
	require.NoError(t, os.WriteFile(filepath.Join(directory, "pg_ctl"), []byte(rand.Text()), 0o755))
	require.NoError(t, os.WriteFile(filepath.Join(directory, "postgres"), []byte(strings.Repeat(rand.Text(), 1<<16)), 0o755))
	archive := packed(t, "-C", filepath.Dir(directory), filepath.Base(directory))
	half := jar(t, archive[:len(archive)/2])
	for name, test := range map[string]struct{ url, want string }{
		"the repository is down":           {down.URL, "unable to connect"},
		"the repository lacks the version": {startRepository(t, nil, "").URL, "no version found"},
		"the checksum differs":             {startRepository(t, half, strings.Repeat("0", 64)).URL, "checksums do not match"},
		"half of the archive is lost":      {startRepository(t, half, "").URL, "unable to extract"},
	} {
		t.Run(name, func(t *testing.T) {
			sources := onlyDownloads(t, test.url)
			_, err := startPostgres(t.Context(), PostgresOptions{Dir: testDir(t)}, sources)
			require.ErrorIs(t, err, errNoInstallation)
			require.ErrorContains(t, err, test.want)
			require.ErrorContains(t, err, "from "+test.url)
			require.ErrorContains(t, err, "install PostgreSQL 15 or newer")
			assert.Equal(t, []string{"postgresql-17.5.0.lock"}, names(t, sources.cache))
		})
	}
}

func TestStartPostgres_DownloadsNothingWhenItsContextIsDone(t *testing.T) {
	var requests atomic.Int64
	repository := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { requests.Add(1) }))
	t.Cleanup(repository.Close)
	sources := onlyDownloads(t, repository.URL)
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	_, err := startPostgres(ctx, PostgresOptions{Dir: testDir(t)}, sources)
	require.ErrorIs(t, err, context.Canceled)
	assert.Zero(t, requests.Load())
	assert.Empty(t, names(t, sources.cache))
}

func TestStartPostgres_DoesNotWaitForADownloadWhenItsContextIsDone(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	released := make(chan struct{})
	repository := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		cancel()
		<-released
		w.WriteHeader(http.StatusNotFound)
	}))
	t.Cleanup(repository.Close)
	sources := onlyDownloads(t, repository.URL)
	_, err := startPostgres(ctx, PostgresOptions{Dir: testDir(t)}, sources)
	require.ErrorIs(t, err, context.Canceled)

	close(released)
	require.Eventually(t, func() bool { return len(names(t, sources.cache)) == 1 }, 10*time.Second, 5*time.Millisecond,
		"only the lock remains of what failed")
}

// onlyDownloads hides the installations of this machine from the test and
// returns sources that consist of a repository and an empty cache.
func onlyDownloads(t *testing.T, repositoryURL string) binarySources {
	t.Helper()
	cache := testDir(t)
	t.Setenv("TMPDIR", testDir(t)) // where the library leaves a log
	t.Setenv("PATH", t.TempDir())
	return binarySources{repositoryURL: repositoryURL, cache: cache}
}

var jarPath = regexp.MustCompile(`^/io/zonky/test/postgres/(embedded-postgres-binaries-[^/]+)/17\.5\.0/(embedded-postgres-binaries-[^/]+)-17\.5\.0\.jar(\.sha256)?$`)

// startRepository serves file as PostgreSQL's binaries for every machine, with
// the checksum, or the right one if that is empty. Without a file it has nothing.
func startRepository(t *testing.T, file []byte, checksum string) *httptest.Server {
	t.Helper()
	if checksum == "" {
		sum := sha256.Sum256(file)
		checksum = hex.EncodeToString(sum[:])
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		match := jarPath.FindStringSubmatch(r.URL.Path)
		switch {
		case file == nil || match == nil || match[1] != match[2]:
			http.NotFound(w, r)
		case match[3] != "":
			_, _ = w.Write([]byte(checksum)) // a client that has gone needs none
		default:
			_, _ = w.Write(file)
		}
	}))
	t.Cleanup(server.Close)
	return server
}

// jar returns the archive, a tar compressed by xz, as it is published.
func jar(t *testing.T, archive []byte) []byte {
	t.Helper()
	var file bytes.Buffer
	writer := zip.NewWriter(&file)
	entry, err := writer.Create("postgres.txz")
	require.NoError(t, err)
	_, err = entry.Write(archive)
	require.NoError(t, err)
	require.NoError(t, writer.Close())
	return file.Bytes()
}

// archiveOfLocalPostgres packs the PostgreSQL of this machine. Its directories
// keep their places relative to each other, so that it uses its own where it is
// extracted; bin is a link if its place is another.
func archiveOfLocalPostgres(t *testing.T) []byte {
	t.Helper()
	local, err := binarySources{installed: debianPattern}.findInstallation(t.Context(), nil, 0)
	require.NoError(t, err)
	output, err := exec.Command(local.binary("pg_config"), "--bindir", "--pkglibdir", "--sharedir").Output()
	require.NoError(t, err)
	places := strings.Fields(string(output))
	root := filepath.Dir(places[0])
	for !strings.HasPrefix(places[1], root+"/") || !strings.HasPrefix(places[2], root+"/") {
		root = filepath.Dir(root)
	}
	for i := range places {
		places[i] = strings.TrimPrefix(places[i], root+"/")
	}

	arguments := []string{"--exclude=bitcode", "-C", root, places[1], places[2]}
	for _, program := range []string{"initdb", "pg_ctl", "postgres"} {
		arguments = append(arguments, filepath.Join(places[0], program))
	}
	if places[0] != "bin" {
		scratch := t.TempDir()
		require.NoError(t, os.Symlink(places[0], filepath.Join(scratch, "bin")))
		arguments = append(arguments, "-C", scratch, "bin")
	}
	return packed(t, arguments...)
}

// packed returns the archive that tar makes with the arguments, compressed by xz.
func packed(t *testing.T, arguments ...string) []byte {
	t.Helper()
	archive := filepath.Join(t.TempDir(), "packed.txz")
	command := exec.Command("tar", append([]string{"-cJf", archive}, arguments...)...)
	command.Env = append(os.Environ(), "XZ_OPT=-0")
	message, err := command.CombinedOutput()
	require.NoError(t, err, string(message))
	content, err := os.ReadFile(archive)
	require.NoError(t, err)
	return content
}

// names are those of the files in directory.
func names(t *testing.T, directory string) (found []string) {
	t.Helper()
	entries, err := os.ReadDir(directory)
	require.NoError(t, err)
	for _, entry := range entries {
		found = append(found, entry.Name())
	}
	return found
}
