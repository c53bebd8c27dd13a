// Package upload sends recorded flights to a tracklane server: their files, or their
// fixes as if they were flown now.
package upload

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"text/tabwriter"
	"time"

	"github.com/schollz/progressbar/v3"
	"golang.org/x/sync/errgroup"
	"golang.org/x/term"

	"tracklane/internal/clock"
	"tracklane/internal/retry"
	"tracklane/internal/trackfile"
)

// Options says where files go.
type Options struct {
	URL   string // of the server, like http://localhost:8080
	Token string // goes with each request; empty = none

	// Delay is how long the first retry waits where the server does not say; each
	// waits twice as long, up to 30 s. 0 is a second.
	Delay time.Duration

	// silence is how long a server may neither read nor respond; 0 is maxSilence.
	silence time.Duration
}

const (
	parallel = 4
	attempts = 10 // of each request

	maxSilence  = 5 * time.Minute // a server may be reading many large files at its own pace
	maxResponse = 4 << 20         // bytes of a response that are read
)

// Result is what became of a file.
type Result struct {
	Path                       string
	Queued, Stored, Duplicates int // points
	Rejected                   int
	Reason                     string // of the first rejection, or of the failure
	Failed                     bool   // nothing of it was accepted
	Damaged                    int    // files of it, or the file itself, that could not be used to their end
}

// Run uploads files, and all files of flights in directories, and prints how far it
// is and what came of them. It may be run again with the same files: the server
// stores no point twice. The error says that the options or paths are wrong, that ctx
// ended, or how many files were not accepted, or not whole.
func Run(ctx context.Context, paths []string, options Options, out io.Writer) ([]Result, error) {
	server, err := url.Parse(options.URL)
	if err != nil || server.Host == "" {
		return nil, fmt.Errorf("url: %q is not like http://localhost:8080", options.URL)
	}
	files, size, err := find(paths)
	if err != nil {
		return nil, err
	}
	ids := flightIDs(files)
	results := make([]Result, len(files))
	progress := newProgress(out, size, len(files))
	var group errgroup.Group
	group.SetLimit(parallel)
	for i, path := range files {
		group.Go(func() error {
			s := sender{options: options, url: *server.JoinPath("upload"), progress: progress}
			results[i] = s.upload(ctx, path, ids[path])
			progress.files.Add(1)
			return nil
		})
	}
	_ = group.Wait() // no error is returned
	progress.stop()
	failed, damaged := summarize(out, results)
	switch {
	case ctx.Err() != nil:
		return results, fmt.Errorf("upload: %w", ctx.Err())
	case failed > 0:
		return results, fmt.Errorf("%d of %d files were not accepted", failed, len(files))
	case damaged > 0:
		return results, fmt.Errorf("%d of %d files were not accepted whole", damaged, len(files))
	}
	return results, nil
}

// find lists files, and in directories those whose names are of files of flights.
func find(paths []string) (files []string, size int64, err error) {
	for _, root := range paths {
		err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() || path != root && !trackfile.HasExtension(path) {
				return err
			}
			info, err := os.Stat(path)
			if err == nil && info.Mode().IsRegular() {
				files, size = append(files, path), size+info.Size()
			}
			return err
		})
		if err != nil {
			return nil, 0, fmt.Errorf("find files: %w", err)
		}
	}
	if len(files) == 0 {
		return nil, 0, errors.New("find files: there is none of a flight")
	}
	return files, size, nil
}

// flightIDs returns ids for the files whose names others have in other directories,
// with as much of their paths as tells them apart; the server makes those of the rest
// of their names. A zip file has none: it would be that of all flights in it.
func flightIDs(files []string) map[string]string {
	named := make(map[string]int)
	for _, path := range files {
		for _, id := range possibleIDs(path) {
			named[id]++
		}
	}
	ids := make(map[string]string)
	for _, path := range files {
		possible := possibleIDs(path)
		if named[possible[0]] == 1 || strings.EqualFold(filepath.Ext(path), ".zip") {
			continue
		}
		for _, id := range possible {
			if ids[path] = id; named[id] == 1 {
				break
			}
		}
	}
	return ids
}

