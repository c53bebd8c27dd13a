// Package asynqmon serves asynq's web UI, with payloads that can be read.
package asynqmon

import (
	"net/http"

	"github.com/hibiken/asynqmon"
	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

// RootPath is where the UI is served: the path itself and all below it.
const RootPath = "/asynqmon"

// Options say what the UI lets its visitors do.
type Options struct {
	// ReadOnly hides the buttons that change queues, and refuses the requests
	// behind them. It is false by default.
	ReadOnly bool
}

// New returns the UI's handler. It talks to Redis through client, which stays
// the caller's to close, and which nothing else should need: a page may keep it
// busy. Redis need not be up yet.
//
// The UI shows buttons that delete or archive tasks, and the requests behind
// them are refused: the tasks hold acknowledged points.
//
// The UI has no authentication of its own. Requests that change something are
// refused when another site's page sends them, and its pages load nothing from
// other hosts.
func New(client redis.UniversalClient, lanes []*lane.Lane, options Options) http.Handler {
	ui := asynqmon.New(asynqmon.Options{
		RootPath:         RootPath,
		RedisConnOpt:     sharedClient{client},
		PayloadFormatter: newFormatter(lanes),
		ReadOnly:         options.ReadOnly,
	})
	return http.NewCrossOriginProtection().Handler(protectTasks(newLimiter(http.HandlerFunc(
		func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Security-Policy", contentSecurityPolicy)
			w.Header().Set("X-Content-Type-Options", "nosniff")
			ui.ServeHTTP(w, r)
		}))))
}

// contentSecurityPolicy keeps the UI's page from fetching fonts from Google,
// which it does not need, and which an offline browser would wait for. The
// page's own scripts and styles are partly inline.
const contentSecurityPolicy = "default-src 'self'; script-src 'self' 'unsafe-inline'; " +
	"style-src 'self' 'unsafe-inline'; img-src 'self' data:; frame-ancestors 'none'"

// sharedClient hands out a client that is already there. asynqmon looks at the
// client's own type, so it cannot be wrapped; asynqmon's Close would close it,
// so that is never called.
type sharedClient struct{ client redis.UniversalClient }

// MakeRedisClient implements asynq.RedisConnOpt.
func (s sharedClient) MakeRedisClient() any { return s.client }
