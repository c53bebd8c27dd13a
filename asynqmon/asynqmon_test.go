package asynqmon_test

import (
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/hibiken/asynq"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/asynqmon"
	"tracklane/internal/devservers"
	"tracklane/internal/lane"
	"tracklane/tasks"
)

// installation is a Redis with the lanes' queues in it, and asynqmon before it.
type installation struct {
	lanes map[string]*lane.Lane
	redis redis.UniversalClient
	url   string
}

func start(t *testing.T, options asynqmon.Options) *installation {
	t.Helper()
	server, err := devservers.StartRedis(t.Context(), devservers.RedisOptions{Dir: t.TempDir(), Logger: slog.Default()})
	require.NoError(t, err)
	t.Cleanup(func() { assert.NoError(t, server.Kill()) })
	address, err := redis.ParseURL(server.URL())
	require.NoError(t, err)
	client := redis.NewClient(address)
	t.Cleanup(func() { assert.NoError(t, client.Close(), "somebody else has closed the client") })

	lanes := lane.All(lane.Options{})
	i := &installation{lanes: make(map[string]*lane.Lane), redis: client}
	for _, l := range lanes {
		i.lanes[l.Name] = l
	}
	mux := http.NewServeMux()
	ui := asynqmon.New(client, lanes, options)
	mux.Handle(asynqmon.RootPath, ui)
	mux.Handle(asynqmon.RootPath+"/", ui)
	web := httptest.NewServer(mux)
	t.Cleanup(web.Close)
	i.url = web.URL
	return i
}

var (
	fixTime      = time.Date(2026, 7, 14, 11, 0, 0, 0, time.UTC)
	receivedTime = time.Date(2026, 7, 14, 12, 0, 0, 0, time.UTC)
)

// track makes up points of one flight or device, a second apart.
func track(l *lane.Lane, flight lane.Field, points int) *lane.Points {
	made := lane.NewPoints(l, points)
	fields := make([]lane.Field, len(l.TrackColumns))
	for i := range fields {
		fields[i].Null = true
	}
	fields[0] = flight
	made.AddTrack(lane.Track{Fields: fields, ReceivedAt: receivedTime.UnixMicro()})
	for i := range points {
		row := made.Add(0, fixTime.Add(time.Duration(i)*time.Second).UnixMicro(), 46.5, 7.25)
		made.SetFloat(row, 0, 1234)
	}
	return made
}

// flightOf is a flight that fits the lane's first column.
func flightOf(l *lane.Lane) lane.Field {
	switch l.TrackColumns[0].Kind {
	case lane.BigInt:
		return lane.BigIntField(4711)
	case lane.UUID:
		return lane.Field{Value: "\x01\x23\x45\x67\x89\xab\xcd\xef\x01\x23\x45\x67\x89\xab\xcd\xef"}
	default:
		return lane.TextField("flight-1")
	}
}

// enqueue puts points where the API would: few of them into a group, many as a
// batch.
func (i *installation) enqueue(t *testing.T, points *lane.Points) {
	t.Helper()
	kind, options := "batch", []asynq.Option{asynq.Queue(points.Lane.Name)}
	if points.Len() < 500 {
		kind, options = "points", append(options, asynq.Group("7"))
	}
	task := asynq.NewTask(points.Lane.Name+":"+kind, tasks.Encode(nil, points), options...)
	_, err := asynq.NewClientFromRedisClient(i.redis).EnqueueContext(t.Context(), task)
	require.NoError(t, err)
}

// send makes a request and returns its response and its body.
func (i *installation) send(t *testing.T, method, path string, header ...string) (*http.Response, string) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), method, i.url+path, nil)
	require.NoError(t, err)
	for at := 0; at < len(header); at += 2 {
		request.Header.Set(header[at], header[at+1])
	}
	response, err := http.DefaultClient.Do(request)
	require.NoError(t, err)
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	require.NoError(t, err)
	return response, string(body)
}

// task is what asynqmon's API says of one.
type task struct {
	ID      string
	Type    string
	Payload string
}

func (i *installation) list(t *testing.T, path string) []task {
	t.Helper()
	response, body := i.send(t, http.MethodGet, path)
	require.Equal(t, http.StatusOK, response.StatusCode, body)
	var listed struct{ Tasks []task }
	require.NoError(t, json.Unmarshal([]byte(body), &listed))
	return listed.Tasks
}

