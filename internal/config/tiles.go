package config

import (
	"net/url"
	"strings"
)

// isTiles reports whether a value is the path of a PMTiles file, which need not be
// there, or a URL template of raster tiles, such as
// https://{s}.tile.example/{z}/{x}/{y}.png: {s} can only begin the host name.
func isTiles(tiles string) bool {
	if strings.HasSuffix(tiles, ".pmtiles") && !strings.Contains(tiles, "://") {
		return true
	}
	u, err := url.Parse(strings.Replace(tiles, "://{s}.", "://s.", 1))
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || u.User != nil ||
		strings.ContainsAny(u.Host, "{}*;,' \"") || strings.ContainsAny(tiles, " \t\r\n") {
		return false
	}
	for _, name := range []string{"{z}", "{x}", "{y}"} {
		if !strings.Contains(tiles, name) {
			return false
		}
	}
	return true
}

// tilesForm says what isTiles accepts.
const tilesForm = "the path of a .pmtiles file, or a URL template such as https://tile.example/{z}/{x}/{y}.png"
