package browsertest

import (
	"context"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"

	"github.com/chromedp/chromedp"
)

// installAxe is the command that installs what RequireAccessible needs, once per checkout,
// in the module's root.
const installAxe = "npm ci --prefix internal/browsertest/axe"

// findFaults runs axe on a document, and makes a line of each element with a fault that
// keeps somebody from using it. Transitions are ended first: the colours of what fades in
// are not those that anybody reads.
const findFaults = `document.getAnimations().filter((animation) => animation instanceof CSSTransition).forEach((transition) => transition.finish());
axe.run(document, { resultTypes: ["violations"] }).then(({ violations }) => violations
	.filter(({ impact }) => impact === "serious" || impact === "critical")
	.flatMap(({ id, help, nodes }) => nodes.map(({ html, failureSummary }) => id + ": " + help + ": " + html.slice(0, 200) + " " + failureSummary)))`

// RequireAccessible fails t if axe (github.com/dequelabs/axe-core) finds a serious or
// critical fault of accessibility in the page of a tab. It skips t where axe is not
// installed.
func RequireAccessible(t *testing.T, tab context.Context) {
	t.Helper()
	_, file, _, _ := runtime.Caller(0)
	axe, err := os.ReadFile(filepath.Join(filepath.Dir(file), "axe", "node_modules", "axe-core", "axe.min.js"))
	if os.IsNotExist(err) {
		t.Skip("axe is not installed, so accessibility is not looked at; run `" + installAxe + "`")
	}
	if err != nil {
		t.Fatal(err)
	}
	if _, err := chromedp.Run(tab, chromedp.Evaluate[bool]("(() => {"+string(axe)+"\n})(), true")); err != nil {
		t.Fatal(err)
	}
	faults, err := chromedp.Run(tab, chromedp.Evaluate[[]string](findFaults, chromedp.EvalAwaitPromise))
	if err != nil {
		t.Fatal(err)
	}
	if len(faults) > 0 {
		t.Errorf("the page has %d faults:\n%s", len(faults), strings.Join(faults, "\n"))
	}
}
