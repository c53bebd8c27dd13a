// Package browsertest gives tests a headless Chromium.
package browsertest

import (
	"context"
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
)

// RequiredVariable names the environment variable that, set to "required",
// makes Open fail a test where it would skip it.
const RequiredVariable = "TRACKLANE_TEST_BROWSER"

// Open returns the context of a new tab of a Chromium of t's own, which ends
// with t. timeout bounds all that t does in it, its start included, which comes
// with the first action. Where there is no Chromium it skips t.
func Open(t *testing.T, timeout time.Duration, options ...chromedp.ExecAllocatorOption) context.Context {
	t.Helper()
	bounded, cancel := context.WithTimeout(t.Context(), timeout)
	t.Cleanup(cancel)
	all := append(chromedp.DefaultExecAllocatorOptions[:],
		chromedp.ExecPath(find(t)), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-quic", true), chromedp.Flag("disable-component-update", true),
	)
	allocator, closeAllocator := chromedp.NewExecAllocator(bounded, append(all, options...)...)
	t.Cleanup(closeAllocator)
	tab, closeTab := chromedp.NewContext(allocator)
	t.Cleanup(closeTab)
	return tab
}

func find(t *testing.T) (path string) {
	t.Helper()
	for _, name := range []string{"chromium", "chromium-browser", "google-chrome"} {
		if path, err := exec.LookPath(name); err == nil {
			return path
		}
	}
	const missing = "no browser: install the package chromium to run the tests that need one"
	if os.Getenv(RequiredVariable) == "required" {
		t.Fatal(missing)
	}
	t.Skip(missing)
	return ""
}
