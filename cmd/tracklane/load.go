package main

import (
	"os"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/load"
)

func newLoadCommand() *cobra.Command {
	options := load.Options{
		DatabaseURL:     os.Getenv("DATABASE_URL"),
		FlymasterSecret: os.Getenv("FLYMASTER_SECRET"),
		Token:           os.Getenv("TOKEN"),
	}
	command := &cobra.Command{
		Use: "load", Short: "Put load on a running server, and verify that every point arrives",
		Long: `Put load on a running server.

With --verify it waits, up to a minute, until every point that the server
acknowledged is in the database at DATABASE_URL, and fails if one is missing or
came twice. Files for the flymaster lane are signed with FLYMASTER_SECRET, and the
token in TOKEN goes with each request.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			_, err := load.Run(c.Context(), options, c.OutOrStdout())
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.URL, "url", "http://localhost:8080", "server to send to")
	flags.StringVar(&options.Lane, "lane", "live", "live, upload, scoring or flymaster")
	flags.IntVar(&options.PointsPerRequest, "points", 1, "points a request")
	flags.IntVar(&options.Requests, "requests", 0, "end after so many requests")
	flags.DurationVar(&options.Duration, "duration", 0, "end after so long (default 10s if no --requests)")
	flags.IntVar(&options.Connections, "connections", 64, "requests on their way at once")
	flags.Float64Var(&options.Rate, "rate", 0, "requests a second in all; 0 = as many as the server takes")
	flags.BoolVar(&options.Verify, "verify", false, "compare the database with what was acknowledged")
	command.PreRun = func(*cobra.Command, []string) {
		if options.Requests == 0 && options.Duration == 0 {
			options.Duration = 10 * time.Second
		}
	}
	return command
}
