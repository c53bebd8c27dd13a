package apidoc

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/emulation"
	"github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/getkin/kin-openapi/openapi3"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/browsertest"
)

func TestDescription_IsValidWithItsExamples(t *testing.T) {
	t.Parallel()
	document, err := openapi3.NewLoader().LoadFromData(JSON())
	require.NoError(t, err)
	require.NoError(t, document.Validate(t.Context(), openapi3.EnableExamplesValidation()))
	assert.Equal(t, "3.1.0", document.OpenAPI)
	assert.True(t, strings.Index(string(JSON()), `"/live"`) < strings.Index(string(JSON()), `"/flights"`), "its order is that of the source")
}

func TestPage_ServesTheDescriptionAndNothingFromElsewhere(t *testing.T) {
	t.Parallel()
	page := New()
	for path, contentType := range map[string]string{
		"/openapi.json": "application/json", "/docs": "text/html; charset=utf-8", "/docs/docs.css": "text/css; charset=utf-8",
	} {
		w := httptest.NewRecorder()
		page.ServeHTTP(w, httptest.NewRequest(http.MethodGet, path, nil))
		require.Equal(t, http.StatusOK, w.Code, path)
		assert.Equal(t, contentType, w.Header().Get("Content-Type"), path)
		assert.True(t, strings.HasPrefix(w.Header().Get("Content-Security-Policy"), "default-src 'none'; style-src 'self'; frame-ancestors 'none'"))
		assert.Equal(t, "nosniff", w.Header().Get("X-Content-Type-Options"))
		for _, bad := range []string{"http://", "https://", "<script", "style=", "<nil>", "&lt;nil&gt;", "%!"} {
			assert.NotContains(t, w.Body.String(), bad, path)
		}
	}
}

// TestPage_CanBeReadInABrowser looks at the page as on a desk and on a phone, light and
// dark.
func TestPage_CanBeReadInABrowser(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(New())
	t.Cleanup(server.Close)
	tab := browsertest.Open(t, time.Minute)
	var mu sync.Mutex
	var logged []string
	require.NoError(t, chromedp.Listen(tab, func(event any) {
		if e, ok := event.(*log.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			logged = append(logged, e.Entry.Text+" "+e.Entry.URL)
		}
	}))
	_, err := chromedp.Call(tab, log.Enable, cdp.Empty{})
	require.NoError(t, err)
	grounds := map[string]string{}
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		require.NoError(t, err)
		for _, width := range []int64{360, 1280} {
			require.NoError(t, chromedp.Do(tab, chromedp.EmulateViewport(width, 800)))
			require.NoError(t, chromedp.Do(tab, chromedp.Navigate(server.URL+"/docs#postLive")))
			isShown, err := chromedp.Run(tab, chromedp.Evaluate[bool](`document.querySelector("#postLive").checkVisibility()`))
			require.NoError(t, err)
			assert.True(t, isShown, "a link to an endpoint opens it")
			picture, err := chromedp.Run(tab, chromedp.CaptureScreenshot())
			require.NoError(t, err)
			require.NoError(t, os.WriteFile(filepath.Join(t.ArtifactDir(), fmt.Sprint(scheme, width, ".png")), picture, 0o644))
			fits, err := chromedp.Run(tab, chromedp.Evaluate[bool](
				`document.querySelectorAll("details").forEach(d => d.open = true), document.documentElement.scrollWidth <= innerWidth`))
			require.NoError(t, err)
			assert.True(t, fits, "%s, %d pixels: with all of it open, it has to be moved sideways", scheme, width)
			grounds[scheme], err = chromedp.Run(tab, chromedp.Evaluate[string](`getComputedStyle(document.body).backgroundColor`))
			require.NoError(t, err)
		}
	}
	assert.NotEqual(t, grounds["light"], grounds["dark"])
	mu.Lock()
	defer mu.Unlock()
	assert.Empty(t, logged, "the browser complains, maybe about the Content-Security-Policy")
}

func TestPage_IsAccessible(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(New())
	t.Cleanup(server.Close)
	tab := browsertest.Open(t, 5*time.Minute)
	for _, scheme := range []string{"light", "dark"} {
		_, err := chromedp.Call(tab, emulation.SetEmulatedMedia, emulation.SetEmulatedMediaParams{
			Features: []*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}},
		})
		require.NoError(t, err)
		require.NoError(t, chromedp.Do(tab, chromedp.Navigate(server.URL+"/docs#postLive"))) // all of them open take axe long
		browsertest.RequireAccessible(t, tab)
	}
}
