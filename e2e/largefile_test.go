package e2e

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"fmt"
	"io"
	"net/http"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// maxUploadMemory is how much memory a file of flights may take of the API, however
// large it is.
const maxUploadMemory = 64 << 20

// writeLarge writes an IGC file of so many bytes, with a fix each second.
func writeLarge(w io.Writer, size int) (fixes int, err error) {
	buffered := bufio.NewWriter(w)
	written, err := buffered.WriteString("AXYZ042\r\nHFDTE010720\r\n")
	for err == nil && written < size {
		var n int
		n, err = fmt.Fprintf(buffered, "B%02d%02d%02d46%05dN007%05dEA0120001234\r\n", fixes/3600%24, fixes/60%60, fixes%60, fixes%59999, fixes*7%59999)
		written += n
		fixes++
	}
	if err != nil {
		return fixes, err
	}
	return fixes, buffered.Flush()
}

// A file of 200 MB, by itself and in each kind of compression, goes through the API in
// little memory.
func TestFlood_OfALargeFileTakesLittleMemory(t *testing.T) {
	if !*full {
		t.Skip("it takes minutes")
	}
	redis := servers.Redis(t)
	client := openRedis(t, redis)
	api := startProcess(t, "api", "DATABASE_URL="+servers.Database(t), "REDIS_URL="+redis.URL(), "MAX_WAITING_POINTS=20000000")
	require.Less(t, post(t, api.url+"/upload?filename=a.igc", "application/vnd.fai.igc", igcOf(10_000)).code, 300) // what any request takes
	const size = 200 << 20
	compressed := func(compress func(io.Writer) io.WriteCloser) (body *bytes.Buffer, fixes int) {
		body = &bytes.Buffer{}
		w := compress(body)
		fixes, err := writeLarge(w, size)
		require.NoError(t, err)
		require.NoError(t, w.Close())
		return body, fixes
	}
	zipped := func(w io.Writer) io.WriteCloser { return newZipOfOne(t, w) }
	gzipped := func(w io.Writer) io.WriteCloser { return gzip.NewWriter(w) }
	for name, c := range map[string]struct {
		contentType, encoding string
		compress              func(io.Writer) io.WriteCloser
	}{
		"a file":              {"application/vnd.fai.igc", "", func(w io.Writer) io.WriteCloser { return nopCloser{w} }},
		"in a zip file":       {"application/zip", "", zipped},
		"in a gzip file":      {"application/gzip", "", gzipped},
		"in gzip as encoding": {"application/vnd.fai.igc", "gzip", gzipped},
	} {
		t.Run(name, func(t *testing.T) {
			body, fixes := compressed(c.compress)
			require.NoError(t, client.FlushAll(t.Context()).Err())
			sent := body.Len()
			api.resetPeak(t)
			before := api.peak(t)
			request, err := http.NewRequest(http.MethodPost, api.url+"/upload?filename=large.igc", body)
			require.NoError(t, err)
			request.Header.Set("Content-Type", c.contentType)
			if c.encoding != "" {
				request.Header.Set("Content-Encoding", c.encoding)
			}
			code, text := do(t, request)
			require.Equal(t, http.StatusAccepted, code, text)
			assert.Contains(t, text, fmt.Sprintf(`"points":%d,`, fixes))
			growth := api.peak(t) - before
			t.Logf("%d MB sent, %d fixes: %d MB beside the %d MB of before", sent>>20, fixes, growth>>20, before>>20)
			assert.Less(t, growth, maxUploadMemory)
		})
	}
}

// zipOfOne is a zip file with one file, which is written.
type zipOfOne struct {
	io.Writer
	io.Closer
}

func newZipOfOne(t *testing.T, w io.Writer) io.WriteCloser {
	t.Helper()
	archive := zip.NewWriter(w)
	file, err := archive.Create("large.igc")
	require.NoError(t, err)
	return zipOfOne{file, archive}
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }
