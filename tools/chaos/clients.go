package main

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"tracklane/internal/clock"
)

const (
	// requestTimeout is how long a client waits for a response before it sends
	// the same points again, and largeRequestTimeout how long with a large upload.
	requestTimeout      = 10 * time.Second
	largeRequestTimeout = 30 * time.Second

	// A client that was refused waits between these two before it tries again:
	// less than Retry-After asks for, so that the pressure does not let up.
	minRetryPause, maxRetryPause = 200 * time.Millisecond, time.Second

	// catchUp is how much faster than its pace a client sends what it could not
	// send before.
	catchUp = 4

	// Every repeatEvery-th request is sent once more after it was acknowledged,
	// as a device does that did not hear the response.
	repeatEvery = 20

	// A client that was driven to the other api tries its own again before one
	// of so many requests.
	homeEvery = 20

	// slowResponse is what a response should not take.
	slowResponse = time.Second
)

// api is one way into the system.
type api struct {
	name, url string
}

// responses counts the responses that clients got. Any number of goroutines may use
// it at the same time.
type responses struct {
	mu       sync.Mutex
	byStatus map[int]int // 0: none
	slow     []slow
	wrong    findings // responses that break the contract
}

// slow is a response that took longer than slowResponse.
type slow struct {
	api, lane  string
	points     int
	status     int
	start, end time.Time
}

// add notes a response, or with the status 0 that there was none. wrong is what
// breaks the contract, if anything does.
func (r *responses) add(s slow, wrong string) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.byStatus[s.status]++
	if s.status != 0 && s.end.Sub(s.start) > slowResponse {
		r.slow = append(r.slow, s)
	}
	if wrong != "" {
		r.wrong.add(wrong)
	}
}

// client sends one stream.
type client struct {
	stream    stream
	history   *history
	responses *responses
	apis      []api
	current   int // the api in use
	http      *http.Client
}

func newClient(s stream, h *history, r *responses, apis []api) *client {
	timeout := requestTimeout
	if s.during == largeUploads {
		timeout = largeRequestTimeout
	}
	return &client{
		stream: s, history: h, responses: r, apis: apis, current: s.id % len(apis),
		http: &http.Client{Transport: &http.Transport{}, Timeout: timeout},
	}
}

// run sends requests at the stream's pace until sending ends, then finishes the
// one that is pending, unless ctx ends first.
func (c *client) run(ctx, sending context.Context) {
	defer c.http.CloseIdleConnections()
	var last time.Time
	for due := time.Now().Add(rand.N(c.stream.every)); ; due = due.Add(c.stream.every) {
		at := due
		if earliest := last.Add(c.stream.every / catchUp); at.Before(earliest) {
			at = earliest
		}
		if !clock.Sleep(sending, time.Until(at)) {
			return
		}
		last = time.Now()
		if rand.IntN(homeEvery) == 0 {
			c.current = c.stream.id % len(c.apis)
		}
		number := c.history.next(c.stream.id)
		if !c.deliver(ctx, number) {
			return
		}
		if number%repeatEvery == 0 {
			// Nobody waits for this response, so its failure is nobody's.
			_, _ = c.post(ctx, number)
		}
	}
}

// deliver sends a request until it is acknowledged, to the other api after each
// failure. It returns false when ctx ended first.
func (c *client) deliver(ctx context.Context, number int) bool {
	for {
		direct, err := c.post(ctx, number)
		if err == nil {
			c.history.acknowledge(c.stream.id, time.Now(), direct)
			return true
		}
		c.current = (c.current + 1) % len(c.apis)
		if !clock.Sleep(ctx, minRetryPause+rand.N(maxRetryPause-minRetryPause)) {
			return false
		}
	}
}

// post sends a request once. It returns nil when it was acknowledged.
func (c *client) post(ctx context.Context, number int) (direct bool, err error) {
	body, contentType := c.stream.body(number)
	api := c.apis[c.current]
	request, err := http.NewRequestWithContext(ctx, http.MethodPost, api.url+"/"+c.stream.lane, bytes.NewReader(body))
	if err != nil {
		return false, fmt.Errorf("make a request: %w", err)
	}
	request.Header.Set("Content-Type", contentType)
	request.Header.Set("X-Request-Id", fmt.Sprintf("%s-%d-%d", c.stream.lane, c.stream.id, number))
	timed := slow{api: api.name, lane: c.stream.lane, points: c.stream.points, start: time.Now()}
	response, err := c.http.Do(request)
	if err != nil {
		c.responses.add(timed, "")
		return false, err
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	timed.end = time.Now()
	if err != nil {
		c.responses.add(timed, "")
		return false, err
	}
	timed.status = response.StatusCode
	acknowledged, wrong := c.check(response, text)
	if wrong != "" {
		wrong = fmt.Sprintf("request %d of stream %d to %s/%s: %s: %s %.300s",
			number, c.stream.id, api.name, c.stream.lane, wrong, response.Status, text)
	}
	c.responses.add(timed, wrong)
	if !acknowledged {
		return false, fmt.Errorf("the points were not accepted: %s", response.Status)
	}
	return response.StatusCode == http.StatusCreated, nil
}

// check reports whether a response acknowledges all points of the request, and
// what is wrong with it when the contract does not allow it.
func (c *client) check(response *http.Response, text []byte) (acknowledged bool, wrong string) {
	switch response.StatusCode {
	case http.StatusServiceUnavailable:
		if seconds, err := strconv.Atoi(response.Header.Get("Retry-After")); err != nil || seconds < 1 {
			return false, "no usable Retry-After"
		}
		return false, ""
	case http.StatusAccepted, http.StatusCreated:
	case http.StatusUnprocessableEntity: // all points are in rejected_points
		if !c.stream.isRefused() {
			return false, "a good request was refused"
		}
	default:
		return false, "a good request was refused"
	}
	if c.stream.lane == "flymaster" {
		if strings.TrimSpace(string(text)) != "OK" {
			return false, "the response is not OK"
		}
		return true, ""
	}
	var body struct {
		Points, Inserted, Duplicates int
		RejectedTotal                int `json:"rejected_total"`
	}
	rejected, stored := 0, c.stream.points
	if c.stream.isRefused() && response.StatusCode != http.StatusAccepted {
		rejected, stored = c.stream.points, 0
	}
	switch err := json.Unmarshal(text, &body); {
	case err != nil:
		return false, "the response is not JSON"
	case body.RejectedTotal != rejected:
		return false, fmt.Sprintf("the database refuses %d points", rejected)
	case body.Points != c.stream.points && stored > 0:
		return false, fmt.Sprintf("%d points were sent", c.stream.points)
	case response.StatusCode == http.StatusCreated && body.Inserted+body.Duplicates != stored:
		return false, "inserted, duplicates and rejected are not all points"
	}
	return true, ""
}
