package auth

import (
	"errors"
	"strings"
	"sync"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"tracklane/internal/cache"
)

// The errors of Verify. Their texts are for the client; none holds any part of
// the token.
var (
	ErrMalformed   = errors.New("the token cannot be read: copy all of it")
	ErrSignature   = errors.New("the token was not made for this server")
	ErrExpired     = errors.New("the token has expired: ask for a new one")
	ErrNotYet      = errors.New("the token is not good yet")
	ErrNoExpiry    = errors.New("the token does not say when it expires")
	ErrWrongClaims = errors.New("the token says something that this server does not know")
)

// Verifier verifies tokens. Any number of goroutines may use it at the same time.
type Verifier struct {
	parser  *jwt.Parser
	keys    jwt.VerificationKeySet
	secrets [][]byte // the same keys, for what is no JWT
	scopes  []string

	mu       sync.RWMutex
	verified *cache.Map[string, *Claims] // by the token
}

// maxRemembered is how many tokens are remembered at the least: those of the pilots
// of a large competition with room to spare, in some 10 MB.
const maxRemembered = 10_000

// NewVerifier returns a verifier of tokens that were signed with key or, if it is
// not empty, with previous.
func NewVerifier(key, previous string) *Verifier {
	v := &Verifier{
		parser: jwt.NewParser(
			jwt.WithValidMethods([]string{jwt.SigningMethodHS256.Alg()}),
			jwt.WithStrictDecoding(),
			// The times are compared with the time that Verify is given.
			jwt.WithoutClaimsValidation(),
		),
		secrets:  [][]byte{[]byte(key)},
		scopes:   Scopes(),
		verified: cache.New[string, *Claims](maxRemembered),
	}
	if previous != "" {
		v.secrets = append(v.secrets, []byte(previous))
	}
	for _, secret := range v.secrets {
		v.keys.Keys = append(v.keys.Keys, secret)
	}
	return v
}

// Verify returns what a token says if it is good at now, and one of the errors
// above otherwise. The claims are shared: nobody may change them.
func (v *Verifier) Verify(token string, now time.Time) (*Claims, error) {
	claims := v.remembered(token)
	if claims == nil {
		var err error
		if claims, err = v.verify(token); err != nil {
			return nil, err
		}
		v.remember(token, claims)
	}
	if !now.Before(claims.Expires) {
		return nil, ErrExpired
	}
	if now.Before(claims.NotBefore) {
		return nil, ErrNotYet
	}
	return claims, nil
}

// verify reads a token that is signed with one of the keys, whenever it is good.
func (v *Verifier) verify(token string) (*Claims, error) {
	if len(token) > maxTokenLength || strings.ContainsAny(token, "\r\n") { // base64 would skip line ends
		return nil, ErrMalformed
	}
	p := &payload{}
	if _, err := v.parser.ParseWithClaims(token, p, func(*jwt.Token) (any, error) { return v.keys, nil }); err != nil {
		if errors.Is(err, jwt.ErrTokenSignatureInvalid) || errors.Is(err, jwt.ErrTokenUnverifiable) {
			return nil, ErrSignature
		}
		return nil, ErrMalformed
	}
	if p.check(v.scopes) != nil {
		return nil, ErrWrongClaims
	}
	if p.Expires == nil {
		return nil, ErrNoExpiry
	}
	claims := &Claims{
		Pilot: p.Subject, Race: p.Race, Scopes: p.Scope,
		Delay: time.Duration(p.Delay) * time.Second, Expires: p.Expires.Time,
	}
	if p.NotBefore != nil {
		claims.NotBefore = p.NotBefore.Time
	}
	return claims, nil
}

func (v *Verifier) remembered(token string) *Claims {
	v.mu.RLock()
	defer v.mu.RUnlock()
	claims, _ := v.verified.Get(token)
	return claims
}

func (v *Verifier) remember(token string, claims *Claims) {
	v.mu.Lock()
	defer v.mu.Unlock()
	v.verified.Put(token, claims)
}
