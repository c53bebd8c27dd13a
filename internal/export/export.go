// Package export saves the flights that a server has stored as files.
package export

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"time"

	"tracklane/internal/retry"
	"tracklane/internal/trackexport"
)

// Options says which flights are saved, from where and how. Empty fields do not narrow
// the choice.
type Options struct {
	URL   string // of the server, like http://localhost:8080
	Token string // with the scope read; goes with each request; empty = none

	Flights  []string // ids; none = those of the next fields
	Lane     string
	Race     string
	Pilot    string
	From, To string // RFC 3339: points from the first until before the second

	Format string // of trackexport.Names
	Output string // directory, which is made; "-" = the writer of Run, for one flight

	// Delay is how long the first retry waits where the server does not say; each
	// waits twice as long. 0 is a second.
	Delay time.Duration
}

const (
	attempts       = 5                // of each request
	requestTimeout = 10 * time.Minute // of one attempt
	maxProblem     = 64 << 10         // bytes of a response that is no file
	maxList        = 4 << 20          // bytes of a page of the list
)

// flight is one that is to be saved.
type flight struct{ ID, Lane string }

// Run saves the flights and prints what it saved. An error names what could not be
// saved; other flights are saved all the same.
func Run(ctx context.Context, options Options, out io.Writer) error {
	server, err := url.Parse(options.URL)
	if err != nil || server.Host == "" {
		return fmt.Errorf("url: %q is not like http://localhost:8080", options.URL)
	}
	format, known := trackexport.Find(options.Format)
	if !known {
		return fmt.Errorf("format: %q is not one of %v", options.Format, trackexport.Names())
	}
	x := &exporter{Options: options, server: server, format: format, names: map[string]bool{}}
	flights, err := x.flights(ctx)
	if err != nil {
		return err
	}
	if len(flights) == 0 {
		return errors.New("the server has no such flight, or shows none to this token")
	}
	if options.Output == "-" {
		if len(flights) > 1 {
			return fmt.Errorf("there are %d flights: name a directory to save them to with --output", len(flights))
		}
		return x.save(ctx, flights[0], func(body io.Reader) error {
			_, err := io.Copy(out, body)
			return err
		}, 1)
	}
	if err := os.MkdirAll(options.Output, 0o755); err != nil {
		return fmt.Errorf("make the directory for the flights: %w", err)
	}
	var failed []error
	for _, f := range flights {
		path := filepath.Join(options.Output, x.name(f))
		if err := x.save(ctx, f, func(body io.Reader) error { return write(path, body) }, attempts); err != nil {
			failed = append(failed, err)
			continue
		}
		fmt.Fprintln(out, path)
	}
	if len(failed) > 0 {
		return fmt.Errorf("%d of %d flights were not saved: %w", len(failed), len(flights), errors.Join(failed...))
	}
	return nil
}

type exporter struct {
	Options
	server *url.URL
	format trackexport.Format
	names  map[string]bool // of the files so far
}

// name is a name for a flight's file that no other flight has.
func (x *exporter) name(f flight) string {
	name := x.format.FileName(f.ID)
	for i := 2; x.names[name]; i++ {
		name = x.format.FileName(fmt.Sprintf("%.90s-%s-%d", f.ID, f.Lane, i))
	}
	x.names[name] = true
	return name
}

// query is what narrows the choice.
func (x *exporter) query() url.Values {
	query := url.Values{}
	for name, value := range map[string]string{"race_id": x.Race, "pilot_id": x.Pilot, "from": x.From, "to": x.To, "lane": x.Lane} {
		if value != "" {
			query.Set(name, value)
		}
	}
	return query
}

