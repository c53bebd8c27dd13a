package main

import (
	"os"

	"github.com/spf13/cobra"

	"tracklane/internal/app"
	"tracklane/internal/config"
)

// newHealthcheckCommand makes the command that a container without a shell
// uses to ask itself whether it is ready.
func newHealthcheckCommand() *cobra.Command {
	return &cobra.Command{
		Use: "healthcheck", Short: "Ask the process that listens on OPERATOR_ADDR or HTTP_ADDR whether it is ready",
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := config.Load(os.Environ())
			if err != nil {
				return err
			}
			return app.CheckReady(c.Context(), settings)
		},
	}
}
