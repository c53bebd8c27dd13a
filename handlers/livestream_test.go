package handlers

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth"
)

func TestLiveStream_ShowsATokenItsOwnRaceOnly(t *testing.T) {
	t.Parallel()
	url := newReadingServer(t)
	token := readToken(t, auth.Claims{Race: "cup"})
	for query, want := range map[string]int{"?race_id=open&token=" + token: 403, "": 401, "?from=x&token=" + token: 400} {
		assert.Equal(t, want, send(t, http.MethodGet, url+"/live/stream"+query, nil).code, query)
	}

	response, err := http.Get(url + "/t/" + token + "/live/stream")
	require.NoError(t, err)
	defer response.Body.Close()
	assert.Equal(t, "text/event-stream", response.Header.Get("Content-Type"))
	text := ""
	for lines := bufio.NewScanner(response.Body); !strings.HasPrefix(text, "data: ") && lines.Scan(); {
		text = lines.Text()
	}
	assert.Contains(t, text, "a/1")
	assert.NotContains(t, text, "bert")
}
