package handlers

import (
	"errors"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/session"
	"tracklane/internal/tracker"
)

// authorizeTracker returns who sent a request of an app, and the claims of his token
// if he may post: of the token where every client may have one, or else of the
// password or the session where the app has it. The claims are nil where no token is
// needed.
func (s *Server) authorizeTracker(
	c *gin.Context, l *lane.Lane, adapter *tracker.Adapter, now time.Time,
) (sender tracker.Sender, claims *auth.Claims, p *problem) {
	token := tokenOf(c.Request)
	var login tracker.Login
	if token == "" && adapter.Login != nil && s.config.Access.Tokens != nil {
		login = adapter.Login(c.Request)
	}
	switch {
	case login.Password != "":
		claims, p = s.logIn(c, l, login, &sender, now)
	case login.Session != 0:
		claims, p = s.resume(c, l, login, &sender, now)
	default:
		claims, p = s.authorize(c, l, token, now)
	}
	if claims != nil {
		sender.Pilot, sender.Race = claims.Pilot, claims.Race
	}
	if login.Password != "" || login.Session == 0 { // a session's number may be guessed: it is good for its own flight alone
		sender.FlightID = c.Request.URL.Query().Get("flight_id")
	}
	return sender, claims, p
}

// logIn looks at a password, which is a token or a short one, and starts a session.
func (s *Server) logIn(c *gin.Context, l *lane.Lane, login tracker.Login, sender *tracker.Sender, now time.Time) (*auth.Claims, *problem) {
	var claims *auth.Claims
	var err error
	if strings.Contains(login.Password, ".") {
		claims, err = s.config.Access.Tokens.Verify(login.Password, now)
	} else {
		claims, err = s.config.Access.Tokens.VerifyPassword(login.User, login.Password, now)
	}
	if err != nil {
		return nil, unauthorized(c, sentence(err.Error()))
	}
	if p := allows(claims, l); p != nil {
		return nil, p
	}
	if claims.Pilot == "" { // whose user names are anybody's
		sender.Device = login.User
	}
	sender.User = login.UserNumber(sender.Device)
	if login.Session == 0 && !login.Starts {
		return claims, nil
	}
	if !login.SessionIsOf(sender.User) {
		return nil, unauthorized(c, "The session is not of this user: log in first.")
	}
	sender.Session = login.SessionName() // its number is a secret of the user's, whatever the packet
	if !login.Starts {
		return claims, nil
	}
	started := session.Session{Claims: *claims, Device: sender.Device, Name: sender.Session}
	if err := s.config.Access.Sessions.Start(c.Request.Context(), login.Session, started, now); err != nil {
		return nil, &problem{Status: http.StatusConflict, Title: "Session taken", Detail: sentence(err.Error())}
	}
	return claims, nil
}

// resume finds the session that a request is of. Strangers can make up numbers: to
// look for one that is not in memory counts for their address.
func (s *Server) resume(c *gin.Context, l *lane.Lane, login tracker.Login, sender *tracker.Sender, now time.Time) (*auth.Claims, *problem) {
	sessions := s.config.Access.Sessions
	if !sessions.Knows(login.Session) {
		if p := s.limit(c, addressSender(c), now); p != nil {
			return nil, p
		}
	}
	found, err := sessions.Find(c.Request.Context(), login.Session, now)
	if errors.Is(err, session.ErrUnknown) {
		return nil, unauthorized(c, sentence(err.Error()))
	}
	if err != nil {
		c.Header("Retry-After", retryAfter)
		return nil, &problem{
			Status: http.StatusServiceUnavailable, Title: "Session not found",
			Detail: "Redis, which knows the session, does not respond. Send it again.",
		}
	}
	sender.Device, sender.Session = found.Device, found.Name
	return &found.Claims, allows(&found.Claims, l)
}
