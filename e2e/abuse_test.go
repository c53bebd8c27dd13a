package e2e

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"crypto/sha512"
	"encoding/base64"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/redis/go-redis/v9"
	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth"
	"tracklane/internal/auth/authtest"
	"tracklane/internal/devservers"
	"tracklane/internal/lane"
)

// The secrets of the server that is abused. None may be in its log.
const (
	abusedKey       = "an-abused-key-of-32-letters-or-more"
	abusedKeyBefore = "the-key-before-of-32-letters-or-more"
	abusedPassword  = "abused-password"
	abusedDatabase  = "abused-database-password"
	abusedRedis     = "abused-redis-password"
	abusedFlymaster = "abused-flymaster-secret"
	otherKey        = "another-key-of-32-letters-or-more!!"
)

// abuse is a request that a hostile client sends, and what it gets.
type abuse struct {
	name         string
	method, path string // POST and /live if empty
	header       []string
	body         string
	raw          string // the whole request as it is, in place of all the above
	codes        []int  // 0 = the connection is closed without a response
	stored       int    // points that are accepted, but for those of an earlier request
}

// abusedServer is a server with every lock on, and its database.
type abusedServer struct {
	child
	pool *pgxpool.Pool
	good string // a token for every lane
	rows int    // points that were accepted
}

func startAbused(t *testing.T, environment ...string) *abusedServer {
	t.Helper()
	database := servers.Database(t)
	s := startAbusedWith(t, database, servers.Redis(t), environment...)
	s.pool = openDatabase(t, database)
	requireRows(t, s.pool, 1, `SELECT count(*) FROM pg_tables WHERE tablename = 'flymaster'`)
	return s
}

// startAbusedWith starts the server, and looks for secrets in its log when t ends.
func startAbusedWith(t *testing.T, database string, redis *devservers.Redis, environment ...string) *abusedServer {
	t.Helper()
	environment = append([]string{
		"DATABASE_URL=" + withPassword(t, database, abusedDatabase), "REDIS_URL=" + lockRedis(t, redis), "AUTH=on",
		"SECRET_KEY=" + abusedKey, "SECRET_KEY_PREVIOUS=" + abusedKeyBefore, "OPERATOR_PASSWORD=" + abusedPassword,
		"LOG_LEVEL=debug", "LOG_FORMAT=json", "RATE_LIMIT=0",
	}, environment...)
	s := &abusedServer{child: startProcess(t, "serve", environment...), good: abuseToken(t, "")}
	t.Cleanup(func() { s.assertNoSecrets(t, s.log.String()) })
	return s
}

// withPassword puts a password into a URL.
func withPassword(t *testing.T, address, password string) string {
	t.Helper()
	u, err := url.Parse(address)
	require.NoError(t, err)
	u.User = url.UserPassword(u.User.Username(), password)
	return u.String()
}

// lockRedis gives Redis a password, if it can have one, and returns its URL.
func lockRedis(t *testing.T, server *devservers.Redis) (address string) {
	t.Helper()
	if server.InMemory() {
		return server.URL()
	}
	client := redis.NewClient(&redis.Options{Addr: server.Address()})
	defer client.Close()
	require.NoError(t, client.ConfigSet(t.Context(), "requirepass", abusedRedis).Err())
	return withPassword(t, server.URL(), abusedRedis)
}

// abuseToken is a good token of a pilot, or of a relay where there is none.
func abuseToken(t *testing.T, pilot string) string {
	t.Helper()
	token, err := auth.Sign(abusedKey, auth.Claims{
		Pilot: pilot, Scopes: []string{"live", "upload", "scoring", "flymaster"}, Expires: time.Now().Add(time.Hour),
	}, time.Now())
	require.NoError(t, err)
	return token
}

// check sends each request and compares what it got, then the rows.
func (s *abusedServer) check(t *testing.T, requests []abuse) {
	t.Helper()
	for _, a := range requests {
		t.Run(a.name, func(t *testing.T) {
			code := s.send(t, a)
			assert.Contains(t, a.codes, code)
		})
		s.rows += a.stored
	}
	requireRows(t, s.pool, s.rows, `SELECT (SELECT count(*) FROM live_track_points) + (SELECT count(*) FROM uploaded_track_points)
		+ (SELECT count(*) FROM scoring_tracks) + (SELECT count(*) FROM flymaster)`)
	requireRows(t, s.pool, 0, `SELECT count(*) FROM rejected_points`)
	assert.NotContains(t, s.log.String(), "panic")
}

func (s *abusedServer) send(t *testing.T, a abuse) (code int) {
	t.Helper()
	if a.raw != "" {
		return s.sendRaw(t, a.raw)
	}
	method, path := a.method, a.path
	if method == "" {
		method = http.MethodPost
	}
	if path == "" {
		path = "/live"
	}
	request, err := http.NewRequest(method, s.url, strings.NewReader(a.body))
	require.NoError(t, err)
	address, rawQuery, _ := strings.Cut(path, "?")
	request.URL.Opaque, request.URL.RawQuery = address, rawQuery // as it stands
	for i := 0; i < len(a.header); i += 2 {
		if a.header[i] == "Host" {
			request.Host = a.header[i+1]
			continue
		}
		request.Header.Add(a.header[i], a.header[i+1])
	}
	client := http.Client{
		Timeout:       30 * time.Second,
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}
	response, err := client.Do(request)
	if err != nil {
		t.Log(err)
		return 0
	}
	require.NoError(t, response.Body.Close())
	return response.StatusCode
}

