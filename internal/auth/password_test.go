package auth

import (
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestVerifyPassword_ReadsWhatSignPasswordMakes(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct{ pilot, race, user string }{
		"a pilot":              {"anna", "", "anna"},
		"of a race":            {"anna", "2026-cup", "anna@2026-cup"},
		"a pilot's address":    {"anna@example.org", "", "anna@example.org@"},
		"an address of a race": {"anna@example.org", "cup", "anna@example.org@cup"},
		"not ASCII":            {"änna", "ä", "änna@ä"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			claims := Claims{Pilot: c.pilot, Race: c.race, Scopes: []string{"live", "upload"}, Expires: now.Add(12 * time.Hour)}
			user, password, err := SignPassword(key, claims, now)
			require.NoError(t, err)
			assert.Equal(t, c.user, user)
			assert.Regexp(t, "^[a-z2-7]{24}$", password)
			expires := claims.Expires.Truncate(time.Hour)
			for _, typed := range []string{password, strings.ToUpper(password)} {
				got, err := NewVerifier(otherKey, key).VerifyPassword(user, typed, now)
				require.NoError(t, err)
				assert.Equal(t, &Claims{Pilot: c.pilot, Race: c.race, Scopes: []string{"live"}, Expires: expires}, got)
			}
			_, err = NewVerifier(key, "").VerifyPassword(user, password, expires)
			assert.Equal(t, ErrExpired, err)
		})
	}
}

func TestVerifyPassword_RefusesEveryOther(t *testing.T) {
	t.Parallel()
	claims := Claims{Pilot: "anna", Race: "cup", Scopes: []string{"live"}, Expires: now.Add(12 * time.Hour)}
	user, password, err := SignPassword(key, claims, now)
	require.NoError(t, err)
	v := NewVerifier(key, "")
	for place := range password { // whatever letter is another one, the hour's too
		letter := "a"
		if password[place] == 'a' {
			letter = "b"
		}
		_, err := v.VerifyPassword(user, password[:place]+letter+password[place+1:], now)
		assert.Equal(t, ErrSignature, err, place)
	}
	for _, other := range []string{"bert@cup", "anna", "anna@", "anna@other", "Anna@cup", ""} {
		_, err := v.VerifyPassword(other, password, now)
		assert.Equal(t, ErrSignature, err, other)
	}
	for _, other := range []string{"", password[:23], password + "a", "1" + password[1:], password[:22] + "==", strings.Repeat("\n", 24)} {
		_, err := v.VerifyPassword(user, other, now)
		assert.Equal(t, ErrMalformed, err, other)
	}
	_, err = NewVerifier(otherKey, "").VerifyPassword(user, password, now)
	assert.Equal(t, ErrSignature, err)
}

func TestSignPassword_MakesNoneThatSaysLessThanTheClaims(t *testing.T) {
	t.Parallel()
	good := Claims{Pilot: "anna", Scopes: []string{"live"}, Expires: now.Add(12 * time.Hour)}
	for want, change := range map[string]func(*Claims){
		"must be a pilot's":  func(c *Claims) { c.Pilot = "" },
		"must not contain":   func(c *Claims) { c.Race = "a@b" },
		"for the scope live": func(c *Claims) { c.Scopes = []string{"upload"} },
		"good at once":       func(c *Claims) { c.NotBefore = now },
		"expired already":    func(c *Claims) { c.Expires = now.Add(time.Second) },
		"too long":           func(c *Claims) { c.Expires = time.Unix(8e10, 0) },
		"sub must be text":   func(c *Claims) { c.Pilot = "\xff" },
	} {
		claims := good
		change(&claims)
		_, _, err := SignPassword(key, claims, now)
		assert.ErrorContains(t, err, want)
	}
}

func TestVerifier_OpensWhatItSealed(t *testing.T) {
	t.Parallel()
	v := NewVerifier(key, "")
	for _, text := range []string{"", "a", "a\x00b"} {
		sealed := v.Seal("sessions", text)
		for _, other := range []*Verifier{v, NewVerifier(otherKey, key)} {
			opened, ok := other.Open("sessions", sealed)
			assert.True(t, ok)
			assert.Equal(t, text, opened)
		}
		for _, bad := range []string{sealed + "x", "0" + sealed, sealed[1:], "", strings.ToUpper(sealed)} {
			_, ok := v.Open("sessions", bad)
			assert.False(t, ok, bad)
		}
		_, ok := v.Open("others", sealed)
		assert.False(t, ok)
		_, ok = NewVerifier(otherKey, "").Open("sessions", sealed)
		assert.False(t, ok)
	}
}
