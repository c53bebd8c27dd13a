// Command tracklane takes the positions that pilots' telephones, trackers and
// loggers send, and stores each of them once in TimescaleDB.
package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/signal"
	"syscall"

	"github.com/gin-gonic/gin"
	"github.com/redis/go-redis/v9/logging"
	"github.com/spf13/cobra"
)

// version is set by the build: -ldflags "-X main.version=…".
var version = "dev"

// The exit statuses.
const (
	exitDone = iota
	exitFailed
	exitUsage
)

func main() {
	gin.SetMode(gin.ReleaseMode)
	// Each failure to reach Redis comes back as an error to who needs to know.
	logging.Disable()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	// The first signal asks for an orderly stop; from then on a second one ends
	// the process at once.
	context.AfterFunc(ctx, stop)
	os.Exit(run(ctx, os.Args[1:]))
}

// run executes one command and returns the process's exit status.
func run(ctx context.Context, arguments []string) int {
	root := newRootCommand()
	root.SetArgs(arguments)
	err := root.ExecuteContext(ctx)
	var usage *usageError
	switch {
	case err == nil:
		return exitDone
	case errors.As(err, &usage):
		fmt.Fprintf(os.Stderr, "tracklane: %v\nRun 'tracklane --help' for usage.\n", err)
		return exitUsage
	default:
		fmt.Fprintf(os.Stderr, "tracklane: %v\n", err)
		return exitFailed
	}
}

// usageError is an error in how a command was called.
type usageError struct{ error }

func (e *usageError) Unwrap() error { return e.error }

func newRootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "tracklane",
		Short: "Takes the positions of flying pilots and stores each of them once",
		Long: `tracklane takes the positions that pilots' telephones, trackers and loggers
send over HTTP, queues them in Redis and writes them into TimescaleDB.

To try it, run "tracklane dev": it needs nothing else.`,
		SilenceUsage:  true,
		SilenceErrors: true,
		Args: func(c *cobra.Command, arguments []string) error {
			if len(arguments) > 0 {
				return &usageError{fmt.Errorf("unknown command %q", arguments[0])}
			}
			return nil
		},
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	root.SetFlagErrorFunc(func(_ *cobra.Command, err error) error { return &usageError{err} })
	root.CompletionOptions.DisableDefaultCmd = true
	root.AddCommand(
		newDevCommand(),
		newServeCommand("serve", "Run the API and the workers in one process", roles{api: true, worker: true}),
		newServeCommand("api", "Run the API alone", roles{api: true}),
		newServeCommand("worker", "Run the workers alone", roles{worker: true}),
		newMigrateCommand(),
		newLoadCommand(),
		newRejectedCommand(),
		newHealthcheckCommand(),
		newVersionCommand(),
	)
	return root
}

func newVersionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(c.OutOrStdout(), "tracklane", version)
			return err
		},
	}
}

// noArguments is cobra.NoArgs with this program's exit status.
func noArguments(c *cobra.Command, arguments []string) error {
	if err := cobra.NoArgs(c, arguments); err != nil {
		return &usageError{err}
	}
	return nil
}

// newLogger logs to standard error.
func newLogger(level slog.Level, format string) *slog.Logger {
	options := &slog.HandlerOptions{Level: level}
	if format == "text" {
		return slog.New(slog.NewTextHandler(os.Stderr, options))
	}
	return slog.New(slog.NewJSONHandler(os.Stderr, options))
}
