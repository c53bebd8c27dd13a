package main

import (
	"errors"

	"github.com/spf13/cobra"

	"tracklane/internal/dev"
)

func newDevCommand() *cobra.Command {
	var options dev.Options
	command := &cobra.Command{
		Use: "dev", Short: "Run everything in one process, with simulated pilots and nothing to install",
		Long: `Run everything in one process: the API, the workers, the web pages, and a
PostgreSQL and a Redis of its own unless DATABASE_URL or REDIS_URL names one.
Simulated pilots fly and post their positions. Ctrl-C stops it all.

The environment variables of "tracklane serve" apply here too.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			if options.Pilots < 0 {
				return &usageError{errors.New("--pilots must not be negative")}
			}
			return dev.Run(c.Context(), options, version, c.OutOrStdout())
		},
	}
	command.Flags().IntVar(&options.Pilots, "pilots", 20, "simulated pilots; 0 = none")
	command.Flags().StringVar(&options.Dir, "data", ".tracklane", "data directory")
	command.Flags().BoolVar(&options.Fresh, "fresh", false, "start with an empty data directory")
	return command
}