// sendRaw sends bytes and reads one response.
func (s *abusedServer) sendRaw(t *testing.T, text string) (code int) {
	t.Helper()
	connection, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	require.NoError(t, err)
	defer connection.Close()
	require.NoError(t, connection.SetDeadline(time.Now().Add(30*time.Second)))
	_, _ = connection.Write([]byte(text)) // it may be refused before its end
	line, err := bufio.NewReader(connection).ReadString('\n')
	match := regexp.MustCompile(`^HTTP/1\.[01] (\d{3}) `).FindStringSubmatch(line)
	if err != nil || match == nil {
		return 0
	}
	code, err = strconv.Atoi(match[1])
	require.NoError(t, err)
	return code
}

func bearer(token string) []string { return []string{"Authorization", "Bearer " + token} }

func basic(user, password string) []string {
	return []string{"Authorization", "Basic " + base64.StdEncoding.EncodeToString([]byte(user+":"+password))}
}

// tokenFaults are tokens that no lane may take, by what is wrong with them, with
// the response that each gets.
func tokenFaults() map[string]struct {
	token string
	code  int
} {
	const header = `{"alg":"HS256","typ":"JWT"}`
	future := fmt.Sprint(time.Now().Add(time.Hour).Unix())
	claims := func(more string) string { return `{"exp":` + future + `,"scope":"live"` + more + `}` }
	good := authtest.Sign(sha256.New, abusedKey, header, claims(`,"sub":"anna"`))
	parts := strings.Split(good, ".")
	return map[string]struct {
		token string
		code  int
	}{
		"missing":         {"", 401},
		"expired":         {authtest.Sign(sha256.New, abusedKey, header, `{"exp":1,"scope":"live"}`), 401},
		"of the future":   {authtest.Sign(sha256.New, abusedKey, header, claims(`,"nbf":`+future)), 401},
		"without exp":     {authtest.Sign(sha256.New, abusedKey, header, `{"scope":"live"}`), 401},
		"of another key":  {authtest.Sign(sha256.New, otherKey, header, claims("")), 401},
		"of an empty key": {authtest.Sign(sha256.New, "", header, claims("")), 401},
		"of none":         {authtest.Encode(`{"alg":"none"}`) + "." + parts[1] + ".", 401},
		"of HS512":        {authtest.Sign(sha512.New, abusedKey, `{"alg":"HS512"}`, claims("")), 401},
		"said to be RS":   {authtest.Sign(sha256.New, abusedKey, `{"alg":"RS256"}`, claims("")), 401},
		"tampered":        {parts[0] + "." + authtest.Encode(claims(`,"sub":"bert"`)) + "." + parts[2], 401},
		"cut off":         {good[:len(good)-4], 401},
		"of wrong scope":  {authtest.Sign(sha256.New, abusedKey, header, `{"exp":`+future+`,"scope":"read upload"}`), 403},
		"of no scope":     {authtest.Sign(sha256.New, abusedKey, header, `{"exp":`+future+`}`), 403},
		"another pilot's": {authtest.Sign(sha256.New, abusedKey, header, claims(`,"sub":"bert"`)), 403},
		"another race's":  {authtest.Sign(sha256.New, abusedKey, header, claims(`,"race_id":"other"`)), 403},
	}
}

