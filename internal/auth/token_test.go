package auth

import (
	"crypto/sha256"
	"crypto/sha512"
	"fmt"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"

	"tracklane/internal/auth/authtest"
)

const (
	key      = "the key of these tests, 32 letters or more"
	otherKey = "another key of these tests, as long as it"
)

var now = time.Unix(1_784_000_000, 0)

const hs256 = `{"alg":"HS256","typ":"JWT"}`

// future is an expiry after now.
var future = fmt.Sprint(now.Unix() + 60)

func TestVerifier_ReadsWhatSignMakes(t *testing.T) {
	t.Parallel()
	for name, claims := range map[string]Claims{
		"a pilot's": {Pilot: "änna", Race: "r 1", Scopes: []string{"live", "upload"}, Expires: now.Add(time.Hour)},
		"a relay's": {Scopes: []string{"live"}, Expires: now.Add(time.Second), NotBefore: now},
		"a reader's": {Scopes: []string{"read"}, Race: "x", Delay: 10 * time.Minute,
			Expires: now.Add(24 * time.Hour), NotBefore: now.Add(-time.Hour)},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			token, err := Sign(key, claims, now)
			require.NoError(t, err)
			v := NewVerifier(key, "")
			for range 2 { // read, then remembered
				got, err := v.Verify(token, now)
				require.NoError(t, err)
				assert.Equal(t, claims.Scopes, got.Scopes)
				assert.True(t, claims.Expires.Equal(got.Expires))
				assert.True(t, claims.NotBefore.Equal(got.NotBefore))
				assert.Equal(t, []any{claims.Pilot, claims.Race, claims.Delay}, []any{got.Pilot, got.Race, got.Delay})
				_, err = v.Verify(token, claims.Expires)
				assert.Equal(t, ErrExpired, err, "a remembered token expires, too")
			}
		})
	}
}

func TestVerifier_ReadsTokensThatOthersMake(t *testing.T) {
	t.Parallel()
	for payload, scopes := range map[string][]string{
		`{"exp":` + future + `,"scope":["live","read"],"aud":"x","jti":"1"}`: {"live", "read"},
		`{"exp":` + future + `.5,"scope":" live  read ","iat":9e9}`:          {"live", "read"},
		`{"exp":` + future + `}`:  nil,
		`{"exp":9e15,"scope":""}`: {},
	} {
		t.Run(payload, func(t *testing.T) {
			t.Parallel()
			claims, err := NewVerifier(key, "").Verify(authtest.Sign(sha256.New, key, hs256, payload), now)
			require.NoError(t, err)
			assert.Equal(t, scopes, claims.Scopes)
			assert.False(t, claims.Allows("upload"))
		})
	}
}

func TestVerifier_RefusesEveryOther(t *testing.T) {
	t.Parallel()
	good := `{"exp":` + future + `,"scope":"live","sub":"anna"}`
	token := authtest.Sign(sha256.New, key, hs256, good)
	parts := strings.Split(token, ".")
	for name, c := range map[string]struct {
		token string
		want  error
	}{
		"empty":                {"", ErrMalformed},
		"two parts":            {parts[0] + "." + parts[1], ErrMalformed},
		"four parts":           {token + ".x", ErrMalformed},
		"not base64":           {parts[0] + ".%%%." + parts[2], ErrMalformed},
		"a newline in it":      {token + "\n", ErrMalformed},
		"padding":              {token + "=", ErrMalformed},
		"too long":             {strings.Repeat("x", 5000), ErrMalformed},
		"header is no JSON":    {authtest.Sign(sha256.New, key, "x", good), ErrMalformed},
		"payload is no JSON":   {authtest.Sign(sha256.New, key, hs256, "x"), ErrMalformed},
		"no signature":         {parts[0] + "." + parts[1] + ".", ErrSignature},
		"tampered":             {parts[0] + "." + authtest.Encode(strings.Replace(good, "anna", "bert", 1)) + "." + parts[2], ErrSignature},
		"another key":          {authtest.Sign(sha256.New, otherKey, hs256, good), ErrSignature},
		"an empty key":         {authtest.Sign(sha256.New, "", hs256, good), ErrSignature},
		"algorithm none":       {authtest.Sign(sha256.New, key, `{"alg":"none"}`, good), ErrSignature},
		"none, unsigned":       {authtest.Encode(`{"alg":"none"}`) + "." + parts[1] + ".", ErrSignature},
		"algorithm NONE":       {authtest.Sign(sha256.New, key, `{"alg":"NONE"}`, good), ErrSignature},
		"algorithm HS512":      {authtest.Sign(sha512.New, key, `{"alg":"HS512"}`, good), ErrSignature},
		"algorithm RS256":      {authtest.Sign(sha256.New, key, `{"alg":"RS256"}`, good), ErrSignature},
		"algorithm hs256":      {authtest.Sign(sha256.New, key, `{"alg":"hs256"}`, good), ErrSignature},
		"no algorithm":         {authtest.Sign(sha256.New, key, `{}`, good), ErrSignature},
		"algorithm is a list":  {authtest.Sign(sha256.New, key, `{"alg":["HS256"]}`, good), ErrSignature},
		"expired":              {authtest.Sign(sha256.New, key, hs256, `{"exp":1784000000,"scope":"live"}`), ErrExpired},
		"expires before 1970":  {authtest.Sign(sha256.New, key, hs256, `{"exp":-1,"scope":"live"}`), ErrExpired},
		"not yet good":         {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"nbf":1784000001}`), ErrNotYet},
		"no expiry":            {authtest.Sign(sha256.New, key, hs256, `{"scope":"live"}`), ErrNoExpiry},
		"expiry is null":       {authtest.Sign(sha256.New, key, hs256, `{"exp":null}`), ErrNoExpiry},
		"expiry is a text":     {authtest.Sign(sha256.New, key, hs256, `{"exp":"tomorrow"}`), ErrMalformed},
		"unknown scope":        {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"scope":"live admin"}`), ErrWrongClaims},
		"scope is a number":    {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"scope":1}`), ErrMalformed},
		"pilot is a number":    {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"sub":1}`), ErrMalformed},
		"pilot with a NUL":     {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"sub":"a\u0000"}`), ErrWrongClaims},
		"pilot of 101 letters": {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"sub":"`+strings.Repeat("ä", 101)+`"}`), ErrWrongClaims},
		"a negative delay":     {authtest.Sign(sha256.New, key, hs256, `{"exp":`+future+`,"delay":-1}`), ErrWrongClaims},
		"a list":               {authtest.Sign(sha256.New, key, hs256, `[]`), ErrMalformed},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			v := NewVerifier(key, "")
			for range 2 {
				claims, err := v.Verify(c.token, now)
				assert.Nil(t, claims)
				assert.Equal(t, c.want, err)
			}
		})
	}
}

