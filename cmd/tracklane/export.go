package main

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/export"
	"tracklane/internal/trackexport"
)

func newExportCommand() *cobra.Command {
	options := export.Options{Token: os.Getenv("TOKEN")}
	command := &cobra.Command{
		Use: "export [FLIGHT...]", Short: "Save stored flights as files",
		Long: `Save flights that a server has stored as IGC, GPX, KML, GeoJSON or CSV: those named
by their ids, or those of a race, a pilot, a lane or a time. Each becomes a file of
its own in the directory of --output; "--output -" prints a single one.

The exit status is 1 if a flight was not saved.`,
		Example: `  tracklane export 2026-07-14-anna --output flights
  tracklane export --race 2026-cup --format gpx --output flights
  tracklane export 2026-07-14-anna --format csv --output - | head`,
		Args: func(_ *cobra.Command, arguments []string) error {
			options.Flights = arguments
			return checkExport(options)
		},
		RunE: func(c *cobra.Command, _ []string) error {
			return export.Run(c.Context(), options, c.OutOrStdout())
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.Format, "format", "igc", "format of the files: "+strings.Join(trackexport.Names(), ", "))
	flags.StringVar(&options.Output, "output", ".", "directory of the files; - prints one flight")
	flags.StringVar(&options.Race, "race", "", "flights of this race")
	flags.StringVar(&options.Pilot, "pilot", "", "flights of this pilot")
	flags.StringVar(&options.Lane, "lane", "", "flights of this lane")
	flags.StringVar(&options.From, "from", "", "from this time on, such as 2026-07-14T00:00:00Z")
	flags.StringVar(&options.To, "to", "", "before this time")
	flags.StringVar(&options.URL, "url", "http://localhost:8080", "server to read from")
	flags.StringVar(&options.Token, "token", options.Token, "token with the scope read (default: TOKEN of the environment)")
	flags.Lookup("token").DefValue = "" // it is a secret
	return command
}

// checkExport returns a *usageError for what no server has to be asked about.
func checkExport(options export.Options) error {
	if len(options.Flights) == 0 && options.Race+options.Pilot+options.Lane+options.From+options.To == "" {
		return &usageError{errors.New("name the flights by their ids, or with --race, --pilot, --lane, --from or --to")}
	}
	if !slices.Contains(trackexport.Names(), options.Format) {
		return &usageError{fmt.Errorf("--format must be one of %s", strings.Join(trackexport.Names(), ", "))}
	}
	for name, text := range map[string]string{"--from": options.From, "--to": options.To} {
		if _, err := time.Parse(time.RFC3339, text); text != "" && err != nil {
			return &usageError{fmt.Errorf("%s must be a time with its zone, such as 2026-07-14T00:00:00Z", name)}
		}
	}
	return nil
}
