package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/config"
	"tracklane/internal/devservers"
	"tracklane/internal/simulator"
)

// devOptions is what "tracklane dev" can be told.
type devOptions struct {
	pilots int
	folder string
	fresh  bool
}

func newDevCommand() *cobra.Command {
	var options devOptions
	command := &cobra.Command{
		Use: "dev", Short: "Run everything in one process, with simulated pilots and nothing to install",
		Long: `Run everything in one process: the API, the workers, the web pages, and a
PostgreSQL and a Redis of its own unless DATABASE_URL or REDIS_URL names one.
Simulated pilots fly and post their positions. Ctrl-C stops it all.

The environment variables of "tracklane serve" apply here too.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if options.pilots < 0 {
				return &usageError{fmt.Errorf("--pilots must not be negative")}
			}
			return runDev(c.Context(), options, c.OutOrStdout())
		},
	}
	command.Flags().IntVar(&options.pilots, "pilots", 20, "simulated pilots; 0 = none")
	command.Flags().StringVar(&options.folder, "data", ".tracklane", "folder for the data")
	command.Flags().BoolVar(&options.fresh, "fresh", false, "start with an empty data folder")
	return command
}

// devStopTimeout bounds the end of each service.
const devStopTimeout = 15 * time.Second

func runDev(ctx context.Context, options devOptions, out io.Writer) (err error) {
	logger := newLogger(slog.LevelWarn, "text")
	var stops []func(context.Context) error
	defer func() {
		// The program has ended by now: the services go last.
		for _, stop := range stops {
			ctx, cancel := context.WithTimeout(context.Background(), devStopTimeout)
			err = errors.Join(err, stop(ctx))
			cancel()
		}
	}()
	if options.fresh {
		if err := os.RemoveAll(options.folder); err != nil {
			return fmt.Errorf("empty the data folder: %w", err)
		}
	}
	environment := os.Environ()
	var redisName string
	var inMemory bool
	if os.Getenv("DATABASE_URL") == "" {
		postgres, err := devservers.StartPostgres(ctx, devservers.PostgresOptions{
			Dir: filepath.Join(options.folder, "postgresql"), Durable: true, Logger: logger,
		})
		if err != nil {
			return err
		}
		stops = append(stops, postgres.Stop)
		environment = append(environment, "DATABASE_URL="+postgres.DSN())
	}
	if os.Getenv("REDIS_URL") == "" {
		redis, err := devservers.StartRedis(ctx, devservers.RedisOptions{
			Dir: filepath.Join(options.folder, "redis"), Logger: logger,
		})
		if err != nil {
			return err
		}
		stops = append(stops, redis.Stop)
		environment = append(environment, "REDIS_URL="+redis.URL())
		redisName, inMemory = redis.Name(), redis.InMemory()
	}
	if os.Getenv("LOG_FORMAT") == "" {
		environment = append(environment, "LOG_FORMAT=text")
	}
	settings, err := config.Load(environment)
	if err != nil {
		return err
	}
	logger = newLogger(settings.LogLevel, settings.LogFormat)
	p, err := newProgram(settings, roles{api: true, worker: true}, logger)
	if err != nil {
		return err
	}
	printBanner(out, p, redisName, inMemory, options)

	var flying sync.WaitGroup
	if options.pilots > 0 {
		flying.Go(func() {
			err := simulator.Fly(ctx, simulator.Options{
				URL: p.url(), Count: options.pilots, Seed: uint64(time.Now().UnixNano()),
				FlymasterSecret: settings.FlymasterSecret, Logger: logger,
			})
			if err != nil && !errors.Is(err, context.Canceled) {
				logger.Error("the simulated pilots stopped", "error", err)
			}
		})
	}
	err = p.run(ctx)
	flying.Wait()
	return err
}

func printBanner(out io.Writer, p *program, redisName string, inMemory bool, options devOptions) {
	redis, err := p.config.Redis.Options()
	where := p.config.Redis.URL
	if where == "" && err == nil {
		where = redis.Addrs[0]
	}
	fmt.Fprintf(out, `tracklane %s

  Page        %[2]s/
  Queues      %[2]s/asynqmon
  Health      %[2]s/health
  Metrics     %[2]s/metrics
  PostgreSQL  %[3]s
  Redis       %[4]s  %[5]s
`, version, p.url(), p.config.DatabaseURL, where, redisName)
	if inMemory {
		fmt.Fprintln(out, "\n  No redis-server was found on PATH: queued points live in memory only.")
	}
	fmt.Fprintf(out, "\n%d simulated pilots are flying. Ctrl-C stops everything.\n\n", options.pilots)
}