func TestVerifier_TakesThePreviousKey(t *testing.T) {
	t.Parallel()
	token, err := Sign(key, Claims{Scopes: []string{"live"}, Expires: now.Add(time.Hour)}, now)
	require.NoError(t, err)
	_, err = NewVerifier(otherKey, key).Verify(token, now)
	assert.NoError(t, err)
	_, err = NewVerifier(otherKey, "").Verify(token, now)
	assert.Equal(t, ErrSignature, err)
}

func TestVerifier_RemembersSoManyTokens(t *testing.T) {
	t.Parallel()
	v := NewVerifier(key, "")
	var clients sync.WaitGroup
	for client := range 4 {
		clients.Go(func() {
			for n := range maxRemembered {
				token := strconv.Itoa(n*4 + client)
				v.remember(token, &Claims{Pilot: token})
				// The others may have added so many meanwhile that it is forgotten.
				if claims := v.remembered(token); claims != nil && claims.Pilot != token {
					t.Error("the claims are another token's")
				}
			}
		})
	}
	clients.Wait()
	v.remember("last", &Claims{Pilot: "anna"})
	assert.Equal(t, &Claims{Pilot: "anna"}, v.remembered("last"))
	assert.LessOrEqual(t, v.verified.Len(), 2*maxRemembered)
	assert.Greater(t, v.verified.Len(), maxRemembered)
}

func TestSign_MakesNoTokenThatIsOfNoUse(t *testing.T) {
	t.Parallel()
	good := Claims{Scopes: []string{"live"}, Expires: now.Add(time.Hour)}
	for want, change := range map[string]func(*Claims) string{
		"at least 32 characters": func(*Claims) string { return strings.Repeat("x", 31) },
		"expired already":        func(c *Claims) string { c.Expires = now; return key },
		"needs a scope":          func(c *Claims) string { c.Scopes = nil; return key },
		`"admin" must be one of`: func(c *Claims) string { c.Scopes = []string{"admin"}; return key },
		"sub must be text":       func(c *Claims) string { c.Pilot = "\xff"; return key },
		"race_id must be text":   func(c *Claims) string { c.Race = strings.Repeat("x", 101); return key },
		"delay must be from 0":   func(c *Claims) string { c.Delay = 25 * time.Hour; return key },
	} {
		t.Run(want, func(t *testing.T) {
			t.Parallel()
			claims := good
			_, err := Sign(change(&claims), claims, now)
			assert.ErrorContains(t, err, want)
		})
	}
}

func BenchmarkVerifier(b *testing.B) {
	token, err := Sign(key, Claims{Pilot: "anna", Race: "race", Scopes: []string{"live"}, Expires: now.Add(time.Hour)}, now)
	require.NoError(b, err)
	b.Run("first", func(b *testing.B) {
		v := NewVerifier(key, "")
		for b.Loop() {
			if _, err := v.verify(token); err != nil {
				b.Fatal(err)
			}
		}
	})
	b.Run("again", func(b *testing.B) {
		v := NewVerifier(key, "")
		for b.Loop() {
			if _, err := v.Verify(token, now); err != nil {
				b.Fatal(err)
			}
		}
	})
}

func FuzzVerifier(f *testing.F) {
	token, err := Sign(key, Claims{Pilot: "anna", Scopes: []string{"live"}, Expires: now.Add(time.Hour)}, now)
	require.NoError(f, err)
	f.Add(token)
	f.Add("a.b.c")
	f.Add(authtest.Sign(sha256.New, otherKey, hs256, `{"exp":1e308}`))
	v := NewVerifier(key, "")
	f.Fuzz(func(t *testing.T, text string) {
		claims, err := v.Verify(text, now)
		if (claims == nil) == (err == nil) || err == nil && text != token {
			t.Fatalf("%q: %+v, %v", text, claims, err)
		}
	})
}