// possibleIDs are the ids of a file's flight, with more and more of its path.
func possibleIDs(path string) []string {
	return append([]string{trackfile.FlightID(path)}, trackfile.LongerIDs(path)...)
}

// sender sends one file.
type sender struct {
	options  Options
	url      url.URL
	progress *progress
}

// upload sends a file again until the server has accepted or refused it.
func (s *sender) upload(ctx context.Context, path, id string) Result {
	query := url.Values{"filename": {filepath.Base(path)}}
	if id != "" {
		query.Set("flight_id", id)
	}
	s.url.RawQuery = query.Encode()
	var result Result
	err := s.options.persist(ctx, func() (wait time.Duration, err error) {
		result, wait, err = s.send(ctx, path)
		return wait, err
	})
	if err != nil {
		return Result{Path: path, Failed: true, Reason: err.Error()}
	}
	return result
}

// persist calls send again until it returns no error, but not longer than attempts.
// wait is how long the server says to wait before the next one.
func (o Options) persist(ctx context.Context, send func() (wait time.Duration, err error)) error {
	mayPass := func(err error) bool { return !errors.Is(err, fs.ErrNotExist) && !errors.Is(err, fs.ErrPermission) }
	return retry.Policy{Attempts: attempts, Delay: o.Delay}.Do(ctx, mayPass, send)
}

// send sends a file once. The error is one after which it may be sent again, after
// wait if the server says so.
func (s *sender) send(ctx context.Context, path string) (result Result, wait time.Duration, err error) {
	file, err := os.Open(path)
	if err != nil {
		return Result{}, 0, err
	}
	defer file.Close()
	ctx, alive, done := s.options.bound(ctx)
	defer done()
	counted := &countingReader{file: file, progress: s.progress, alive: alive}
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, s.url.String(), counted)
	if err != nil {
		return Result{}, 0, fmt.Errorf("make a request: %w", err)
	}
	if info, err := file.Stat(); err == nil {
		request.ContentLength = info.Size()
	}
	request.Header.Set("Content-Type", "application/octet-stream")
	got, wait, err := s.options.do(request)
	if err != nil {
		s.progress.bytes.Add(-counted.read.Load())
		return Result{}, wait, err
	}
	return resultOf(path, got), 0, nil
}

// response is what a server answered.
type response struct {
	code   int
	status string // 404 Not Found
	text   []byte
}

// errSilent says that a server neither read nor responded for too long.
var errSilent = errors.New("the server does not respond")

// bound returns a context that ends when alive has not been called for as long as a
// server may be silent. done must be called.
func (o Options) bound(ctx context.Context) (bounded context.Context, alive, done func()) {
	silence := o.silence
	if silence == 0 {
		silence = maxSilence
	}
	bounded, cancel := context.WithCancelCause(ctx)
	timer := time.AfterFunc(silence, func() { cancel(errSilent) })
	return bounded, func() { timer.Reset(silence) }, func() {
		timer.Stop()
		cancel(nil)
	}
}

// do sends a request with the token, and reads the response. The error is one after
// which the request may be sent again, after wait if the server says so.
func (o Options) do(request *http.Request) (got response, wait time.Duration, err error) {
	if o.Token != "" {
		request.Header.Set("Authorization", "Bearer "+o.Token)
	}
	answered, err := http.DefaultClient.Do(request)
	if err != nil {
		if cause := context.Cause(request.Context()); errors.Is(cause, errSilent) {
			err = cause
		}
		return response{}, 0, fmt.Errorf("send: %w", err)
	}
	defer answered.Body.Close()
	text, err := io.ReadAll(io.LimitReader(answered.Body, maxResponse))
	if err == nil && (answered.StatusCode >= 500 || answered.StatusCode == http.StatusTooManyRequests) {
		err = fmt.Errorf("response %s", answered.Status)
	}
	if err != nil {
		return response{}, retry.After(answered), err
	}
	return response{answered.StatusCode, answered.Status, text}, 0, nil
}

