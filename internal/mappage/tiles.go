package mappage

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
)

// TilesPath is where a background's file is served.
const TilesPath = "/map/tiles.pmtiles"

// The kinds of tiles that browsers draw, by their numbers in a PMTiles header: PNG,
// JPEG, WebP and AVIF.
const firstImage, lastImage = 2, 5

// isFile reports whether a background is a file, and not a URL template.
func isFile(tiles string) bool { return tiles != "" && !strings.Contains(tiles, "://") }

// CheckTiles returns an error if a background is a file that cannot be read or shown:
// a PMTiles file of version 3 (github.com/protomaps/PMTiles, spec/v3) with images.
func CheckTiles(tiles string) error {
	if !isFile(tiles) {
		return nil
	}
	file, err := os.Open(tiles)
	if err != nil {
		return fmt.Errorf("open the map's background: %w", err)
	}
	defer file.Close()
	const magic, version, length, typeOffset = "PMTiles", 3, 127, 99
	header := make([]byte, length)
	if _, err := io.ReadFull(file, header); err != nil {
		return fmt.Errorf("read the header of the map's background: %w", err)
	}
	if string(header[:len(magic)]) != magic || header[len(magic)] != version {
		return errors.New("the map's background is no PMTiles file of version 3")
	}
	if kind := header[typeOffset]; kind < firstImage || kind > lastImage {
		return errors.New("the map's background has vector tiles; the map shows PNG, JPEG, WebP and AVIF")
	}
	return nil
}

// serveTiles serves parts of a background's file.
func serveTiles(name string) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		file, err := os.Open(name)
		if err != nil {
			http.Error(w, "the map's background is not there", http.StatusNotFound)
			return
		}
		defer file.Close()
		info, err := file.Stat()
		if err != nil || !info.Mode().IsRegular() {
			http.Error(w, "the map's background cannot be read", http.StatusNotFound)
			return
		}
		w.Header().Set("Content-Type", "application/vnd.pmtiles")
		w.Header().Set("ETag", fmt.Sprintf(`"%x-%x"`, info.ModTime().UnixNano(), info.Size()))
		http.ServeContent(w, r, "", info.ModTime(), file)
	}
}
