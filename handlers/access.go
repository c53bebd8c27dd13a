package handlers

import (
	"context"
	"math"
	"net"
	"net/http"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"tracklane/asynqmon"
	"tracklane/internal/auth"
	"tracklane/internal/lane"
	"tracklane/internal/network"
	"tracklane/internal/session"
)

// Access says who may do what. The zero Access opens every endpoint to everybody.
type Access struct {
	Tokens   *auth.Verifier // of who may post; nil = everybody
	Operator *auth.Operator // who may see the operators' endpoints; nil = everybody

	// Sessions are of apps that send a password at the start alone. It comes with
	// Tokens where there are lanes.
	Sessions *session.Store

	// RateLimit is how many requests a second one pilot, one device, or an address
	// without a good token may make, RateBurst of them at once; 0 = any number. It
	// needs Tokens.
	RateLimit, RateBurst int

	// MaxPerAddress is how many requests of HTTP/2 one address may have under way,
	// trusted proxies apart; 0 = any number.
	MaxPerAddress int

	// TrustedProxies are the networks of reverse proxies, whose X-Forwarded-For
	// says who a client is.
	TrustedProxies []netip.Prefix

	// Origins are those of the web pages that may call what clients may, as
	// browsers send them.
	Origins []string

	// Hosts are the names of this server, beside its addresses and localhost, for
	// which the operators' web UI of the queues changes something.
	Hosts []string
}

// tokenPrefix begins the path of a client that can be told nothing but an
// address: /t/TOKEN/live is /live with a token.
const tokenPrefix = "/t/"

type pathTokenKey struct{}

// withoutPathToken moves a token out of the path, so that what routes or logs the
// request does not see it.
func withoutPathToken(r *http.Request) *http.Request {
	rest, found := strings.CutPrefix(r.URL.Path, tokenPrefix)
	if !found {
		return r
	}
	token, path, _ := strings.Cut(rest, "/")
	moved := r.WithContext(context.WithValue(r.Context(), pathTokenKey{}, token))
	url := *r.URL
	url.Path = "/" + path
	if url.RawPath != "" { // no part of a token is ever escaped
		_, path, _ = strings.Cut(strings.TrimPrefix(url.RawPath, tokenPrefix), "/")
		url.RawPath = "/" + path
	}
	moved.URL, moved.RequestURI = &url, url.RequestURI()
	return moved
}

// tokenOf returns the token of a request; empty when there is none.
func tokenOf(r *http.Request) string {
	scheme, value, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	token := ""
	switch strings.ToLower(scheme) {
	case "bearer":
		token = strings.TrimSpace(value)
	case "basic":
		_, token, _ = r.BasicAuth()
	}
	if token != "" {
		return token
	}
	// Most requests have no query, which takes a map to read.
	if r.URL.RawQuery != "" {
		if token = r.URL.Query().Get("token"); token != "" {
			return token
		}
	}
	token, _ = r.Context().Value(pathTokenKey{}).(string)
	return token
}

// authorize returns what the client's token says, if that may post to a lane. The
// claims are nil where no token is needed.
func (s *Server) authorize(c *gin.Context, l *lane.Lane, token string, now time.Time) (*auth.Claims, *problem) {
	if s.config.Access.Tokens == nil || l.Device != nil {
		return nil, nil
	}
	if len(c.Request.Header["Authorization"]) > 1 {
		return nil, unauthorized(c, "Send one Authorization header.")
	}
	if token == "" {
		return nil, unauthorized(c, "Send a token, as Authorization: Bearer TOKEN, or with /t/TOKEN before the path.")
	}
	claims, err := s.config.Access.Tokens.Verify(token, now)
	if err != nil {
		return nil, unauthorized(c, sentence(err.Error()))
	}
	if p := allows(claims, l); p != nil {
		return nil, p
	}
	return claims, nil
}

// allows returns a problem if claims do not allow to post to a lane.
func allows(claims *auth.Claims, l *lane.Lane) *problem {
	if claims.Allows(l.Name) {
		return nil
	}
	return &problem{
		Status: http.StatusForbidden, Title: "Not allowed",
		Detail: "The token does not allow to post to /" + l.Name + ".",
	}
}

// claim makes points those of the token's pilot and race.
func claim(points *lane.Points, claims *auth.Claims) *problem {
	if claims == nil {
		return nil
	}
	if err := points.Claim(claims.Pilot, claims.Race); err != nil {
		return decodeProblem(err)
	}
	return nil
}

func unauthorized(c *gin.Context, detail string) *problem {
	c.Header("WWW-Authenticate", `Bearer realm="tracklane"`)
	return &problem{Status: http.StatusUnauthorized, Title: "No good token", Detail: detail}
}

// sentence makes a sentence of an error's text.
func sentence(text string) string { return strings.ToUpper(text[:1]) + text[1:] + "." }

// requireOperator lets only operators through.
func (s *Server) requireOperator(c *gin.Context) {
	if problem := s.checkOperator(c); problem != nil {
		problem.write(c, nil)
	}
}

// checkOperator returns nil if the client is an operator.
func (s *Server) checkOperator(c *gin.Context) *problem {
	operator := s.config.Access.Operator
	if operator == nil {
		return nil
	}
	user, password, given := c.Request.BasicAuth()
	if given && len(c.Request.Header["Authorization"]) == 1 {
		ok, wait := operator.Check(clientAddress(c), user, password, time.Now())
		if ok {
			return nil
		}
		if wait > 0 {
			c.Header("Retry-After", strconv.Itoa(int(math.Ceil(wait.Seconds()))))
			return &problem{
				Status: http.StatusTooManyRequests, Title: "Too many wrong passwords",
				Detail: "Try again after the time in Retry-After.",
			}
		}
	}
	c.Header("WWW-Authenticate", `Basic realm="tracklane", charset="UTF-8"`)
	return &problem{
		Status: http.StatusUnauthorized, Title: "For operators",
		Detail: "Log in with the operators' user name and password.",
	}
}

// requireOwnHost refuses a change that a browser sends to a host name that is not
// this server's. Whoever owns such a name can let it lead here (DNS rebinding), and
// his page is of the same site as the server then. A trusted proxy knows its names
// itself.
func (s *Server) requireOwnHost(c *gin.Context) {
	if asynqmon.Reads(c.Request) {
		return
	}
	if peer, err := netip.ParseAddr(c.RemoteIP()); err == nil && network.Contains(s.config.Access.TrustedProxies, peer) {
		return
	}
	if !s.config.Access.isOwnHost(c.Request.Host) {
		(&problem{
			Status: http.StatusForbidden, Title: "Unknown host name",
			Detail: "Open the page by the server's address, or by a name that it is configured with.",
		}).write(c, nil)
	}
}

// isOwnHost reports whether a Host header names this server.
func (a Access) isOwnHost(header string) bool {
	host, _, err := net.SplitHostPort(header)
	if err != nil {
		host = header // without a port
	}
	if _, err := netip.ParseAddr(strings.Trim(host, "[]")); err == nil {
		return true // no name leads here then
	}
	host = strings.ToLower(strings.TrimSuffix(host, "."))
	return host == "localhost" || slices.Contains(a.Hosts, host)
}

// clientAddress is who made the request, as far as trusted proxies say; the zero
// Addr if that cannot be read.
func clientAddress(c *gin.Context) netip.Addr {
	address, err := netip.ParseAddr(c.ClientIP())
	if err != nil {
		return netip.Addr{}
	}
	return address
}