func TestUI_ShowsAPendingBatchAsJSON(t *testing.T) {
	i := start(t, asynqmon.Options{})
	i.enqueue(t, track(i.lanes["live"], lane.TextField("flight-1"), 600))

	waiting := i.list(t, "/asynqmon/api/queues/live/pending_tasks")
	require.Len(t, waiting, 1)
	assert.Equal(t, "live:batch", waiting[0].Type)
	var payload struct {
		FirstPoints []json.RawMessage `json:"first_points"`
	}
	require.NoError(t, json.Unmarshal([]byte(waiting[0].Payload), &payload))
	require.Len(t, payload.FirstPoints, 10)
	assert.JSONEq(t, `{"flight_id":"flight-1","datetime":"2026-07-14T11:00:09Z","lat":46.5,"lon":7.25,
		"elevation":1234,"received_at":"2026-07-14T12:00:00Z"}`, string(payload.FirstPoints[9]))
	points, err := json.Marshal(payload.FirstPoints)
	require.NoError(t, err)
	assert.JSONEq(t, `{"lane":"live","points":600,"flights":{"count":1,"first":["flight-1"]},
		"first":"2026-07-14T11:00:00Z","last":"2026-07-14T11:09:59Z","received_at":"2026-07-14T12:00:00Z",
		"first_points":`+string(points)+`}`, waiting[0].Payload)

	_, body := i.send(t, http.MethodGet, "/asynqmon/api/queues/live/tasks/"+waiting[0].ID)
	var opened task
	require.NoError(t, json.Unmarshal([]byte(body), &opened))
	assert.Equal(t, waiting[0], opened)
}

func TestUI_ShowsATaskOfAGroupAsJSON(t *testing.T) {
	i := start(t, asynqmon.Options{})
	for name, want := range map[string]string{
		"live": `{"flight_id":"flight-1","datetime":"2026-07-14T11:00:00Z","lat":46.5,"lon":7.25,
			"elevation":1234,"received_at":"2026-07-14T12:00:00Z"}`,
		"upload": `{"flight_id":"flight-1","datetime":"2026-07-14T11:00:00Z","lat":46.5,"lon":7.25,
			"elevation":1234,"received_at":"2026-07-14T12:00:00Z"}`,
		"scoring": `{"flight_uuid":"01234567-89ab-cdef-0123-456789abcdef","date_time":"2026-07-14T11:00:00Z",
			"lat":46.5,"lon":7.25,"gps_alt":1234,"received_at":"2026-07-14T12:00:00Z"}`,
		"flymaster": `{"device_id":4711,"date_time":"2026-07-14T11:00:00Z","lat":46.5,"lon":7.25,
			"gps_alt":1234,"received_at":"2026-07-14T12:00:00Z"}`,
	} {
		t.Run(name, func(t *testing.T) {
			l := i.lanes[name]
			i.enqueue(t, track(l, flightOf(l), 1))
			waiting := i.list(t, "/asynqmon/api/queues/"+name+"/groups/7/aggregating_tasks")
			require.Len(t, waiting, 1)
			assert.Equal(t, name+":points", waiting[0].Type)

			var point map[string]json.RawMessage
			require.NoError(t, json.Unmarshal([]byte(want), &point))
			assert.JSONEq(t, `{"lane":"`+name+`","points":1,
			"flights":{"count":1,"first":[`+string(point[l.TrackColumns[0].Name])+`]},
			"first":"2026-07-14T11:00:00Z","last":"2026-07-14T11:00:00Z","received_at":"2026-07-14T12:00:00Z",
			"first_points":[`+want+`]}`, waiting[0].Payload)
		})
	}
}

func TestUI_ListsAtMostTwentyTasks(t *testing.T) {
	i := start(t, asynqmon.Options{})
	client := asynq.NewClientFromRedisClient(i.redis)
	for range 21 {
		_, err := client.EnqueueContext(t.Context(), asynq.NewTask("live:batch", nil), asynq.Queue("live"))
		require.NoError(t, err)
	}
	for query, want := range map[string]int{
		"": 20, "?size=10": 10, "?size=10&page=3": 1, "?size=20": 20,
		"?size=21": 20, "?size=1000000&page=2": 1, "?size=0": 20, "?size=-5": 20,
	} {
		t.Run(query, func(t *testing.T) {
			assert.Len(t, i.list(t, "/asynqmon/api/queues/live/pending_tasks"+query), want)
		})
	}
}

