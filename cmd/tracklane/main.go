// Command tracklane accepts the positions that pilots' phones, trackers and
// loggers send, and stores each of them once in TimescaleDB.
package main

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/spf13/cobra"

	"tracklane/internal/app"
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
	app.SilenceLibraries()
	os.Exit(run(app.SignalContext(), os.Args[1:]))
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
		Short: "Accept the positions of flying pilots and store each of them once",
		Long: `tracklane accepts the positions that pilots' phones, trackers and loggers
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
		newServeCommand("serve", "Run the API and the workers in one process", app.Roles{API: true, Worker: true}),
		newServeCommand("api", "Run the API alone", app.Roles{API: true}),
		newServeCommand("worker", "Run the workers alone", app.Roles{Worker: true}),
		newMigrateCommand(),
		newTokenCommand(),
		newUploadCommand(), newExportCommand(), newReplayCommand(),
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