func TestAbuse_TokenFaultsInEachPlace(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	const body = `{"flight_id":"f","pilot_id":"anna","race_id":"cup","track_points":[` + goodPoint + `]}`
	var requests []abuse
	for fault, c := range tokenFaults() {
		for place, request := range map[string]abuse{
			"bearer":   {header: bearer(c.token)},
			"basic":    {header: basic("anyone", c.token)},
			"query":    {path: "/live?token=" + url.QueryEscape(c.token)},
			"path":     {path: "/t/" + c.token + "/live"},
			"two":      {header: append(bearer(c.token), bearer(s.good)...)},
			"pipeline": {raw: "POST /live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + c.token + "\r\nContent-Length: " + fmt.Sprint(len(body)) + "\r\n\r\n" + body + "POST /live HTTP/1.1\r\n"},
		} {
			request.name, request.codes = fault+" in "+place, []int{c.code}
			if place == "two" {
				request.codes = []int{401}
			}
			if fault == "missing" && place == "path" {
				request.codes = []int{401, 404}
			}
			if request.raw == "" {
				request.body = body
			}
			requests = append(requests, request)
		}
		requests = append(requests, passFault(fault, c.token, c.code)...)
	}
	require.GreaterOrEqual(t, len(requests), 120)
	s.check(t, requests)
}

// passFault is a fault in the place that LiveTrack24 has for a token, in each request
// that has it. The requests name no pilot and no race: the points are the token's.
func passFault(fault, token string, code int) []abuse {
	request := func(in, path string, code int) abuse {
		path += "&user=anna&pass=" + url.QueryEscape(token)
		return abuse{name: fault + " in pass of " + in, method: "GET", path: path, codes: []int{code}}
	}
	const position = "/track.php?leolive=1&client=x&v=1&lat=46.5&lon=7.25&alt=1800&sog=36&cog=90&tm=1783944000"
	if strings.HasPrefix(fault, "another") {
		stored := request("a position", position, 200)
		stored.stored = 1
		return []abuse{
			request("a login", "/client.php?op=login", 200), stored,
			request("another's session", "/track.php?leolive=2&sid=2147483649&pid=1", 401),
		}
	}
	return []abuse{
		request("a login", "/client.php?op=login", code), request("a position", position, code),
		request("a start", "/track.php?leolive=2&sid=2147483649&pid=1", code),
	}
}

// A number is no session because somebody sends it, and no user's because his token
// is good.
func TestAbuse_Sessions(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	anna, bert := url.QueryEscape(abuseToken(t, "anna")), url.QueryEscape(abuseToken(t, "bert"))
	number := getNumber(t, s.url+"/client.php?op=login&user=anna&pass="+anna)
	session := fmt.Sprint(1<<31 | 5<<24 | number)
	get := func(name, path string, stored int, codes ...int) abuse {
		return abuse{name: name, method: "GET", path: path, codes: codes, stored: stored}
	}
	const of, more = "/track.php?pid=2&leolive=", "&lat=46.5&lon=7.25&alt=1&sog=1&cog=1&tm="
	s.check(t, []abuse{
		get("before its start", of+"4&sid="+session+more+"1783944000", 0, 401),
		get("an SOS before", of+"3&prid=4&sid="+session, 0, 401),
		get("another's start", of+"2&sid="+session+"&user=anna&pass="+bert, 0, 401),
		get("a guest's start", of+"2&sid="+session+"&user=anna&pass=guest", 0, 401),
		get("a start of a guest's number", of+"2&sid=1234&user=anna&pass="+anna, 0, 401),
		get("its start", of+"2&sid="+session+"&user=anna&pass="+anna, 0, 200),
		get("its start again", of+"2&sid="+session+"&user=anna&pass="+anna, 0, 200),
		get("a point", of+"4&sid="+session+more+"1783944000", 1, 200),
		get("a point with a bad token", of+"4&sid="+session+more+"1783944001&token=x", 0, 401),
		get("a point with a bad pass", of+"4&sid="+session+more+"1783944001&pass=x", 0, 401),
		get("the next number", of+"4&sid="+fmt.Sprint(1<<31|6<<24|number)+more+"1783944001", 0, 401),
		get("a number beyond", of+"4&sid=4294967296"+more+"1783944001", 0, 401),
		get("no number", of+"4&sid='%20OR%201=1"+more+"1783944001", 0, 401),
		get("an SOS", of+"3&prid=4&sid="+session, 0, 200),
	})
	assert.Contains(t, s.log.String(), "SOS")
	assert.NotContains(t, s.log.String(), session)
	requireRows(t, s.pool, 1, `SELECT count(*) FROM live_track_points WHERE pilot_id = 'anna' AND strpos(flight_id || coalesce(device_id, ''), $1) = 0`, session)

	// A short password, with every fault that it can have.
	user, password, err := auth.SignPassword(abusedKey, auth.Claims{Pilot: "anna", Scopes: []string{"live"}, Expires: time.Now().Add(2 * time.Hour)}, time.Now())
	require.NoError(t, err)
	_, foreign, err := auth.SignPassword(otherKey, auth.Claims{Pilot: "anna", Scopes: []string{"live"}, Expires: time.Now().Add(2 * time.Hour)}, time.Now())
	require.NoError(t, err)
	login := "/client.php?op=login&user="
	s.check(t, []abuse{
		get("a short password", login+user+"&pass="+password, 0, 200),
		get("another user's", login+"bert&pass="+password, 0, 401),
		get("another race's", login+"anna@cup&pass="+password, 0, 401),
		get("one that is cut off", login+user+"&pass="+password[1:], 0, 401),
		get("one of a later hour", login+user+"&pass=z"+password[1:], 0, 401),
		get("one of another key", login+user+"&pass="+foreign, 0, 401),
		{name: "one as a token", header: bearer(password), body: flight("f", 1), codes: []int{401}},
	})
	for _, secret := range []string{password, foreign} {
		assert.False(t, strings.Contains(s.log.String(), secret), "a password is logged")
	}
}

// getNumber returns the number that a request gets.
func getNumber(t *testing.T, address string) int {
	t.Helper()
	request, err := http.NewRequest(http.MethodGet, address, nil)
	require.NoError(t, err)
	_, text := do(t, request)
	number, err := strconv.Atoi(text)
	require.NoError(t, err)
	return number
}

// assertNoSecrets looks for secrets in what the program has shown.
func (s *abusedServer) assertNoSecrets(t *testing.T, shown string) {
	t.Helper()
	for _, secret := range []string{
		abusedKey, abusedKeyBefore, abusedPassword, abusedDatabase, abusedRedis, abusedFlymaster, lane.FlymasterKey(7, abusedFlymaster),
		base64.StdEncoding.EncodeToString([]byte("operator:" + abusedPassword)),
	} {
		assert.False(t, strings.Contains(shown, secret), "%s is shown", secret)
	}
	assert.False(t, strings.Contains(shown, "eyJ"), "what every token begins with is shown")
}

func TestAbuse_OperatorsEndpoints(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	var requests []abuse
	add := func(name, method, path string, codes []int, header ...string) {
		requests = append(requests, abuse{name: name + " " + method + " " + path, method: method, path: path, header: header, codes: codes})
	}
	right := basic("operator", abusedPassword)
	for _, path := range []string{"/", "/events", "/page/page.js", "/metrics", "/queue/status", "/asynqmon", "/asynqmon/api/queues"} {
		add("nobody", "GET", path, []int{401})
		add("a token", "GET", path, []int{401}, bearer(s.good)...)
		add("a token before", "GET", "/t/"+s.good+path, []int{401})
		add("encoded", "GET", strings.Replace(path, "/", "/%2e/", 1), []int{301, 307, 401, 404})
	}
	const pause = "/asynqmon/api/queues/live:pause"
	add("another site", "POST", pause, []int{403}, append(right, "Sec-Fetch-Site", "cross-site")...)
	add("another origin", "POST", pause, []int{403}, append(right, "Origin", "https://evil.example")...)
	add("no origin at all", "POST", pause, []int{403}, append(right, "Origin", "null")...)
	add("a rebound name", "POST", pause, []int{403}, append(right, "Host", "evil.example")...)
	add("a rebound name with a port", "POST", pause, []int{403}, append(right, "Host", "evil.example:8080", "Origin", "http://evil.example:8080")...)
	add("a forwarded name", "POST", pause, []int{403}, append(right, "Host", "evil.example", "X-Forwarded-For", "127.0.0.1", "X-Forwarded-Host", "localhost")...)
	add("an overridden method", "POST", "/asynqmon/api/queues/live", []int{405}, append(right, "X-HTTP-Method-Override", "DELETE")...)
	add("deleting a queue", "DELETE", "/asynqmon/api/queues/live", []int{405}, right...)
	add("deleting all", "DELETE", "/asynqmon/api/queues/live/pending_tasks:delete_all", []int{405}, right...)
	add("archiving all", "POST", "/asynqmon/api/queues/live/pending_tasks:archive_all", []int{405}, right...)
	add("deleting by another name", "POST", "/asynqmon/api/queues/live/pending_tasks:delete_all", []int{405}, right...)
	add("a queue's name of Lua", "GET", "/asynqmon/api/queues/'%5D)%20redis.call('flushall')--", []int{200, 404, 500}, right...)
	add("a task's name of two lines", "POST", "/asynqmon/api/queues/live/tasks/a%0Ab:cancel", []int{200, 404, 400, 405, 500}, right...)
	s.check(t, requests)
	requireRows(t, s.pool, 0, `SELECT count(*) FROM rejected_points`)

	// Last: wrong passwords make the address wait.
	var wrong []abuse
	for _, header := range [][]string{
		basic("operator", ""), basic("", abusedPassword), basic("operator", "wrong"), basic("OPERATOR", abusedPassword),
		basic("operator", abusedPassword+"\x00"), {"Authorization", "Basic !!!"}, {"Authorization", "Digest x"}, append(basic("operator", "x"), right...),
	} {
		wrong = append(wrong, abuse{name: fmt.Sprint("wrong ", len(wrong)), method: "GET", path: "/metrics", header: header, codes: []int{401, 429}})
	}
	s.check(t, wrong)
}

func TestAbuse_Texts(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	var requests []abuse
	for _, text := range []string{
		`'; DROP TABLE live_track_points; --`, `\\x00`, `$1`, `%s%n%x`, `${jndi:ldap://x}`, `<script>alert(1)</script>`,
		`a\nlevel=ERROR msg=forged`, `\u202e\u0007\u001b[31m`, `../../etc/passwd`, `{{7*7}}`, `","x":"`, `\ud83e\ude82`, `\ud83e`,
	} {
		if text == `","x":"` {
			text = `\",\"x\":\"`
		}
		requests = append(requests, abuse{
			name: text, header: append(bearer(s.good), "X-Request-Id", "bad id"), codes: []int{202}, stored: 1,
			body: `{"flight_id":"` + text + `","device_id":"` + text + `","pilot_id":"` + text + `","race_id":"` + text + `","track_points":[` + goodPoint + `]}`,
		})
	}
	for name, body := range map[string]string{
		"a NUL":                 `{"flight_id":"a\u0000b","track_points":[` + goodPoint + `]}`,
		"not UTF-8":             "{\"flight_id\":\"\xff\",\"track_points\":[" + goodPoint + "]}",
		"101 characters":        `{"flight_id":"` + strings.Repeat("ü", 101) + `","track_points":[` + goodPoint + `]}`,
		"no text at all":        `{"flight_id":"","track_points":[` + goodPoint + `]}`,
		"an object for a text":  `{"flight_id":{"$ne":1},"track_points":[` + goodPoint + `]}`,
		"an overflow of lat":    `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":1e400,"lon":2}]}`,
		"a lat that is a text":  `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":"1 OR 1=1","lon":2}]}`,
		"no number":             `{"flight_id":"f","track_points":[{"datetime":"2026-07-14T11:00:00Z","lat":NaN,"lon":2}]}`,
		"a year beyond":         `{"flight_id":"f","track_points":[{"datetime":"99999-01-01T00:00:00Z","lat":1,"lon":2}]}`,
		"depth 10,000":          `{"flight_id":"f","x":` + strings.Repeat("[", 10_000) + strings.Repeat("]", 10_000) + `,"track_points":[` + goodPoint + `]}`,
		"a number of 1 MB":      `{"flight_id":"f","x":` + strings.Repeat("9", 1_000_000) + `,"track_points":[`,
		"nothing but braces":    strings.Repeat("{", 500_000),
		"a byte order mark":     "\xef\xbb\xbf" + flight("f", 1),
		"UTF-16":                "\xff\xfe{\x00",
		"two values":            flight("f", 1) + flight("g", 1),
		"an empty list":         `{"flight_id":"f","track_points":[]}`,
		"the list is an object": `{"flight_id":"f","track_points":{"0":` + goodPoint + `}}`,
	} {
		requests = append(requests, abuse{name: name, header: bearer(s.good), body: body, codes: []int{400, 422}})
	}
	var keys bytes.Buffer
	for i := range 60_000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	requests = append(requests, abuse{
		name: "a great many keys", header: bearer(s.good), codes: []int{202}, stored: 1,
		body: `{` + keys.String() + `"flight_id":"keys","track_points":[` + goodPoint + `]}`,
	})
	s.check(t, requests)
	assert.NotContains(t, s.log.String(), "\nlevel=ERROR msg=forged")
}

func TestAbuse_Transport(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	body := `{"flight_id":"f","track_points":[` + goodPoint + `]}`
	head := "POST /live HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + s.good + "\r\n"
	length := fmt.Sprintf("Content-Length: %d\r\n", len(body))
	bomb := gzipBomb(t)
	requests := []abuse{
		{name: "two lengths", raw: head + length + "Content-Length: 1\r\n\r\n" + body, codes: []int{400}},
		{name: "a length and chunks", raw: head + length + "Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n", codes: []int{400}},
		{name: "a negative length", raw: head + "Content-Length: -1\r\n\r\n", codes: []int{400}},
		{name: "a length of words", raw: head + "Content-Length: many\r\n\r\n", codes: []int{400}},
		{name: "garbage for a chunk", raw: head + "Transfer-Encoding: chunked\r\n\r\nzz\r\n", codes: []int{400}},
		{name: "a chunk too long to be", raw: head + "Transfer-Encoding: chunked\r\n\r\n1ffffffffffffffff\r\n", codes: []int{400}},
		{name: "an unknown encoding", raw: head + "Transfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", codes: []int{501, 400}},
		{name: "no host", raw: "POST /live HTTP/1.1\r\n" + length + "\r\n" + body, codes: []int{400}},
		{name: "two hosts", raw: head + "Host: y\r\n" + length + "\r\n" + body, codes: []int{400}},
		{name: "a header without a colon", raw: head + "garbage\r\n" + length + "\r\n" + body, codes: []int{400}},
		{name: "a space before the colon", raw: head + "Content-Length : 3\r\n\r\nabc", codes: []int{400}},
		{name: "a folded header", raw: head + "X-A: b\r\n c\r\n" + length + "\r\n" + body, codes: []int{202}, stored: 1},
		{name: "a NUL in a header", raw: head + "X-A: \x00\r\n" + length + "\r\n" + body, codes: []int{400}},
		{name: "a line end in a header", raw: head + "X-Request-Id: a\nSet-Cookie: b\r\n" + "Content-Length: 0\r\n\r\n", codes: []int{400}},
		{name: "HTTP/0.9", raw: "GET /metrics\r\n\r\n", codes: []int{0, 400}},
		{name: "HTTP/2 without TLS", raw: "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", codes: []int{0, 400, 404, 505}},
		{name: "TLS", raw: "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03", codes: []int{400}},
		{name: "a long address", raw: "GET /" + strings.Repeat("a", 100_000) + " HTTP/1.1\r\nHost: x\r\n\r\n", codes: []int{0, 404, 414, 431}},
		{name: "two types", header: append(bearer(s.good), "Content-Type", "application/json", "Content-Type", "text/xml"), body: body, codes: []int{202}},
		{name: "a length with a sign", raw: head + "Content-Length: +5\r\n\r\nabcde", codes: []int{400}},
		{name: "a length of two", raw: head + "Content-Length: 5, 6\r\n\r\nabcde", codes: []int{400}},
		{name: "a hexadecimal length", raw: head + "Content-Length: 0x5\r\n\r\nabcde", codes: []int{400}},
		{name: "an encoding twice", raw: head + "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", codes: []int{400, 501}},
		{name: "an encoding that is none", raw: head + "Transfer-Encoding: xchunked\r\n\r\n0\r\n\r\n", codes: []int{400, 501}},
		{name: "an encoding of HTTP/1.0", raw: "POST /live HTTP/1.0\r\nAuthorization: Bearer " + s.good + "\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", codes: []int{400, 411, 501}},
		{name: "a chunk that ends early", raw: head + "Transfer-Encoding: chunked\r\n\r\n3\r\nabcdef\r\n0\r\n\r\n", codes: []int{400}},
		{name: "long chunk extensions", raw: head + "Transfer-Encoding: chunked\r\n\r\n1;" + strings.Repeat("x", 20_000) + "\r\na\r\n0\r\n\r\n", codes: []int{400}},
		{name: "chunks of a byte", raw: head + "Transfer-Encoding: chunked\r\n\r\n" + chunks(body) + "0\r\n\r\n", codes: []int{202}},
		{name: "a trailer of a token", raw: "POST /live HTTP/1.1\r\nHost: x\r\nTrailer: Authorization\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nAuthorization: Bearer " + s.good + "\r\n\r\n", codes: []int{400, 401}},
		{name: "a large header", raw: head + "X-Large: " + strings.Repeat("x", 20_000) + "\r\n\r\n", codes: []int{431}},
		{name: "many small headers", raw: head + strings.Repeat("X: y\r\n", 4000) + "\r\n", codes: []int{431}},
		{name: "many names of headers", raw: head + names(100) + length + "\r\n" + body, codes: []int{431}},
		{name: "a header that does not end", raw: head + "X-A: b\r\n", codes: []int{0, 408}},
		{name: "a smuggled request", raw: head + fmt.Sprintf("Content-Length: %d\r\n\r\n", len(body)) + body + "GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", codes: []int{202}},
		{name: "a gzip bomb", header: append(bearer(s.good), "Content-Encoding", "gzip"), body: bomb, codes: []int{413, 415}},
		{name: "a body that is gzip", header: bearer(s.good), body: bomb, codes: []int{400}},
		{name: "deflate", header: append(bearer(s.good), "Content-Encoding", "deflate"), body: body, codes: []int{415}},
		{name: "XML", header: append(bearer(s.good), "Content-Type", "text/xml"), body: "<a/>", codes: []int{415}},
		{name: "a type that is none", header: append(bearer(s.good), "Content-Type", ";;;"), body: body, codes: []int{415}},
		{name: "2 MB to the live lane", header: bearer(s.good), body: strings.Repeat(" ", 2<<20), codes: []int{413}},
		{name: "17 MB to upload", path: "/upload", header: bearer(s.good), body: strings.Repeat(" ", 17<<20), codes: []int{413}},
		{name: "CONNECT", raw: "CONNECT evil.example:443 HTTP/1.1\r\nHost: evil.example:443\r\n\r\n", codes: []int{400, 404, 405}},
		{name: "an absolute address", raw: "GET http://evil.example/metrics HTTP/1.1\r\nHost: x\r\n\r\n", codes: []int{401}},
		{name: "TRACE", method: "TRACE", path: "/live", codes: []int{405}},
		{name: "OPTIONS of another site", method: "OPTIONS", path: "/live", header: []string{"Origin", "https://evil.example"}, codes: []int{405}},
	}
	s.check(t, append(requests, pathTricks()...))
	assert.Less(t, s.peak(t), maxResident)
}

// gzipBomb is 100 MB of zeros in gzip.
func gzipBomb(t *testing.T) string {
	t.Helper()
	var bomb bytes.Buffer
	zip := gzip.NewWriter(&bomb)
	for range 100 {
		_, err := zip.Write(make([]byte, 1<<20))
		require.NoError(t, err)
	}
	require.NoError(t, zip.Close())
	return bomb.String()
}

// pathTricks are requests for paths that no endpoint has.
func pathTricks() (requests []abuse) {
	for _, path := range []string{
		"//live", "/live/", "/live/../metrics", "/live/%2e%2e/metrics", "/LIVE", "/live%00", "/live;x=1", "/t/", "/t//live", "/t/x", "/t/t/t/live",
		"/t/%2e%2e/metrics", "/page/../go.mod", "/page/%2e%2e%2fgo.mod", `/page/..\go.mod`, "/debug/pprof/", "/.env", "/live/%ff",
	} {
		requests = append(requests, abuse{name: path, method: "GET", path: path, codes: []int{301, 307, 400, 401, 404, 405}})
	}
	return requests
}

// chunks is a body in chunks of one byte.
func chunks(body string) string {
	var text strings.Builder
	for _, b := range []byte(body) {
		fmt.Fprintf(&text, "1\r\n%c\r\n", b)
	}
	return text.String()
}

// names is a header of n fields.
func names(n int) string {
	var text strings.Builder
	for i := range n {
		fmt.Fprintf(&text, "X-%d: y\r\n", i)
	}
	return text.String()
}

func TestAbuse_Devices(t *testing.T) {
	t.Parallel()
	s := startAbused(t, "FLYMASTER_SECRET="+abusedFlymaster)
	key, others := lane.FlymasterKey(7, abusedFlymaster), lane.FlymasterKey(8, abusedFlymaster)
	const line = "1784024135,1784024130,1,2,3,4,5\n"
	file := func(first string) string { return first + "\n" + line + "EOF\n" }
	form := func(parts string) []string { return []string{"Content-Type", "multipart/form-data; boundary=" + parts} }
	part := func(header string) string { return "--b\r\n" + header + "\r\n\r\n" + file("7,"+key) + "\r\n--b--\r\n" }
	const disposition = `Content-Disposition: form-data; name="file"`
	requests := []abuse{
		{name: "the right key", body: file("7," + key), codes: []int{202}, stored: 1},
		{name: "in capitals, with zeros before", body: file("007, " + strings.ToUpper(key)), codes: []int{202}},
		{name: "no key", body: file("7,"), codes: []int{403}},
		{name: "no comma", body: file("7"), codes: []int{400}},
		{name: "another device's", body: file("7," + others), codes: []int{403}},
		{name: "a part of it", body: file("7," + key[:32]), codes: []int{403}},
		{name: "more than it", body: file("7," + key + "00"), codes: []int{403}},
		{name: "a hash without a secret", body: file("7," + lane.FlymasterKey(7, "")), codes: []int{403}},
		{name: "a negative serial", body: file("-7," + key), codes: []int{400}},
		{name: "a serial that is too large", body: file("99999999999999999999," + key), codes: []int{400}},
		{name: "a serial of SQL", body: file("7; DROP TABLE flymaster," + key), codes: []int{400}},
		{name: "a token for a key", header: bearer(s.good), body: file("7," + s.good), codes: []int{403}},
		{name: "a token beside no key", header: bearer(s.good), body: file("7,"), codes: []int{403}},
		{name: "two files", body: file("7,"+key) + file("7,"+key), codes: []int{400}},
		{name: "no end", body: "7," + key + "\n" + line, codes: []int{400}},
		{name: "16 MB of a stranger", body: file("7,0") + strings.Repeat("x", 16_000_000), codes: []int{0, 403}},
		{name: "16 MB without a line", body: strings.Repeat("x", 16_000_000), codes: []int{0, 400}},
		{name: "251,000 empty lines", body: "7," + key + "\n" + strings.Repeat("\n", 251_000) + "EOF\n", codes: []int{413}},
		{name: "a form", header: form("b"), body: part(disposition), codes: []int{202}},
		{name: "a form of a stranger", header: form("b"), body: strings.ReplaceAll(part(disposition), key, "0"), codes: []int{403}},
		{name: "a form without an end", header: form("b"), body: "--b\r\n" + disposition, codes: []int{400}},
		{name: "a form without a boundary", header: form(""), body: part(disposition), codes: []int{400, 415}},
		{name: "a boundary that is too long", header: form(strings.Repeat("b", 10_000)), body: part(disposition), codes: []int{400, 415}},
		{name: "a large part header", header: form("b"), body: part("X: " + strings.Repeat("x", 20_000)), codes: []int{400}},
		{name: "60 part headers of 16 kB", header: form("b"), body: strings.Repeat("--b\r\n"+strings.Repeat("a:\r\n", 4000)+"\r\n\r\n", 60), codes: []int{400}},
		{name: "many names of part headers", header: form("b"), body: part(names(100) + disposition), codes: []int{400}},
		{name: "1,000 parts", header: form("b"), body: strings.Repeat("--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n\r\n", 1000), codes: []int{400}},
		{name: "15 MB before the file", header: form("b"), body: "--b\r\nContent-Disposition: form-data; name=\"x\"\r\n\r\n" + strings.Repeat("x", 15_000_000) + "\r\n" + part(disposition), codes: []int{0, 400}},
		{name: "a file's name of paths", header: form("b"), body: part(disposition + `; filename="../../etc/passwd"`), codes: []int{202}},
	}
	for i := range requests {
		requests[i].path = "/flymaster"
	}
	s.check(t, requests)
}

func TestAbuse_WhatOneRequestMayHold(t *testing.T) {
	t.Parallel()
	s := startAbused(t)
	long := strings.Repeat("x", 100)
	many := func(n int, point string) string { return strings.TrimSuffix(strings.Repeat(point+",", n), ",") }
	var keys strings.Builder
	for i := range 1_000_000 {
		fmt.Fprintf(&keys, `"k%d":0,`, i)
	}
	const scored = `{"date_time":"2026-07-14T11:00:00Z","lat":1,"lon":2,"gps_alt":3,`
	requests := []abuse{
		{name: "251,000 points", path: "/upload", body: `{"flight_id":"f","track_points":[` + many(251_000, goodPoint) + `]}`, codes: []int{413}},
		{name: "5 million of what is no point", path: "/upload", body: `{"flight_id":"f","track_points":[` + many(5_000_000, `0`) + `]}`, codes: []int{413}},
		{name: "long texts with many points", path: "/upload", codes: []int{413},
			body: `{"flight_id":"` + long + `","device_id":"` + long + `","pilot_id":"` + long + `","race_id":"` + long + `","track_points":[` + many(150_000, goodPoint) + `]}`},
		{name: "a million keys", path: "/upload", body: `{` + keys.String() + `"flight_id":"keys","track_points":[` + goodPoint + `]}`, codes: []int{202}, stored: 1},
		{name: "a text of 15 MB", path: "/upload", body: `{"flight_id":"` + strings.Repeat("x", 15_000_000) + `","track_points":[` + goodPoint + `]}`, codes: []int{422}},
		{name: "a number of 15 MB", path: "/upload", body: `{"flight_id":"f","track_points":[{"lat":` + strings.Repeat("9", 15_000_000) + `}]}`, codes: []int{422}},
		{name: "a time of 101 characters", path: "/scoring", body: `{"tracks":[` + scored + `"time":"` + long + `x"}]}`, codes: []int{422}},
		{name: "a rounded time with a NUL", path: "/scoring", body: `{"tracks":[` + scored + `"rounded_time":"\u0000"}]}`, codes: []int{422}},
		{name: "a validity of SQL", path: "/scoring", body: `{"tracks":[` + scored + `"validity":"'); DROP TABLE scoring_tracks; --"}]}`, codes: []int{202}, stored: 1},
		{name: "a UUID that is none", path: "/scoring", body: `{"flight_uuid":"' OR 1=1","tracks":[` + scored + `"lat":1}]}`, codes: []int{400}},
	}
	for i := range requests {
		requests[i].header = bearer(s.good)
	}
	s.check(t, requests)
	assert.Less(t, s.peak(t), maxResident)
}

func TestAbuse_Rate(t *testing.T) {
	t.Parallel()
	s := startAbused(t, "RATE_LIMIT=1", "RATE_BURST=3")
	send := func(header ...string) response {
		return post(t, s.url+"/live", "application/json", flight("f", 1), header...)
	}
	pilot := bearer(abuseToken(t, "anna"))
	for range 3 {
		assert.Less(t, send(pilot...).code, 300)
	}
	limited := send(pilot...)
	assert.Equal(t, http.StatusTooManyRequests, limited.code)
	assert.Equal(t, "1", limited.header.Get("Retry-After"))
	assert.NotEmpty(t, limited.header.Get("RateLimit"))
	for range 20 {
		assert.Less(t, send(bearer(s.good)...).code, 300, "a relay is not limited")
	}
	var strangers []int
	for range 10 {
		strangers = append(strangers, send(bearer("no token")...).code)
	}
	assert.Equal(t, http.StatusUnauthorized, strangers[0])
	assert.Equal(t, http.StatusTooManyRequests, strangers[9])
}

// Neither the log nor what operators see names a secret while PostgreSQL and Redis
// are down, which is when errors hold addresses.
func TestAbuse_ShowsNoSecretWhileTheServersAreDown(t *testing.T) {
	t.Parallel()
	postgres, redis := servers.Postgres(t, devservers.PostgresOptions{}), servers.Redis(t)
	s := startAbusedWith(t, postgres.DSN(), redis, "FLYMASTER_SECRET="+abusedFlymaster)
	require.NoError(t, postgres.Kill())
	require.NoError(t, redis.Kill())
	refused := func() bool { return s.send(t, abuse{header: bearer(s.good), body: flight("down", 1)}) == 503 }
	require.Eventually(t, refused, 20*time.Second, 50*time.Millisecond)
	for _, path := range []string{"/live", "/t/" + s.good + "/live", "/live?token=" + s.good} {
		s.send(t, abuse{path: path, body: flight("down", 1)})
	}
	s.send(t, abuse{path: "/flymaster", body: "7," + lane.FlymasterKey(7, abusedFlymaster) + "\n1784024135,1784024130,1,2,3,4,5\nEOF\n"})
	for _, path := range []string{"/health", "/metrics", "/queue/status", "/asynqmon/api/queues", "/readyz", "/"} {
		request, err := http.NewRequest(http.MethodGet, s.url+path, nil)
		require.NoError(t, err)
		request.SetBasicAuth("operator", abusedPassword)
		response, err := http.DefaultClient.Do(request)
		require.NoError(t, err)
		text, err := io.ReadAll(response.Body)
		require.NoError(t, err)
		require.NoError(t, response.Body.Close())
		s.assertNoSecrets(t, string(text))
	}
	assert.Contains(t, s.log.String(), "neither Redis nor the database accepted points")
}
