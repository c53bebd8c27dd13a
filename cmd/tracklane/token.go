package main

import (
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/auth"
	"tracklane/internal/setup"
)

func newTokenCommand() *cobra.Command {
	var claims auth.Claims
	var ttl time.Duration
	var app, server string
	command := &cobra.Command{
		Use: "token", Short: "Make a token for a pilot, a relay or a reader",
		Long: `Make a token and print it. It is signed with SECRET_KEY, and good until --ttl is
over; the server keeps no list of tokens.

With --pilot it posts the points of that pilot alone; without, it is a relay's,
which posts for anybody. Send it as "Authorization: Bearer TOKEN", or give an app
the address https://SERVER/t/TOKEN/live.

With --for and --url it prints what to type into a pilot's app, a link that does it
where the app has one, and a QR code of it. LiveTrack24's devices get a short
password of the scope live in place of the token.`,
		Example: `  tracklane token --pilot anna --race 2026-cup --ttl 12h
  tracklane token --pilot anna --race 2026-cup --for owntracks --url https://tracklane.example
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
			if app != "" || server != "" {
				guide, err := newGuide(app, server, setup.Phone{Pilot: claims.Pilot, Token: token}, key, claims, now)
				if err != nil {
					return &usageError{err}
				}
				return guide.Write(c.OutOrStdout())
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
	flags.StringVar(&app, "for", "", "app to set up: "+strings.Join(setup.Apps(), ", "))
	flags.StringVar(&server, "url", "", "URL of the server, for --for")
	return command
}

// newGuide says what the app of a pilot's phone has to be told.
func newGuide(app, server string, phone setup.Phone, key string, claims auth.Claims, now time.Time) (guide setup.Guide, err error) {
	if claims.Pilot == "" || !claims.Allows("live") {
		return guide, errors.New("--for needs a --pilot, and the scope live")
	}
	if phone.Server, err = url.Parse(server); err != nil {
		return guide, fmt.Errorf("read --url: %w", err)
	}
	if app == "livetrack24" {
		if phone.User, phone.Password, err = auth.SignPassword(key, claims, now); err != nil {
			return guide, fmt.Errorf("make a password: %w", err)
		}
	}
	if guide, err = setup.For(app, phone); err != nil {
		return guide, fmt.Errorf("set up %q: %w", app, err)
	}
	return guide, nil
}
