package e2e

import (
	"bufio"
	"bytes"
	"errors"
	"flag"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

// full floods the server with as much as SECURITY.md speaks of, and for longer.
var full = flag.Bool("full", false, "flood the server as much as a hostile network would")

// maxResident is how many bytes of memory the program may have, whatever its
// clients do.
const maxResident = 256 << 20

// flood is what many hostile clients send at the same time.
type flood struct {
	name       string
	clients    int
	perAddress int // clients of one loopback address; 0 = all of them
	request    []byte

	// hold keeps each connection open when the request is sent, and reads nothing;
	// otherwise each client reads the response and sends the request again, for as
	// long as the flood lasts.
	hold bool

	slow bool // takes longer than a usual run of the tests should
}

// run floods the server, and returns how often each status came; 0 is a connection
// that was closed.
func (f flood) run(t *testing.T, s *abusedServer, duration time.Duration) map[int]int {
	t.Helper()
	var (
		mu    sync.Mutex
		codes = make(map[int]int)
	)
	end := time.Now().Add(duration)
	var sending, clients sync.WaitGroup
	sent := make(chan struct{})
	for i := range f.clients {
		sending.Add(1)
		clients.Go(func() {
			done := sync.OnceFunc(sending.Done)
			defer done()
			for first := true; first || !f.hold && time.Now().Before(end); first = false {
				code := f.send(s, i, end, func() { done(); <-sent })
				mu.Lock()
				codes[code]++
				mu.Unlock()
			}
		})
	}
	sending.Wait()
	if f.hold {
		time.Sleep(duration) // what they hold is in the server's memory by then
	}
	close(sent)
	clients.Wait()
	return codes
}

// send sends the request once as the i-th client; 0 is a connection that was
// closed. It calls wait before it closes a connection that it holds.
func (f flood) send(s *abusedServer, i int, end time.Time, wait func()) (code int) {
	connection, err := dialFrom(f.address(i), s.url)
	if err != nil {
		return 0
	}
	defer connection.Close()
	if connection.SetDeadline(end.Add(20*time.Second)) != nil {
		return 0
	}
	written := make(chan struct{})
	go func() {
		defer close(written)
		_, _ = connection.Write(f.request) // an error says that the server has ended the request
	}()
	if f.hold {
		select {
		case <-written:
		case <-time.After(time.Until(end)):
		}
		wait()
		return 0
	}
	response, err := http.ReadResponse(bufio.NewReader(connection), nil)
	if err != nil {
		return 0
	}
	_, _ = io.Copy(io.Discard, response.Body) // what counts is the code
	return response.StatusCode
}

// address is the loopback address of the i-th client, by its number.
func (f flood) address(i int) int {
	if f.perAddress == 0 {
		return 0
	}
	return i / f.perAddress
}

// dialFrom connects from the n-th loopback address behind 127.0.1.1.
func dialFrom(n int, url string) (net.Conn, error) {
	dialer := net.Dialer{
		Timeout:   10 * time.Second,
		LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, byte(1+n/250), byte(1+n%250))},
	}
	_, address, _ := strings.Cut(url, "://")
	return dialer.Dial("tcp", address)
}

// post is a whole request with a body.
func (s *abusedServer) post(path, contentType string, body []byte) []byte {
	return append(s.head(path, fmt.Sprintf("Content-Type: %s\r\nContent-Length: %d\r\n\r\n", contentType, len(body))), body...)
}

// head is a request up to the end of what more says.
func (s *abusedServer) head(path, more string) []byte {
	return fmt.Appendf(nil, "POST %s HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer %s\r\n%s", path, s.good, more)
}

// list is a body of about size bytes with as many of item as it takes.
func list(before, item, after string, size int) []byte {
	var body bytes.Buffer
	body.WriteString(before)
	for body.Len() < size {
		body.WriteString(item)
	}
	body.Truncate(body.Len() - 1) // the comma behind the last
	body.WriteString(after)
	return body.Bytes()
}