// flights lists what is to be saved.
func (x *exporter) flights(ctx context.Context) (found []flight, err error) {
	for _, id := range x.Flights {
		found = append(found, flight{id, x.Lane})
	}
	if len(found) > 0 {
		return found, nil
	}
	query := x.query()
	query.Set("limit", "200")
	for {
		var page struct {
			Flights []flight `json:"flights"`
			Next    string   `json:"next_cursor"`
		}
		address := x.server.JoinPath("flights")
		address.RawQuery = query.Encode()
		err := x.get(ctx, address, func(body io.Reader) error {
			return json.NewDecoder(io.LimitReader(body, maxList)).Decode(&page)
		}, attempts)
		if err != nil {
			return nil, fmt.Errorf("list flights: %w", err)
		}
		found = append(found, page.Flights...)
		if page.Next == "" {
			return found, nil
		}
		query.Set("cursor", page.Next)
	}
}

func (x *exporter) save(ctx context.Context, f flight, use func(io.Reader) error, attempts int) error {
	address := x.server.JoinPath("flights", url.PathEscape(f.ID), "track")
	query := x.query()
	query.Set("format", x.format.Name)
	if f.Lane != "" {
		query.Set("lane", f.Lane)
	}
	address.RawQuery = query.Encode()
	if err := x.get(ctx, address, use, attempts); err != nil {
		return fmt.Errorf("flight %q: %w", f.ID, err)
	}
	return nil
}

// errAgain is the error of a request that may work later.
var errAgain = errors.New("the server cannot do it now")

// get uses the body of a response, and makes the request again where that may help.
func (x *exporter) get(ctx context.Context, address *url.URL, use func(io.Reader) error, attempts int) error {
	mayPass := func(err error) bool { return errors.Is(err, errAgain) }
	return retry.Policy{Attempts: attempts, Delay: x.Delay}.Do(ctx, mayPass, func() (wait time.Duration, err error) {
		wait, err = x.try(ctx, address, use)
		return min(wait, retry.LongestDelay), err
	})
}

func (x *exporter) try(ctx context.Context, address *url.URL, use func(io.Reader) error) (wait time.Duration, err error) {
	ctx, cancel := context.WithTimeout(ctx, requestTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, address.String(), nil)
	if err != nil {
		return 0, fmt.Errorf("make a request: %w", err)
	}
	if x.Token != "" {
		request.Header.Set("Authorization", "Bearer "+x.Token)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return 0, fmt.Errorf("%w: %w", errAgain, err)
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return refusal(response)
	}
	body := &source{Reader: response.Body}
	if err = use(body); err != nil && body.failed {
		err = fmt.Errorf("%w: the response broke off: %w", errAgain, err)
	}
	return 0, err
}

// refusal is the error of a response that is not what was asked for.
func refusal(response *http.Response) (wait time.Duration, err error) {
	var problem struct{ Title, Detail string }
	text, err := io.ReadAll(io.LimitReader(response.Body, maxProblem))
	if err != nil || json.Unmarshal(text, &problem) != nil || problem.Title == "" {
		problem.Title = "response " + response.Status
	}
	err = fmt.Errorf("%s: %s", problem.Title, problem.Detail)
	switch {
	case response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden:
		err = fmt.Errorf("%w Set --token to one made with: tracklane token --scope read", err)
	case response.StatusCode >= 500 || response.StatusCode == http.StatusTooManyRequests:
		err = fmt.Errorf("%w: %w", errAgain, err)
	}
	return retry.After(response), err
}

// source knows whether it failed.
type source struct {
	io.Reader
	failed bool
}

// Read implements io.Reader.
func (s *source) Read(p []byte) (int, error) {
	n, err := s.Reader.Read(p)
	s.failed = s.failed || err != nil && !errors.Is(err, io.EOF)
	return n, err
}

// write writes a file that has its name when it is whole.
func write(path string, body io.Reader) error {
	file, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+"-*")
	if err != nil {
		return fmt.Errorf("make a file: %w", err)
	}
	defer os.Remove(file.Name()) // it is gone when it has its name
	_, err = io.Copy(file, body)
	err = errors.Join(err, file.Chmod(0o644), file.Close())
	if err == nil {
		err = os.Rename(file.Name(), path)
	}
	return err
}
