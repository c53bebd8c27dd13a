package main

import (
	"fmt"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tracklane/internal/app"
	"tracklane/internal/config"
)

func newServeCommand(name, short string, roles app.Roles) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: noArguments,
		Long: short + ".\n\nIt is configured by these environment variables:\n\n" + describeEnvironment(),
		RunE: func(c *cobra.Command, _ []string) error { return app.Serve(c.Context(), roles, version) },
	}
}

// describeEnvironment lists the environment variables as a table.
func describeEnvironment() string {
	var text strings.Builder
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, v := range config.Describe() {
		value := v.Default
		if v.Required {
			value = "required"
		}
		fmt.Fprintf(table, "  %s\t%s\t%s\n", v.Name, value, v.Meaning)
	}
	_ = table.Flush() // a strings.Builder accepts everything
	return text.String()
}
