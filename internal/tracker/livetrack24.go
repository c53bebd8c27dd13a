package tracker

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"hash/fnv"
	"net/http"
	"net/url"
	"strconv"

	"tracklane/internal/lane"
)

// loginPath is where LiveTrack24's apps ask for a user's number.
const loginPath = "/client.php"

// liveTrack24 is LiveTrack24's first protocol ("Leonardo Live", livetrack24.com wiki
// "LiveTracking API"), as LK8000 and XCSoar speak it. The response is the two bytes
// OK, or NOK and why: LK8000 compares the body, whatever the status, and sends
// everything else again for ever.
func liveTrack24() *Adapter {
	return &Adapter{
		Name:    "livetrack24",
		Routes:  []Route{{http.MethodGet, loginPath}, {http.MethodGet, "/track.php"}},
		Login:   liveTrack24Login,
		Read:    readLiveTrack24,
		Success: Response{http.StatusOK, "text/plain", "OK"},
		Failure: func(r *http.Request, status int, reason string) Response {
			if r.URL.Path == loginPath && (status == http.StatusUnauthorized || status == http.StatusForbidden) {
				return Response{status, "text/plain", "0"} // a wrong user or password
			}
			return Response{status, "text/plain", "NOK : " + reason}
		},
	}
}

// The values of leolive, the kind of packet.
const (
	sessionless = "1"
	startTrack  = "2"
	endTrack    = "3"
	trackPoint  = "4"
)

func readLiveTrack24(r *http.Request, _ []byte) (Report, error) {
	query := r.URL.Query()
	if r.URL.Path == loginPath {
		return Report{Body: strconv.Itoa(liveTrack24User(query.Get("user")))}, nil
	}
	session := query.Get("sid")
	device := liveTrack24Device(session)
	switch query.Get("leolive") {
	case sessionless:
		return Report{Positions: []Position{liveTrack24Position(query, first(query.Get("user"), session), "")}}, nil
	case startTrack:
		return Report{}, nil
	case trackPoint:
		return Report{Positions: []Position{liveTrack24Position(query, device, session)}}, nil
	case endTrack:
		switch query.Get("prid") {
		case "3":
			return Report{Distress: "needs help, may be hurt", Device: device}, nil
		case "4":
			return Report{Distress: "needs help, seriously hurt", Device: device}, nil
		}
		return Report{}, nil
	}
	return Report{}, &lane.MalformedError{Reason: "leolive must be 1, 2, 3 or 4."}
}

// liveTrack24Login reads user and password, which come with a login, the start of a
// session and a position without a session. What an app without a password sends is
// none.
func liveTrack24Login(r *http.Request) Login {
	query := r.URL.Query()
	login := Login{User: query.Get("user"), Password: query.Get("pass")}
	if login.Password == "guest" {
		login.Password = ""
	}
	kind := query.Get("leolive")
	if r.URL.Path == loginPath || kind == sessionless {
		return login
	}
	sid, _ := strconv.ParseUint(query.Get("sid"), 10, 32) // 0 is no session, either
	login.Session, login.Starts = uint32(sid), kind == startTrack
	return login
}

// UserNumber is the number of a user with a password, never 0. It is a secret's hash: who
// does not know the password cannot tell the numbers of the user's sessions. A name is
// of a user where one password is that of many.
func (l Login) UserNumber(name string) uint32 {
	sum := l.hash("user", name)
	return max(1, binary.BigEndian.Uint32(sum)&userMask)
}

// SessionIsOf reports whether a session's number was made of a user's, as apps do.
func (l Login) SessionIsOf(user uint32) bool {
	return l.Session&registered != 0 && l.Session&userMask == user
}

// SessionName is a name for the session that tells nothing of its number to who does
// not know the password. It is the same whenever and wherever it is made.
func (l Login) SessionName() string {
	return hex.EncodeToString(l.hash("session", strconv.FormatUint(uint64(l.Session), 10))[:8])
}

func (l Login) hash(purpose, text string) []byte {
	mac := hmac.New(sha256.New, []byte(l.Password))
	mac.Write([]byte(purpose + "\x00" + text))
	return mac.Sum(nil)
}

func liveTrack24Position(query url.Values, device, session string) Position {
	p := Position{Device: device, Session: session, Fix: lane.NoFix()}
	p.setTime("tm", query.Get("tm"))
	p.setPlace(parseNumber(query.Get("lat")), parseNumber(query.Get("lon")))
	p.Fix.Elevation = parseNumber(query.Get("alt"))
	p.Fix.Speed = kilometresPerHour.speed(parseNumber(query.Get("sog")))
	p.Fix.Heading = heading(parseNumber(query.Get("cog")))
	return p
}

const (
	// registered is the bit of a session's number that says that its low 24 bits are
	// those of the user's number. Of the other bits, apps make 7 at random for each
	// flight.
	registered = 1 << 31

	userMask = 1<<24 - 1
)

// liveTrack24User is the number of a user: never 0, which is a wrong password.
// It is the same in every process.
func liveTrack24User(name string) int {
	h := fnv.New32a()
	h.Write([]byte(name))
	return max(1, int(h.Sum32()&userMask))
}

// liveTrack24Device is the device of a session: the user's number, or the session
// itself of a guest.
func liveTrack24Device(session string) string {
	sid, err := strconv.ParseUint(session, 10, 32)
	if err != nil || sid&registered == 0 {
		return session
	}
	return strconv.FormatUint(sid&userMask, 10)
}
