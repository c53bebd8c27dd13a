// Package setup says how the app of a phone is told where to send its positions: what
// to type, the link that types it, and a QR code.
package setup

import (
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"text/tabwriter"

	"github.com/mdp/qrterminal/v3"
)

// Phone is whose positions an app is to send, and to where.
type Phone struct {
	Server *url.URL // with the path, if any, that a reverse proxy has before tracklane's
	Pilot  string
	Token  string // that allows to post to the lane live

	// User and Password are the short ones of auth.SignPassword.
	User, Password string
}

// Guide is what one app has to be told.
type Guide struct {
	Where  string // in the app
	Fields []Field
	Link   string // that opens the app and fills the fields in; empty = none
	Code   string // what a QR code holds; empty = there is none
	Notes  []string
}

// Field is what to type, and where.
type Field struct{ Name, Value string }

// Apps returns the names that For knows.
func Apps() []string {
	return []string{"owntracks", "traccar", "osmand", "gpslogger", "overland", "livetrack24"}
}

// For returns what an app has to be told. It returns an error for an app that is not
// known, and for a server or a pilot that the app cannot be told.
func For(app string, phone Phone) (Guide, error) {
	if s := phone.Server; s.Scheme != "http" && s.Scheme != "https" || s.Host == "" || s.RawQuery != "" || s.User != nil {
		return Guide{}, errors.New("the server's URL must be like https://tracklane.example")
	}
	switch app {
	case "owntracks":
		return ownTracks(phone)
	case "traccar":
		return traccar(phone), nil
	case "osmand":
		return template("Plugins, Trip recording, Online tracking: Web address",
			phone.with("osmand")+"?lat={0}&lon={1}&timestamp={2}&altitude={4}&speed={5}&bearing={6}"), nil
	case "gpslogger":
		return template("Logging details, Log to custom URL: URL (the other fields stay as they are)", phone.with("gpslogger")+"?%ALL"), nil
	case "overland":
		return overland(phone), nil
	case "livetrack24":
		return liveTrack24(phone)
	}
	return Guide{}, fmt.Errorf("the app must be one of %s", strings.Join(Apps(), ", "))
}

// at is the address of an app's endpoint.
func (p Phone) at(endpoint string) string { return p.Server.JoinPath("live", endpoint).String() }

// with is the address of an app's endpoint with the token in it.
func (p Phone) with(endpoint string) string {
	return p.Server.JoinPath("t", p.Token, "live", endpoint).String()
}

// ownTracks sends its user name and password when it has both. Its link holds a
// message of the type configuration (booklet, tech/json), in base64.
func ownTracks(p Phone) (Guide, error) {
	address := p.at("owntracks")
	settings, err := json.Marshal(map[string]any{
		"_type": "configuration", "mode": 3, "auth": true, "url": address,
		"username": p.Pilot, "password": p.Token, "deviceId": "phone", "monitoring": 2,
	})
	if err != nil {
		return Guide{}, fmt.Errorf("write the configuration of OwnTracks: %w", err)
	}
	link := "owntracks:///config?inline=" + url.QueryEscape(base64.StdEncoding.EncodeToString(settings))
	return Guide{
		Where: "Preferences, Connection",
		Fields: []Field{
			{"Mode", "HTTP"}, {"URL", address}, {"User name", p.Pilot}, {"Password", p.Token}, {"Device ID", "phone"},
		},
		Link: link, Code: link,
		Notes: []string{
			"The link works on Android from 2.6.0 on once the advanced settings allow external configuration.",
			"Choose the mode Move before the flight: in the others a position is minutes old.",
		},
	}, nil
}

// traccar keeps of an address that it scans the origin and the path, and reads
// settings from the query; of a link of its own scheme, it takes the parameter url
// (traccar-client, lib/configuration_service.dart).
func traccar(p Phone) Guide {
	address := p.with("traccar")
	settings := url.Values{"id": {p.Pilot}, "accuracy": {"highest"}, "interval": {"5"}, "distance": {"0"}}
	code := address + "?" + settings.Encode()
	settings.Set("url", address)
	return Guide{
		Where: "Settings",
		Fields: []Field{
			{"Device identifier", p.Pilot}, {"Server URL", address},
			{"Location accuracy", "highest"}, {"Distance", "0"}, {"Interval", "5"},
		},
		Link: "org.traccar.client://settings?" + settings.Encode(), Code: code,
		Notes: []string{"Scan the code with the app itself: its settings have a button for that."},
	}
}

// template is an app that is told an address alone.
func template(where, address string) Guide {
	return Guide{
		Where: where, Fields: []Field{{"URL", address}}, Code: address,
		Notes: []string{"The app has no link for this: scan the code with the camera, copy the text and paste it."},
	}
}

// overland sends its access token as Authorization: Bearer (Overland-iOS, README
// "Configuration by Custom URL").
func overland(p Phone) Guide {
	address := p.at("overland")
	link := "overland://setup?" + url.Values{"url": {address}, "token": {p.Token}, "device_id": {p.Pilot}}.Encode()
	return Guide{
		Where:  "Settings",
		Fields: []Field{{"Receiver endpoint URL", address}, {"Access token", p.Token}, {"Device ID", p.Pilot}},
		Link:   link, Code: link,
	}
}

// maxTyped is how many characters LK8000's keyboard takes.
const maxTyped = 39

// liveTrack24 is of devices that have a keyboard on the screen and no camera. LK8000
// speaks HTTPS at port 443 and HTTP at any other.
func liveTrack24(p Phone) (Guide, error) {
	port := p.Server.Port()
	switch {
	case strings.Trim(p.Server.Path, "/") != "":
		return Guide{}, errors.New("the app can be told a host alone: the server's URL must have no path")
	case len(p.User) > maxTyped || len(p.Server.Hostname()) > maxTyped:
		return Guide{}, fmt.Errorf("the app's fields hold %d characters: %q or %q is too long", maxTyped, p.User, p.Server.Hostname())
	case p.Server.Scheme == "https" && port == "":
		port = "443"
	case p.Server.Scheme == "http" && port == "":
		port = "80"
	}
	if (p.Server.Scheme == "https") != (port == "443") {
		return Guide{}, errors.New("the app speaks HTTPS at port 443, and at no other")
	}
	return Guide{
		Where:  "LK8000: Setup, Tracking, a profile of LiveTrack24",
		Fields: []Field{{"Server", p.Server.Hostname()}, {"Port", port}, {"User", p.User}, {"Password", p.Password}},
		Notes:  []string{"The password belongs to this user name alone; small and capital letters of it are the same."},
	}, nil
}

// Write writes the guide for a terminal, with the QR code.
func (g Guide) Write(w io.Writer) error {
	var text strings.Builder
	fmt.Fprintln(&text, g.Where)
	table := tabwriter.NewWriter(&text, 0, 0, 2, ' ', 0)
	for _, field := range g.Fields {
		fmt.Fprintf(table, "  %s\t%s\n", field.Name, field.Value)
	}
	if err := table.Flush(); err != nil {
		return fmt.Errorf("write the fields: %w", err)
	}
	if g.Link != "" {
		fmt.Fprintf(&text, "\nOr open this link on the phone:\n  %s\n", g.Link)
	}
	for _, note := range g.Notes {
		fmt.Fprintf(&text, "\n%s\n", note)
	}
	if g.Code != "" {
		fmt.Fprintln(&text)
		qrterminal.GenerateHalfBlock(g.Code, qrterminal.L, &text)
	}
	_, err := io.WriteString(w, text.String())
	return err
}
