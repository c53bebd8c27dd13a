package e2e

import (
	"encoding/base64"
	"encoding/json"
	"net/http"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/app"
	"tracklane/internal/auth"
	"tracklane/internal/setup"
)

// configured is what an app has learned from a guide.
type configured struct {
	t      *testing.T
	fields map[string]string
	link   url.Values
	code   *url.URL // nil unless it is a URL
}

// send makes one request and requires what it gets to begin with want.
func (c configured) send(method, address, body, want string, header ...string) {
	c.t.Helper()
	request, err := http.NewRequest(method, address, strings.NewReader(body))
	require.NoError(c.t, err)
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	code, text := do(c.t, request)
	assert.Less(c.t, code, 300, text)
	assert.True(c.t, strings.HasPrefix(text, want), text)
}

// apps are what the apps make of a guide, each as its source has it: one position of
// the time given, in Unix seconds.
func apps() map[string]func(c configured) {
	return map[string]func(c configured){
		"owntracks": func(c configured) {
			var settings struct{ URL, Username, Password string }
			text, err := base64.StdEncoding.DecodeString(c.link.Get("inline"))
			require.NoError(c.t, err)
			require.NoError(c.t, json.Unmarshal(text, &settings))
			assert.Equal(c.t, []string{c.fields["URL"], c.fields["User name"], c.fields["Password"]},
				[]string{settings.URL, settings.Username, settings.Password})
			c.send("POST", settings.URL, `{"_type":"location","tst":1783944000,"lat":46.5,"lon":7.25,"tid":"an"}`, "[]",
				basic(settings.Username, settings.Password)...)
		},
		"traccar": func(c configured) {
			scanned := c.code.Scheme + "://" + c.code.Host + c.code.Path // its query is settings
			assert.Equal(c.t, c.fields["Server URL"], scanned)
			assert.Equal(c.t, scanned, c.link.Get("url"))
			c.send("POST", scanned, "id="+c.code.Query().Get("id")+"&timestamp=1783944001&lat=46.5&lon=7.25", `{"status":`,
				"Content-Type", "application/x-www-form-urlencoded")
		},
		"osmand": func(c configured) {
			address := strings.NewReplacer("{0}", "46.5", "{1}", "7.25", "{2}", "1783944002000", "{4}", "1800", "{5}", "10", "{6}", "90").Replace(c.fields["URL"])
			c.send("GET", address, "", `{"status":`)
		},
		"gpslogger": func(c configured) {
			all := "lat=46.5&lon=7.25&sat=9&desc=&alt=1800&acc=5&dir=90&prov=gps&spd_kph=36&spd=10&timestamp=1783944003&time=2026-07-13T12:00:03Z"
			c.send("GET", strings.ReplaceAll(c.fields["URL"], "%ALL", all), "", `{"status":`)
		},
		"overland": func(c configured) {
			assert.Equal(c.t, c.fields["Access token"], c.link.Get("token"))
			c.send("POST", c.link.Get("url"), `{"locations":[{"type":"Feature","geometry":{"type":"Point","coordinates":[7.25,46.5]},"properties":{"timestamp":"2026-07-13T12:00:04Z","device_id":"`+
				c.link.Get("device_id")+`"}}]}`, `{"result":"ok"}`, bearer(c.link.Get("token"))...)
		},
		"livetrack24": func(c configured) {
			server := "http://" + c.fields["Server"] + ":" + c.fields["Port"]
			credentials := "&user=" + url.QueryEscape(c.fields["User"]) + "&pass=" + url.QueryEscape(c.fields["Password"])
			session := sessionOf(getNumber(c.t, server+"/client.php?op=login"+credentials))
			c.send("GET", server+"/track.php?leolive=2&pid=1&sid="+session+credentials, "", "OK")
			c.send("GET", server+"/track.php?leolive=4&pid=2&lat=46.5&lon=7.25&alt=1800&sog=36&cog=90&tm=1783944005&sid="+session, "", "OK")
		},
	}
}

// What a guide says is typed, opened and scanned, and each app's position arrives as
// the pilot's.
func TestSetup_WhatAGuideSaysWorks(t *testing.T) {
	t.Parallel()
	database := servers.Database(t)
	const key = "0123456789abcdef0123456789abcdef"
	s := startServer(t, app.Roles{API: true, Worker: true}, "DATABASE_URL="+database, "REDIS_URL="+servers.Redis(t).URL(),
		"AUTH=on", "SECRET_KEY="+key, "OPERATOR_PASSWORD=cloudbase")
	address, err := url.Parse(s.url)
	require.NoError(t, err)
	claims := auth.Claims{Pilot: "anna", Race: "cup", Scopes: []string{"live", "upload"}, Expires: time.Now().Add(12 * time.Hour)}
	phone := setup.Phone{Server: address, Pilot: "anna"}
	phone.Token, err = auth.Sign(key, claims, time.Now())
	require.NoError(t, err)
	phone.User, phone.Password, err = auth.SignPassword(key, claims, time.Now())
	require.NoError(t, err)
	for _, name := range setup.Apps() {
		guide, err := setup.For(name, phone)
		require.NoError(t, err)
		c := configured{t: t, fields: map[string]string{}}
		for _, field := range guide.Fields {
			c.fields[field.Name] = field.Value
		}
		if link, err := url.Parse(guide.Link); err == nil {
			c.link = link.Query()
		}
		c.code, _ = url.Parse(guide.Code) // a template is none
		require.Contains(t, apps(), name)
		apps()[name](c)
	}
	requireRows(t, openDatabase(t, database), len(setup.Apps()),
		`SELECT count(DISTINCT datetime) FROM live_track_points WHERE pilot_id = 'anna' AND race_id = 'cup' AND datetime BETWEEN '2026-07-13 12:00:00Z' AND '2026-07-13 12:00:05Z'`)
}
