// Package authtest makes tokens that package auth would not make.
package authtest

import (
	"crypto/hmac"
	"encoding/base64"
	"hash"
)

// Sign returns a token of any header and payload, which need not be JSON, with the
// HMAC of them.
func Sign(algorithm func() hash.Hash, key, header, payload string) string {
	signed := Encode(header) + "." + Encode(payload)
	mac := hmac.New(algorithm, []byte(key))
	mac.Write([]byte(signed))
	return signed + "." + Encode(string(mac.Sum(nil)))
}

// Encode is how a part of a token is written.
func Encode(part string) string { return base64.RawURLEncoding.EncodeToString([]byte(part)) }
