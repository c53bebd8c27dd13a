package auth

import (
	"encoding/base32"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"tracklane/internal/lane"
)

// A password is a short token, for devices whose fields hold 39 characters (LK8000)
// or 63 (XCSoar) and have no clipboard. With the user name it says what a token of
// the scope live says: whose points, of which race, and until which hour. It is
// 3 bytes of that hour, in hours since 1970, and the first 12 of the HMAC-SHA256 of
// hour and name, in base32 (RFC 4648) of lower case.
const (
	hourBytes      = 3
	passwordBytes  = hourBytes + 12
	passwordLength = passwordBytes * 8 / 5
	hour           = 3600
)

// userSeparator is between the pilot and the race in a user name.
const userSeparator = "@"

// passwordPurpose distinguishes these MACs from those of Seal.
const passwordPurpose = "password"

// SignPassword makes a user name and a password of the claims' pilot, race and
// expiry, which is brought forward to a full hour. It returns an error if Sign would,
// or if the claims hold what a password cannot say.
func SignPassword(key string, claims Claims, now time.Time) (user, password string, err error) {
	if claims.Pilot == "" {
		return "", "", errors.New("a password must be a pilot's")
	}
	if strings.Contains(claims.Race, userSeparator) {
		return "", "", fmt.Errorf("the race of a password must not contain %q", userSeparator)
	}
	if !claims.Allows(liveScope()) || !claims.NotBefore.IsZero() {
		return "", "", errors.New("a password is for the scope live, and good at once")
	}
	claims.Expires = claims.Expires.Truncate(time.Hour)
	if _, err := Sign(key, claims, now); err != nil {
		return "", "", err
	}
	hours := claims.Expires.Unix() / hour
	if hours >= 1<<(8*hourBytes) {
		return "", "", errors.New("the password would be good for too long")
	}
	user = claims.Pilot
	if claims.Race != "" || strings.Contains(user, userSeparator) {
		user += userSeparator + claims.Race
	}
	return user, passwordOf([]byte(key), user, uint32(hours)), nil
}

// VerifyPassword returns what a user name and a password of SignPassword say if they
// are good at now, and one of the errors of Verify otherwise.
func (v *Verifier) VerifyPassword(user, password string, now time.Time) (*Claims, error) {
	hours, ok := hoursOf(password)
	if !ok {
		return nil, ErrMalformed
	}
	if !slices.ContainsFunc(v.secrets, func(key []byte) bool {
		return equal(passwordOf(key, user, hours), strings.ToLower(password))
	}) {
		return nil, ErrSignature
	}
	claims := &Claims{Pilot: user, Scopes: []string{liveScope()}, Expires: time.Unix(int64(hours)*hour, 0)}
	if at := strings.LastIndex(user, userSeparator); at >= 0 {
		claims.Pilot, claims.Race = user[:at], user[at+len(userSeparator):]
	}
	if !now.Before(claims.Expires) {
		return nil, ErrExpired
	}
	return claims, nil
}

// liveScope is the only scope of a password.
func liveScope() string { return lane.All(lane.Options{})[0].Name }

// passwordOf is the password of a user until an hour.
func passwordOf(key []byte, user string, hours uint32) string {
	bytes := binary.BigEndian.AppendUint32(nil, hours)[4-hourBytes:]
	bytes = append(bytes, macOf(key, passwordPurpose, fmt.Sprint(hours), user)...)
	return strings.ToLower(base32.StdEncoding.EncodeToString(bytes[:passwordBytes]))
}

// hoursOf reads the hour in a password, and reports whether it can be one.
func hoursOf(password string) (hours uint32, ok bool) {
	if len(password) != passwordLength || strings.ContainsAny(password, "\r\n") { // base32 would skip line ends
		return 0, false
	}
	bytes, err := base32.StdEncoding.DecodeString(strings.ToUpper(password))
	if err != nil || len(bytes) != passwordBytes {
		return 0, false
	}
	return binary.BigEndian.Uint32(append(make([]byte, 4-hourBytes), bytes...)), true
}
