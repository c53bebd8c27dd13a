package load

import (
	"fmt"
	"io"
	"os"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/term"

	"tracklane/internal/clock"
)

const (
	barInterval  = 100 * time.Millisecond
	lineInterval = time.Second
	barLength    = 1000
)

// showProgress shows how far a run is until the returned function is called:
// with a bar on a terminal, with a line a second elsewhere.
func showProgress(out io.Writer, history *history, options Options, start time.Time) (stop func()) {
	interval, show, finish := lineInterval, lines(out), func() {}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		bar := progressbar.NewOptions(barLength,
			progressbar.OptionSetWriter(out),
			progressbar.OptionClearOnFinish(),
			progressbar.OptionFullWidth(),
			progressbar.OptionSetPredictTime(true),
		)
		interval = barInterval
		show = func(done float64, status string) {
			bar.Describe(status)
			_ = bar.Set(int(done * barLength)) // a bar that cannot be drawn stops nothing
		}
		finish = func() { _ = bar.Finish() }
	}

	stopTicks := clock.Every(interval, func() {
		elapsed := time.Since(start)
		done, acknowledged := history.counts()
		status := fmt.Sprintf("%d requests done, %d acknowledged, %.0f/s",
			done, acknowledged, float64(done)/elapsed.Seconds())
		show(fractionDone(options, done, elapsed), status)
	})
	return func() {
		stopTicks()
		finish()
	}
}

func lines(out io.Writer) func(done float64, status string) {
	return func(done float64, status string) {
		fmt.Fprintf(out, "%3.0f%%  %s\n", 100*done, status)
	}
}

// fractionDone is how far a run is, by requests or by time, between 0 and 1.
func fractionDone(options Options, requests uint64, elapsed time.Duration) float64 {
	var done float64
	if options.Requests > 0 {
		done = float64(requests) / float64(options.Requests)
	}
	if options.Duration > 0 {
		done = max(done, elapsed.Seconds()/options.Duration.Seconds())
	}
	return min(done, 1)
}
