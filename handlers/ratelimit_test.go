package handlers

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
)

func TestRateLimiter_AdmitsABurstAndThenARate(t *testing.T) {
	t.Parallel()
	l := newRateLimiter(2, 3)
	now := time.Unix(1_784_000_000, 0)
	for range 3 {
		assert.Zero(t, l.admit("anna", now))
	}
	for range 3 {
		assert.Equal(t, 500*time.Millisecond, l.admit("anna", now), "who is refused does not wait longer for that")
	}
	assert.Zero(t, l.admit("bert", now))
	assert.Zero(t, l.admit("anna", now.Add(500*time.Millisecond)))
	assert.Equal(t, 500*time.Millisecond, l.admit("anna", now.Add(500*time.Millisecond)))

	unlimited := newRateLimiter(0, 1)
	for range 100 {
		assert.Zero(t, unlimited.admit("anna", now))
	}
}

func TestRateLimiter_RemembersSoManySenders(t *testing.T) {
	t.Parallel()
	l := newRateLimiter(1, 1)
	now := time.Unix(1_784_000_000, 0)
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for n := range maxSenders {
				l.admit(fmt.Sprint(client, " ", n), now)
			}
		})
	}
	clients.Wait()
	assert.LessOrEqual(t, l.senders.Len(), 2*maxSenders)
	assert.Zero(t, l.admit("anna", now))
	for n := range maxSenders {
		l.admit(fmt.Sprint("more ", n), now)
	}
	assert.Positive(t, l.admit("anna", now), "one generation later it is still known")
}

func TestServer_LimitsEachSender(t *testing.T) {
	t.Parallel()
	s, _, _ := newTestServer(t, lane.All(lane.Options{FlymasterSecret: "s"}))
	config := s.config
	config.Access = Access{Tokens: auth.NewVerifier(testKey, ""), RateLimit: 1, RateBurst: 3}
	server := httptest.NewServer(New(config))
	t.Cleanup(server.Close)
	anna, bert, relay := token(t, "anna", "", "live"), token(t, "bert", "", "live"), token(t, "", "", "live")
	file := func(serial int64, secret string) string {
		return fmt.Sprint(serial, ",", lane.FlymasterKey(serial, secret), "\n1783958400,1783958399,46.5,7.25,1234,11.5,270\nEOF\n")
	}
	post := func(path, body string) response {
		return send(t, http.MethodPost, server.URL+path, strings.NewReader(body))
	}
	count := func(path, body string) (codes map[int]int, last response) {
		codes = make(map[int]int)
		for range 6 {
			last = post(path, body)
			codes[last.code]++
		}
		return codes, last
	}
	for name, c := range map[string]struct {
		path, body string
		want       int // of those that are not limited
	}{
		"a pilot":               {"/t/" + anna + "/live", onePoint(""), 201},
		"another pilot":         {"/t/" + bert + "/live", onePoint(""), 201},
		"a device":              {"/flymaster", file(1, "s"), 201},
		"another device":        {"/flymaster", file(2, "s"), 201},
		"who has no good token": {"/t/x/live", onePoint(""), 401},
	} {
		t.Run(name, func(t *testing.T) {
			codes, last := count(c.path, c.body)
			assert.GreaterOrEqual(t, codes[c.want], 3)
			assert.LessOrEqual(t, codes[c.want], 5)
			assert.Equal(t, 6-codes[c.want], codes[429])
			if last.code == 429 {
				assert.Equal(t, "1", last.header.Get("Retry-After"))
				assert.Equal(t, `"sender";q=3;w=3`, last.header.Get("RateLimit-Policy"))
				assert.Equal(t, `"sender";r=0;t=1`, last.header.Get("RateLimit"))
			}
		})
	}
	codes, _ := count("/t/"+relay+"/live", onePoint(""))
	assert.Equal(t, map[int]int{201: 6}, codes, "a relay is not limited")
}
