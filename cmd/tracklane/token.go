package main

import (
	"errors"
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/auth"
)

func newTokenCommand() *cobra.Command {
	var claims auth.Claims
	var ttl time.Duration
	command := &cobra.Command{
		Use: "token", Short: "Make a token for a pilot, a relay or a reader",
		Long: `Make a token and print it. It is signed with SECRET_KEY, and good until --ttl is
over; the server keeps no list of tokens.

With --pilot it posts the points of that pilot alone; without, it is a relay's,
which posts for anybody. Send it as "Authorization: Bearer TOKEN", or give an app
the address https://SERVER/t/TOKEN/live.`,
		Example: `  tracklane token --pilot anna --race 2026-cup --ttl 12h
  tracklane token --scope live,upload,scoring,flymaster --ttl 720h
  tracklane token --scope read --race 2026-cup --delay 10m --ttl 72h`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error {
			key := os.Getenv("SECRET_KEY")
			if key == "" {
				return &usageError{errors.New("SECRET_KEY is not set: it must be the server's")}
			}
			now := time.Now()
			claims.Expires = now.Add(ttl)
			token, err := auth.Sign(key, claims, now)
			if err != nil {
				return &usageError{fmt.Errorf("make a token: %w", err)}
			}
			_, err = fmt.Fprintln(c.OutOrStdout(), token)
			return err
		},
	}
	flags := command.Flags()
	flags.StringVar(&claims.Pilot, "pilot", "", "pilot_id of the points; empty = anybody's")
	flags.StringVar(&claims.Race, "race", "", "race_id of the points; empty = any")
	flags.StringSliceVar(&claims.Scopes, "scope", []string{"live", "upload"}, "what it allows: "+strings.Join(auth.Scopes(), ", "))
	flags.DurationVar(&ttl, "ttl", 12*time.Hour, "how long it is good")
	flags.DurationVar(&claims.Delay, "delay", 0, "by how much a reader sees points late")
	return command
}