// resultOf reads a response that will not change.
func resultOf(path string, got response) Result {
	var body struct {
		Title, Detail                string
		Points, Inserted, Duplicates int
		RejectedTotal                int `json:"rejected_total"`
		Rejected                     []struct {
			Index              int
			File, Field, Error string
		}
	}
	result := Result{Path: path}
	if err := json.Unmarshal(got.text, &body); err != nil {
		return Result{Path: path, Failed: true, Reason: "response " + got.status}
	}
	result.Rejected = body.RejectedTotal
	if len(body.Rejected) > 0 {
		first := body.Rejected[0]
		result.Reason = fmt.Sprintf("%d: %s %s", first.Index, first.Field, first.Error)
	}
	for _, r := range slices.Backward(body.Rejected) { // the reason is that of the first
		if r.Field == "file" {
			result.Damaged++
			result.Reason = strings.TrimPrefix(r.File+": "+r.Error, ": ")
		}
	}
	switch got.code {
	case http.StatusAccepted:
		result.Queued = body.Points
	case http.StatusCreated:
		result.Stored, result.Duplicates = body.Inserted, body.Duplicates
	default:
		result.Failed, result.Reason = true, body.Title+": "+body.Detail
	}
	return result
}

// summarize prints what came of the files, and those of which something was refused
// one by one. It returns how many were not accepted, and how many of the others were
// accepted, but not whole.
func summarize(out io.Writer, results []Result) (failed, damaged int) {
	var total Result
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, r := range results {
		total.Queued, total.Stored = total.Queued+r.Queued, total.Stored+r.Stored
		total.Duplicates, total.Rejected = total.Duplicates+r.Duplicates, total.Rejected+r.Rejected
		if r.Failed {
			failed++
		}
		if r.Failed || r.Rejected > 0 {
			what := fmt.Sprintf("%d points left out", r.Rejected)
			switch {
			case r.Failed:
				what = "refused"
			case r.Damaged > 0:
				what = "not whole"
				damaged++
			}
			fmt.Fprintf(table, "%s\t%s\t%s\n", r.Path, what, r.Reason)
		}
	}
	_ = table.Flush() // what cannot be printed changes nothing
	fmt.Fprintf(out, "files   %d, not accepted %d\n", len(results), failed)
	fmt.Fprintf(out, "points  queued %d, stored %d, duplicates %d, left out %d\n", total.Queued, total.Stored, total.Duplicates, total.Rejected)
	return failed, damaged
}

// countingReader tells the progress what was read of a file.
type countingReader struct {
	file     *os.File
	progress *progress
	alive    func() // the server goes on reading
	read     atomic.Int64
}

// Read implements io.Reader.
func (r *countingReader) Read(p []byte) (int, error) {
	n, err := r.file.Read(p)
	r.read.Add(int64(n))
	r.progress.bytes.Add(int64(n))
	r.alive()
	return n, err
}

// progress shows how much was sent: with a bar on a terminal, with a line every few
// seconds elsewhere.
type progress struct {
	bytes, files atomic.Int64
	stop         func()
}

func newProgress(out io.Writer, size int64, files int) *progress {
	p := &progress{}
	interval := 5 * time.Second
	show, finish := func() { fmt.Fprintf(out, "%d of %d files\n", p.files.Load(), files) }, func() {}
	if file, ok := out.(*os.File); ok && term.IsTerminal(int(file.Fd())) {
		bar := progressbar.NewOptions64(max(size, 1), progressbar.OptionSetWriter(out), progressbar.OptionShowBytes(true),
			progressbar.OptionClearOnFinish(), progressbar.OptionFullWidth(), progressbar.OptionSetPredictTime(true))
		interval = 100 * time.Millisecond
		show = func() {
			bar.Describe(fmt.Sprintf("%d of %d files", p.files.Load(), files))
			_ = bar.Set64(min(p.bytes.Load(), size)) // a bar that cannot be drawn stops nothing
		}
		finish = func() { _ = bar.Finish() }
	}
	stop := clock.Every(interval, show)
	p.stop = func() {
		stop()
		finish()
	}
	return p
}