func TestUI_AllowsChangesUnlessReadOnly(t *testing.T) {
	for _, readOnly := range []bool{false, true} {
		t.Run("read-only "+strconv.FormatBool(readOnly), func(t *testing.T) {
			i := start(t, asynqmon.Options{ReadOnly: readOnly})
			i.enqueue(t, track(i.lanes["live"], lane.TextField("flight-1"), 600))
			waiting := i.list(t, "/asynqmon/api/queues/live/pending_tasks")
			require.Len(t, waiting, 1)

			wantPause := http.StatusNoContent
			if readOnly {
				wantPause = http.StatusMethodNotAllowed
			}
			response, body := i.send(t, http.MethodPost, "/asynqmon/api/queues/live:pause")
			assert.Equal(t, wantPause, response.StatusCode, body)
			info, err := asynq.NewInspectorFromRedisClient(i.redis).GetQueueInfo("live")
			require.NoError(t, err)
			assert.Equal(t, !readOnly, info.Paused)
		})
	}
}

func TestUI_RefusesChangesByAnotherSite(t *testing.T) {
	i := start(t, asynqmon.Options{})
	i.enqueue(t, track(i.lanes["live"], lane.TextField("flight-1"), 1))
	for _, header := range [][]string{
		{"Sec-Fetch-Site", "cross-site"},
		{"Origin", "https://elsewhere.example"},
	} {
		t.Run(header[0], func(t *testing.T) {
			response, _ := i.send(t, http.MethodPost, "/asynqmon/api/queues/live:pause", header...)
			assert.Equal(t, http.StatusForbidden, response.StatusCode, header)
		})
	}
	response, _ := i.send(t, http.MethodPost, "/asynqmon/api/queues/live:pause", "Sec-Fetch-Site", "same-origin")
	assert.Equal(t, http.StatusNoContent, response.StatusCode)
}

func TestUI_DeepLinksServeThePageWithAssetsThatExist(t *testing.T) {
	i := start(t, asynqmon.Options{})
	for _, path := range []string{
		"/asynqmon", "/asynqmon/", "/asynqmon/queues/live", "/asynqmon/queues/live?status=archived",
		"/asynqmon/queues/live/tasks/d1b2c3", "/asynqmon/servers", "/asynqmon/redis",
	} {
		t.Run(path, func(t *testing.T) {
			response, page := i.send(t, http.MethodGet, path)
			assert.Equal(t, http.StatusOK, response.StatusCode)
			assert.Contains(t, response.Header.Get("Content-Type"), "text/html")
			assert.Contains(t, response.Header.Get("Content-Security-Policy"), "default-src 'self'")
			assert.Equal(t, "nosniff", response.Header.Get("X-Content-Type-Options"))

			assets := regexp.MustCompile(`(?:src|href)="(/[^"]*)"`).FindAllStringSubmatch(page, -1)
			require.GreaterOrEqual(t, len(assets), 4)
			for _, asset := range assets {
				response, body := i.send(t, http.MethodGet, asset[1])
				assert.Equal(t, http.StatusOK, response.StatusCode, asset[1])
				// Where there is no such file, the UI responds with the page itself.
				assert.NotEqual(t, page, body, asset[1])
				if strings.HasSuffix(asset[1], ".js") {
					assert.Contains(t, response.Header.Get("Content-Type"), "javascript", asset[1])
				}
			}
		})
	}
}

func TestUI_ShowsRedis(t *testing.T) {
	i := start(t, asynqmon.Options{})
	response, body := i.send(t, http.MethodGet, "/asynqmon/api/redis_info")
	assert.Equal(t, http.StatusOK, response.StatusCode)
	assert.Contains(t, body, "connected_clients")
}

func TestUI_StartsWithoutRedis(t *testing.T) {
	client := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1", MaxRetries: -1, DialerRetries: 1})
	defer client.Close()
	ui := asynqmon.New(client, lane.All(lane.Options{}), asynqmon.Options{})
	for path, want := range map[string]int{
		"/asynqmon": http.StatusOK, "/asynqmon/api/queues": http.StatusInternalServerError,
	} {
		response := httptest.NewRecorder()
		ui.ServeHTTP(response, httptest.NewRequestWithContext(context.Background(), http.MethodGet, path, nil))
		assert.Equal(t, want, response.Code, path)
	}
}
