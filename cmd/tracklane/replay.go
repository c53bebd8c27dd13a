package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"tracklane/internal/upload"
)

func newReplayCommand() *cobra.Command {
	options := upload.Options{Token: os.Getenv("TOKEN")}
	var speed float64
	command := &cobra.Command{
		Use: "replay FILE|DIRECTORY...", Short: "Fly recorded flights as if now",
		Long: `Fly recorded flights, in the formats of "tracklane upload", over the lane live. The
first fix of each is now. With --speed 10, ten seconds of a flight pass in a second:
the times that are stored are a tenth apart, and never in the future.

Each run makes new flights, named after their files and the time of the start. The
exit status is 1 if a file was not flown to its end.`,
		Example: `  tracklane replay --url http://localhost:8080 --speed 10 flights/`,
		Args: func(_ *cobra.Command, arguments []string) error {
			if len(arguments) == 0 {
				return &usageError{errors.New("name the files or directories to fly")}
			}
			if !(speed > 0) {
				return &usageError{errors.New("--speed must be above 0")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, arguments []string) error {
			_, err := upload.Replay(c.Context(), arguments, speed, options, c.OutOrStdout())
			return err
		},
	}
	flags := command.Flags()
	flags.Float64Var(&speed, "speed", 1, "seconds of a flight that pass in a second")
	flags.StringVar(&options.URL, "url", "http://localhost:8080", "server to send to")
	flags.StringVar(&options.Token, "token", options.Token, "token that goes with each request (default: TOKEN of the environment)")
	flags.Lookup("token").DefValue = "" // it is a secret
	return command
}
