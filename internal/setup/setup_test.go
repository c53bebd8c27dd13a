package setup

import (
	"bytes"
	"flag"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

var update = flag.Bool("update", false, "write the golden files") //nolint:gochecknoglobals // a flag of the tests

// token is as long as those of package auth are.
var token = strings.Repeat("x", 36) + "." + strings.Repeat("y", 110) + "." + strings.Repeat("z", 43) //nolint:gochecknoglobals // of the tests

func phone(t *testing.T, server string) Phone {
	t.Helper()
	address, err := url.Parse(server)
	require.NoError(t, err)
	return Phone{Server: address, Pilot: "anna", Token: token, User: "anna@2026-cup", Password: "abcdefghijklmnopqrstuvwx"}
}

func TestGuide_SaysWhatToType(t *testing.T) {
	t.Parallel()
	for _, app := range Apps() {
		t.Run(app, func(t *testing.T) {
			t.Parallel()
			guide, err := For(app, phone(t, "https://tracklane.example"))
			require.NoError(t, err)
			var got bytes.Buffer
			require.NoError(t, guide.Write(&got))
			file := filepath.Join("testdata", app+".txt")
			if *update {
				require.NoError(t, os.WriteFile(file, got.Bytes(), 0o600))
			}
			want, err := os.ReadFile(file)
			require.NoError(t, err)
			assert.Equal(t, string(want), got.String())
			for line := range strings.Lines(got.String()) {
				if strings.ContainsAny(line, "█▀▄") {
					assert.LessOrEqual(t, utf8.RuneCountInString(line), 100, "a code fits into a terminal")
				}
			}
		})
	}
}

func TestFor_RefusesWhatAnAppCannotBeTold(t *testing.T) {
	t.Parallel()
	for server, app := range map[string]string{
		"tracklane.example": "owntracks", "ftp://x": "owntracks", "https://": "owntracks", "https://x?a=b": "owntracks",
		"https://u:p@x": "owntracks", "https://x": "xctrack", "https://x/path": "livetrack24", "https://x:8443": "livetrack24",
		"http://x:443": "livetrack24", "https://" + strings.Repeat("x", 40): "livetrack24",
	} {
		_, err := For(app, phone(t, server))
		assert.Error(t, err, server)
	}
	long := phone(t, "https://x")
	long.User = strings.Repeat("u", 40)
	_, err := For("livetrack24", long)
	require.Error(t, err, "more than can be typed")
	long.User = long.User[1:]
	for server, port := range map[string]string{"https://x": "443", "http://x": "80", "http://x:8080": "8080", "https://x:443/": "443"} {
		long.Server = phone(t, server).Server
		guide, err := For("livetrack24", long)
		require.NoError(t, err, server)
		assert.Equal(t, []Field{{"Server", "x"}, {"Port", port}, {"User", long.User}, {"Password", long.Password}}, guide.Fields)
	}
	guide, err := For("traccar", phone(t, "https://x/path/"))
	require.NoError(t, err)
	assert.Equal(t, "https://x/path/t/"+token+"/live/traccar", guide.Fields[1].Value)
}
