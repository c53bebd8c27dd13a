package main

import (
	"fmt"
	"os"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/app"
	"tracklane/internal/config"
	"tracklane/migrations"
)

func newMigrateCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "migrate", Short: "Apply or list schema migrations", Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.AddCommand(
		&cobra.Command{
			Use: "up", Short: "Apply the migrations that are missing", Args: noArguments,
			RunE: func(c *cobra.Command, _ []string) error {
				settings, err := config.Load(os.Environ())
				if err != nil {
					return err
				}
				return app.Migrate(c.Context(), settings, app.NewLogger(settings.LogLevel, settings.LogFormat))
			},
		},
		&cobra.Command{
			Use: "status", Short: "List the migrations and what is left to do", Args: noArguments,
			RunE: func(c *cobra.Command, _ []string) error {
				settings, err := config.Load(os.Environ())
				if err != nil {
					return err
				}
				status, err := migrations.ReadStatus(c.Context(), settings.DatabaseURL)
				if err != nil {
					return err
				}
				return printStatus(c, status)
			},
		},
	)
	return command
}

func printStatus(c *cobra.Command, status migrations.Status) error {
	table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
	fmt.Fprintln(table, "VERSION\tMIGRATION\tAPPLIED")
	for _, m := range status.Migrations {
		applied := "pending"
		if !m.AppliedAt.IsZero() {
			applied = m.AppliedAt.Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%d\t%s\t%s\n", m.Version, m.Name, applied)
	}
	for _, advice := range status.Advice {
		fmt.Fprintf(table, "\n%s\n", advice)
	}
	return table.Flush()
}
