package mappage

import (
	"bytes"
	"encoding/binary"
	"image"
	"image/png"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"testing"

	"github.com/chromedp/chromedp"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// writeTiles writes a PMTiles file whose tiles, down to zoom 9, are one picture.
func writeTiles(t *testing.T, kind byte) (name string) {
	t.Helper()
	var picture bytes.Buffer
	require.NoError(t, png.Encode(&picture, image.NewGray(image.Rect(0, 0, 256, 256))))
	const tiles = (1<<20 - 1) / 3 // 4⁰ + … + 4⁹
	var directory []byte
	for _, value := range []uint64{1, 0, tiles, uint64(picture.Len()), 1} { // entries, id, run, length, offset + 1
		directory = binary.AppendUvarint(directory, value)
	}
	const headerLength = 127
	metadata := []byte("{}")
	file := append([]byte("PMTiles\x03"), make([]byte, headerLength-8)...)
	place := uint64(headerLength)
	for i, length := range []int{len(directory), len(metadata), 0, picture.Len()} {
		binary.LittleEndian.PutUint64(file[8+16*i:], place)
		binary.LittleEndian.PutUint64(file[16+16*i:], uint64(length))
		place += uint64(length)
	}
	const uncompressed = 1
	copy(file[96:], []byte{1, uncompressed, uncompressed, kind, 0, 9})
	file = append(append(append(file, directory...), metadata...), picture.Bytes()...)
	name = filepath.Join(t.TempDir(), "area.pmtiles")
	require.NoError(t, os.WriteFile(name, file, 0o600))
	return name
}

func TestCheckTiles(t *testing.T) {
	t.Parallel()
	require.NoError(t, CheckTiles(""))
	require.NoError(t, CheckTiles("https://tile.example/{z}/{x}/{y}.png"))
	require.NoError(t, CheckTiles(writeTiles(t, 2)))
	require.ErrorContains(t, CheckTiles(writeTiles(t, 1)), "vector tiles")
	require.ErrorIs(t, CheckTiles("not/there.pmtiles"), os.ErrNotExist)
	other := filepath.Join(t.TempDir(), "x.pmtiles")
	require.NoError(t, os.WriteFile(other, make([]byte, 200), 0o600))
	require.ErrorContains(t, CheckTiles(other), "no PMTiles file")
}

func TestPage_ShowsABackgroundFromAFile(t *testing.T) {
	s := site{address: "127.0.0.1:0", tiles: writeTiles(t, 2)}
	s.start(t)
	b := openBrowser(t, 800, 600, "light")
	require.NoError(t, chromedp.Do(b, chromedp.Navigate("http://"+s.address+"/map#lat=46&lon=8&z=12")))
	b.waitFor(t, `[...document.querySelectorAll("img.leaflet-tile")].some((tile) => tile.src.startsWith("blob:") && tile.naturalWidth == 256)`)
	assert.Empty(t, b.complaints(), "the browser complains, maybe about the Content-Security-Policy")

	w, r := httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, TilesPath, nil)
	r.Header.Set("Range", "bytes=0-6")
	New(s.tiles).ServeHTTP(w, r)
	assert.Equal(t, http.StatusPartialContent, w.Code)
	assert.Equal(t, "PMTiles", w.Body.String())
	assert.Contains(t, w.Header().Get("Content-Security-Policy"), "img-src 'self' data: blob:; connect-src 'self'")
	assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
}
