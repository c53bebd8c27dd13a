package main

import (
	"errors"
	"os"

	"github.com/spf13/cobra"

	"tracklane/internal/upload"
)

func newUploadCommand() *cobra.Command {
	options := upload.Options{Token: os.Getenv("TOKEN")}
	command := &cobra.Command{
		Use: "upload FILE|DIRECTORY...", Short: "Upload files of flights",
		Long: `Upload files of flights, and those in directories: IGC, GPX, KML, KMZ, GeoJSON,
CSV, NDJSON, zip and gzip files of these. The name of a file without its extension is
the id of its flight.

A file that the server cannot take now is sent again. It is safe to run the command
again: no point is stored twice. The exit status is 1 if a file, or one in a zip file,
was not accepted whole.`,
		Example: `  tracklane upload --url https://tracklane.example flights/`,
		Args: func(_ *cobra.Command, arguments []string) error {
			if len(arguments) == 0 {
				return &usageError{errors.New("name the files or directories to upload")}
			}
			return nil
		},
		RunE: func(c *cobra.Command, arguments []string) error {
			_, err := upload.Run(c.Context(), arguments, options, c.OutOrStdout())
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&options.URL, "url", "http://localhost:8080", "server to send to")
	flags.StringVar(&options.Token, "token", options.Token, "token that goes with each request (default: TOKEN of the environment)")
	flags.Lookup("token").DefValue = "" // it is a secret
	return command
}
