// Package dev runs all of tracklane in one process for who develops it or tries
// it: the program, a PostgreSQL and a Redis, and simulated pilots.
package dev

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"sync"
	"time"

	"tracklane/internal/app"
	"tracklane/internal/config"
	"tracklane/internal/simulator"
)

// Options are what "tracklane dev" can be told.
type Options struct {
	Pilots int    // simulated pilots; 0 = none
	Dir    string // the data directory; it is made when it is missing
	Fresh  bool   // remove the data directory first
}

// Run runs everything until ctx ends, and stops it in order. It is configured by
// the environment as the other commands are, except that it starts a PostgreSQL
// if DATABASE_URL is empty and a Redis if REDIS_URL is. It writes what can be
// opened and connected to to out, and logs to standard error. On an HTTP_ADDR that
// others can reach it has a key and a password of its own, and writes these, too.
func Run(ctx context.Context, options Options, version string, out io.Writer) (err error) {
	if options.Fresh {
		if err := os.RemoveAll(options.Dir); err != nil {
			return fmt.Errorf("empty the data directory: %w", err)
		}
	}
	var own servers
	// The program has ended by then: the servers go last.
	defer func() { err = errors.Join(err, own.stop()) }()
	if err := own.start(ctx, options.Dir, app.NewLogger(slog.LevelWarn, "text")); err != nil {
		return err
	}
	settings, err := config.Load(own.environment)
	if err != nil {
		return err
	}
	if err := settings.CheckAuth(true); err != nil {
		return err
	}
	logger := app.NewLogger(settings.LogLevel, settings.LogFormat)
	program, err := app.New(settings, app.Roles{API: true, Worker: true}, version, logger)
	if err != nil {
		return err
	}
	token, err := relayToken(settings)
	if err != nil {
		return err
	}
	writeBanner(out, banner{
		version: version, url: program.URL(), database: own.databaseAt(settings), redis: own.redisAt(settings),
		inMemory: own.redis != nil && own.redis.InMemory(), pilots: options.Pilots,
		user: settings.OperatorUser, password: own.password(settings), token: token,
	})
	ctx, stop := context.WithCancel(ctx)
	defer stop()
	var pilots sync.WaitGroup
	if options.Pilots > 0 {
		pilots.Go(func() {
			fly(ctx, simulator.Options{
				URL: program.URL(), Count: options.Pilots, Seed: uint64(time.Now().UnixNano()),
				Token: token, FlymasterSecret: settings.FlymasterSecret, Logger: logger,
			})
		})
	}
	err = program.Run(ctx)
	stop() // the pilots, too, if the program failed
	pilots.Wait()
	return err
}

// fly flies simulated pilots until ctx ends.
func fly(ctx context.Context, options simulator.Options) {
	if err := simulator.Fly(ctx, options); err != nil && !errors.Is(err, context.Canceled) {
		options.Logger.Error("the simulated pilots stopped", "error", err)
	}
}
