// Package auth says who a client is: a pilot, a relay or a reader by a token, an
// operator by a password. It does no I/O, so it works whatever is down.
package auth

import (
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/golang-jwt/jwt/v5"

	"tracklane/internal/lane"
)

// Scopes are what a token can allow: to post to a lane, which has the scope's
// name, or to read what is stored.
func Scopes() []string {
	var scopes []string
	for _, l := range lane.All(lane.Options{}) {
		scopes = append(scopes, l.Name)
	}
	return append(scopes, ReadScope)
}

// ReadScope is the scope that allows to read what is stored.
const ReadScope = "read"

// Claims are what a token says of whoever has it.
type Claims struct {
	// Pilot is whose points the token may post; empty in a relay's token, which
	// may post for anybody, and in a reader's.
	Pilot string

	// Race is the competition that the points belong to, or that a reader may
	// see; empty = any.
	Race string

	// Scopes are those of Scopes that the token allows.
	Scopes []string

	// Delay is by how much a reader sees points late, in whole seconds.
	Delay time.Duration

	// NotBefore and Expires bound when the token is good, to the second. A zero
	// NotBefore does not; every token has an Expires.
	NotBefore, Expires time.Time
}

// Allows reports whether the claims have a scope.
func (c *Claims) Allows(scope string) bool { return slices.Contains(c.Scopes, scope) }

const (
	// MinKeyLength is how many bytes a key has at the least.
	MinKeyLength = 32

	// maxTokenLength is how many bytes a token may have: some ten times what
	// Sign makes.
	maxTokenLength = 4096

	// maxNameLength is how many characters a pilot or a race may have, as in the
	// points that they are stored with.
	maxNameLength = 100
)

// payload is a token's second part, as RFC 7519 has it.
type payload struct {
	Subject   string           `json:"sub,omitempty"`
	Race      string           `json:"race_id,omitempty"`
	Scope     scope            `json:"scope"`
	Delay     int64            `json:"delay,omitempty"` // seconds
	NotBefore *jwt.NumericDate `json:"nbf,omitempty"`
	Expires   *jwt.NumericDate `json:"exp,omitempty"`
	IssuedAt  *jwt.NumericDate `json:"iat,omitempty"`
}

// scope is a list of scopes: a text with spaces between them, as in RFC 8693, or
// an array of texts.
type scope []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scope) UnmarshalJSON(text []byte) error {
	var list []string
	if json.Unmarshal(text, &list) == nil {
		*s = list
		return nil
	}
	var line string
	if err := json.Unmarshal(text, &line); err != nil {
		return err
	}
	*s = strings.Fields(line)
	return nil
}

// MarshalJSON implements json.Marshaler.
func (s scope) MarshalJSON() ([]byte, error) { return json.Marshal(strings.Join(s, " ")) }

// The methods of jwt.Claims.

func (p *payload) GetExpirationTime() (*jwt.NumericDate, error) { return p.Expires, nil }
func (p *payload) GetNotBefore() (*jwt.NumericDate, error)      { return p.NotBefore, nil }
func (p *payload) GetIssuedAt() (*jwt.NumericDate, error)       { return p.IssuedAt, nil }
func (p *payload) GetIssuer() (string, error)                   { return "", nil }
func (p *payload) GetSubject() (string, error)                  { return p.Subject, nil }
func (p *payload) GetAudience() (jwt.ClaimStrings, error)       { return nil, nil }

// check returns an error for claims that no point can be stored with, or with a
// scope that is none of scopes.
func (p *payload) check(scopes []string) error {
	for name, text := range map[string]string{"sub": p.Subject, "race_id": p.Race} {
		if !utf8.ValidString(text) || strings.ContainsRune(text, 0) || utf8.RuneCountInString(text) > maxNameLength {
			return fmt.Errorf("%s must be text of at most %d characters", name, maxNameLength)
		}
	}
	for _, name := range p.Scope {
		if !slices.Contains(scopes, name) {
			return fmt.Errorf("scope %q must be one of %s", name, strings.Join(scopes, ", "))
		}
	}
	if p.Delay < 0 || p.Delay > maxDelay {
		return fmt.Errorf("delay must be from 0 to %d seconds", maxDelay)
	}
	return nil
}

// maxDelay is a day, in seconds.
const maxDelay = 86_400

// Sign makes a token, a JWT signed by HS256, of claims. It returns an error if
// the key is shorter than MinKeyLength, or if Verify would refuse the claims.
func Sign(key string, claims Claims, now time.Time) (string, error) {
	if len(key) < MinKeyLength {
		return "", fmt.Errorf("the key must have at least %d characters", MinKeyLength)
	}
	if !claims.Expires.After(now) {
		return "", errors.New("the token would have expired already")
	}
	if len(claims.Scopes) == 0 {
		return "", errors.New("the token would allow nothing: it needs a scope")
	}
	p := &payload{
		Subject: claims.Pilot, Race: claims.Race, Scope: claims.Scopes, Delay: int64(claims.Delay / time.Second),
		Expires: jwt.NewNumericDate(claims.Expires), IssuedAt: jwt.NewNumericDate(now),
	}
	if !claims.NotBefore.IsZero() {
		p.NotBefore = jwt.NewNumericDate(claims.NotBefore)
	}
	if err := p.check(Scopes()); err != nil {
		return "", err
	}
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, p).SignedString([]byte(key))
	if err != nil {
		return "", fmt.Errorf("sign the token: %w", err)
	}
	return token, nil
}
