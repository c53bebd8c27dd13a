package app

import (
	"context"
	"log"
	"log/slog"
	"os"
	"os/signal"
	"runtime/debug"
	"syscall"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9/logging"

	"tracklane/internal/config"
)

// SilenceLibraries keeps libraries from writing to the terminal by themselves. It
// changes their global state, so a process calls it before anything else.
func SilenceLibraries() {
	gin.SetMode(gin.ReleaseMode)
	// Each failure to reach Redis is returned to the caller that needs to know.
	logging.Disable()
}

// logThrough sends to logger what libraries write to the standard log, a record a
// line.
func logThrough(logger *slog.Logger) {
	log.SetFlags(0)
	log.SetOutput(slog.NewLogLogger(logger.Handler(), slog.LevelWarn).Writer())
}

// SignalContext returns a context that ends at the first SIGINT or SIGTERM, which
// asks for an orderly stop. A second signal ends the process at once.
func SignalContext() context.Context {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	context.AfterFunc(ctx, stop)
	return ctx
}

// workerGC is by how many percent the memory of a process of workers alone grows
// before garbage is collected. Such a process holds little at a time, so that with
// Go's 100 it would collect all the time: 400 takes 13 % off its processor time,
// for 14 MB.
const workerGC = 400

// memoryLimit is from how many bytes on garbage is collected more often, in a process
// that clients talk to. What they can make it hold is less.
const memoryLimit = 180 << 20

// Serve runs the program that the environment of this process describes until ctx
// ends. Its errors are those of config.Load, Config.CheckAuth, New and Run.
func Serve(ctx context.Context, roles Roles, version string) error {
	settings, err := config.Load(os.Environ())
	if err != nil {
		return err
	}
	if err := settings.CheckAuth(roles.API); err != nil {
		return err
	}
	logger := NewLogger(settings.LogLevel, settings.LogFormat)
	logThrough(logger)
	program, err := New(settings, roles, version, logger)
	if err != nil {
		return err
	}
	switch {
	case roles.API && os.Getenv("GOMEMLIMIT") == "":
		debug.SetMemoryLimit(memoryLimit)
	case !roles.API && os.Getenv("GOGC") == "":
		debug.SetGCPercent(workerGC)
	}
	return program.Run(ctx)
}

// NewLogger logs to standard error, from a level on, in the format "text" or
// "json".
func NewLogger(level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}
