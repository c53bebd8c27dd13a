package main

import (
	"fmt"
	"os"
	"runtime/debug"
	"strings"
	"text/tabwriter"

	"github.com/spf13/cobra"

	"tracklane/internal/config"
	"tracklane/internal/lane"
	"tracklane/migrations"
)

func newServeCommand(name, short string, r roles) *cobra.Command {
	return &cobra.Command{
		Use: name, Short: short, Args: noArguments,
		Long: short + ".\n\nIt is configured by these environment variables:\n\n" + describeEnvironment(),
		RunE: func(c *cobra.Command, _ []string) error {
			settings, err := config.Load(os.Environ())
			if err != nil {
				return err
			}
			p, err := newProgram(settings, r, newLogger(settings.LogLevel, settings.LogFormat))
			if err != nil {
				return err
			}
			if !r.api && os.Getenv("GOGC") == "" {
				debug.SetGCPercent(workerGC)
			}
			return p.run(c.Context())
		},
	}
}

// workerGC is by how many percent the memory of a process of workers alone grows
// before garbage is collected. It holds little at a time, so that Go's 100 let
// it collect all the time: 400 takes 13 % off its processor time, for 14 MB.
const workerGC = 400

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
	_ = table.Flush() // a strings.Builder takes everything
	return text.String()
}

// policies is what the configuration says of the ages of chunks, by table.
func policies(c config.Config, lanes []*lane.Lane) map[string]migrations.Policy {
	byTable := make(map[string]migrations.Policy)
	for _, l := range lanes {
		own := c.Lanes[l.Name]
		byTable[l.Table] = migrations.Policy{CompressAfter: own.CompressAfter, RetainFor: own.Retention}
	}
	return byTable
}
