package e2e

import (
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/apidoc/apidoctest"
	"tracklane/internal/auth"
)

// keyRollout is two APIs behind which clients post all the time with a token.
type keyRollout struct {
	settings []string
	apis     [2]atomic.Pointer[child]
	token    atomic.Pointer[string]
	codes    sync.Map // of the responses, *atomic.Int64 by code
}

// replace starts an API with other settings in the place of one, which ends when
// what it has in hand is done.
func (k *keyRollout) replace(t *testing.T, place int, settings ...string) {
	t.Helper()
	started := startProcess(t, "api", append(settings, k.settings...)...)
	if old := k.apis[place].Swap(&started); old != nil {
		require.NoError(t, old.Stop(t.Context(), syscall.SIGTERM))
	}
}

// post sends points from one client until end is closed.
func (k *keyRollout) post(end <-chan struct{}, client int) {
	connections := &http.Client{Transport: apidoctest.Over(&http.Transport{DisableKeepAlives: true}), Timeout: 20 * time.Second}
	for i := client; ; i++ {
		select {
		case <-end:
			return
		default:
		}
		request, err := http.NewRequest(http.MethodPost, k.apis[i%2].Load().url+"/live", strings.NewReader(flight("f", 1)))
		if err != nil {
			panic(err)
		}
		request.Header.Set("Authorization", "Bearer "+*k.token.Load())
		code := 0 // an API that has just been replaced
		if response, err := connections.Do(request); err == nil {
			code = response.StatusCode
			_ = response.Body.Close()
		}
		count, _ := k.codes.LoadOrStore(code, new(atomic.Int64))
		count.(*atomic.Int64).Add(1)
	}
}

// use has all clients post with a new token of a key.
func (k *keyRollout) use(t *testing.T, key string) {
	t.Helper()
	token, err := auth.Sign(key, auth.Claims{Scopes: []string{"live"}, Expires: time.Now().Add(time.Hour)}, time.Now())
	require.NoError(t, err)
	k.token.Store(&token)
}

// accepted is how many requests were.
func (k *keyRollout) accepted() int64 {
	count, _ := k.codes.LoadOrStore(http.StatusAccepted, new(atomic.Int64))
	return count.(*atomic.Int64).Load()
}

// The key is changed under load, one API after the other, as docs/deploy.md says.
func TestProgram_ChangesItsKeyUnderLoadWithoutA401(t *testing.T) {
	t.Parallel()
	const first, second = "0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"
	k := &keyRollout{settings: []string{
		"AUTH=on", "OPERATOR_PASSWORD=cloudbase", "RATE_LIMIT=0",
		"DATABASE_URL=" + servers.Database(t), "REDIS_URL=" + servers.Redis(t).URL(),
	}}
	k.use(t, first)
	for place := range k.apis {
		k.replace(t, place, "SECRET_KEY="+first)
	}
	end := make(chan struct{})
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() { k.post(end, client) })
	}
	stop := sync.OnceFunc(func() { close(end); clients.Wait() })
	t.Cleanup(stop)
	more := func() {
		before := k.accepted()
		require.Eventually(t, func() bool { return k.accepted() >= before+100 }, 30*time.Second, 10*time.Millisecond)
	}
	more()
	for place := range k.apis { // tokens of the old key stay good
		k.replace(t, place, "SECRET_KEY="+second, "SECRET_KEY_PREVIOUS="+first)
		more()
	}
	k.use(t, second) // once every API knows it
	more()
	for place := range k.apis { // when the last old token has expired
		k.replace(t, place, "SECRET_KEY="+second)
		more()
	}
	stop()
	k.codes.Range(func(code, count any) bool {
		t.Log("responses with", code, count.(*atomic.Int64).Load())
		assert.Contains(t, []int{0, http.StatusCreated, http.StatusAccepted}, code)
		return true
	})
}