// floods are those of memory.
func (s *abusedServer) floods() []flood {
	const large, small = 15 << 20, 60 << 10
	const json = "application/json"
	const point = `{"datetime":"2026-07-14T11:00:00Z","lat":1,"lon":2},`
	smallest := list(`{"flight_id":"flood","track_points":[`, point, `]}`, 240_000*len(point))
	usual := list(`{"flight_id":"flood","track_points":[`,
		`{"datetime":"2026-07-14T11:00:00Z","lat":46.6860512,"lon":7.8637234,"elevation":1954.5,"speed":10.25,"heading":211.5},`, `]}`, large)
	scoring := func(values string, size int) []byte {
		return list(`{"tracks":[`, `{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3`+values+`},`, `]}`, size)
	}
	texts := scoring(`,"time":"a","rounded_time":"b","validity":"c"`, large)
	tinyHeaders := func() string {
		var lines strings.Builder
		for i := 0; lines.Len() < 15<<10; i++ {
			fmt.Fprintf(&lines, "%x:\r\n", i)
		}
		return lines.String()
	}()
	multipart := "--b\r\n" + strings.Repeat("a:\r\n", 4000)
	return []flood{
		{name: "uploads of the smallest points", clients: 24, slow: true, request: s.post("/upload", json, smallest)},
		{name: "uploads of usual points", clients: 24, slow: true, request: s.post("/upload", json, usual)},
		{name: "uploads to scoring", clients: 24, slow: true, request: s.post("/scoring", json, scoring("", large))},
		{name: "uploads of texts", clients: 24, slow: true, request: s.post("/scoring", json, texts)},
		{name: "uploads of a device", clients: 24, slow: true, request: s.post("/flymaster", "text/plain", list("7,0\n", "1784024135,1784024130,1,2,3,4,5\n", "\nEOF\n", large))},
		{name: "uploads of what is no point", clients: 24, slow: true, request: s.post("/upload", json, list(`{"flight_id":"flood","track_points":[`, `0,`, `]}`, large))},
		{name: "uploads of one text after another", clients: 24, slow: true, request: s.post("/scoring", json, []byte(`{"tracks":[{`+strings.Repeat(`"time":"",`, large/10)+`"lat":1}]}`))},
		{name: "uploads of escapes", clients: 24, slow: true, request: s.post("/upload", json, []byte(`{"x":"`+strings.Repeat(`\u0041`, large/6)+`","flight_id":"`+strings.Repeat(`\u0041`, 10000)+`","track_points":[`+goodPoint+`]}`))},
		{name: "bodies of the live lane", clients: 500, slow: true, request: s.post("/live", json, list(`{"flight_id":"flood","track_points":[`, point, `]}`, 1000<<10))},
		{name: "small bodies to scoring", clients: 500, request: s.post("/scoring", json, scoring("", small))},
		{name: "small bodies that end late", clients: 4000, perAddress: 490, hold: true, request: bytes.TrimSuffix(s.post("/scoring", json, scoring("", small)), []byte("}"))},
		{name: "bodies that end late", clients: 500, hold: true, request: bytes.TrimSuffix(s.post("/upload", json, usual), []byte("}"))},
		{name: "bodies that do not come", clients: 500, hold: true, request: s.head("/upload", "Content-Length: 16000000\r\n\r\n")},
		{name: "headers", clients: 500, request: s.head("/live", tinyHeaders+"Content-Length: 0\r\n\r\n")},
		{name: "headers that do not end", clients: 4000, perAddress: 490, hold: true, request: s.head("/live", tinyHeaders)},
		{name: "headers before a body", clients: 4000, perAddress: 490, hold: true, request: s.head("/live", tinyHeaders+"Content-Length: 9\r\n\r\n")},
		{name: "headers of parts", clients: 500, request: s.post("/flymaster", "multipart/form-data; boundary=b", []byte(multipart))},
		{name: "headers of parts that do not end", clients: 4000, perAddress: 490, hold: true, request: s.head("/flymaster", "Content-Type: multipart/form-data; boundary=b\r\nContent-Length: 1000000\r\n\r\n"+multipart[:16000])},
		{name: "pipelines that nobody reads", clients: 4000, perAddress: 490, hold: true, request: bytes.Repeat(s.post("/live", json, []byte(flight("f", 1))), 200)},
		{name: "idle connections of many", clients: 9000, perAddress: 400, hold: true, request: []byte("GET /livez HTTP/1.1\r\nHost: x\r\n\r\n")},
		{name: "bodies of many", clients: 9000, perAddress: 400, hold: true, request: s.head("/live", "Content-Length: 9\r\n\r\n")},
	}
}

// parallelUnlessFull lets a test run beside others unless it measures the server on a
// machine that it has for itself: two floods at a time keep its cores from each other.
func parallelUnlessFull(t *testing.T) {
	if !*full {
		t.Parallel()
	}
}

func TestFlood_MemoryIsBounded(t *testing.T) {
	parallelUnlessFull(t)
	s := startAbused(t)
	duration := time.Second
	if *full {
		duration = 5 * time.Second
	}
	floods := s.floods()
	if *full {
		floods = append(floods, s.fileFloods(t)...)
	}
	for _, f := range floods {
		if f.slow && !*full {
			continue
		}
		t.Run(f.name, func(t *testing.T) {
			s.awaitNoClients(t)
			s.resetPeak(t)
			codes := f.run(t, s, duration)
			t.Logf("%d MB at the most, %v", s.peak(t)>>20, codes)
			assert.Less(t, s.peak(t), maxResident)
		})
	}
	assert.NotContains(t, s.log.String(), "panic")
	assert.Contains(t, []int{201, 202}, s.send(t, abuse{header: bearer(s.good), body: flight("after", 1)}), "it still serves others")
}

// awaitNoClients waits until the server has closed the connections of the flood
// before: it has fewer open than the clients of a flood, those to Redis and PostgreSQL
// included. It does not wait where the system does not tell.
func (s *abusedServer) awaitNoClients(t *testing.T) {
	t.Helper()
	require.Eventually(t, func() bool {
		open, err := os.ReadDir(fmt.Sprintf("/proc/%d/fd", s.PID()))
		return errors.Is(err, os.ErrNotExist) || err == nil && len(open) < 150
	}, time.Minute, 10*time.Millisecond, "connections are still open")
}

// peak is how many bytes of memory the process had at the most since resetPeak; 0
// where the system does not tell.
func (s child) peak(t *testing.T) int {
	t.Helper()
	text, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", s.PID()))
	if errors.Is(err, os.ErrNotExist) {
		return 0
	}
	require.NoError(t, err)
	match := regexp.MustCompile(`VmHWM:\s+(\d+) kB`).FindSubmatch(text)
	require.NotNil(t, match)
	kilobytes, err := strconv.Atoi(string(match[1]))
	require.NoError(t, err)
	return kilobytes << 10
}

func (s child) resetPeak(t *testing.T) {
	t.Helper()
	err := os.WriteFile(fmt.Sprintf("/proc/%d/clear_refs", s.PID()), []byte("5"), 0)
	if err != nil && !errors.Is(err, os.ErrNotExist) {
		require.NoError(t, err)
	}
}
