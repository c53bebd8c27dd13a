package auth

import (
	"crypto/hmac"
	"crypto/sha256"
	"crypto/subtle"
	"encoding/hex"
	"slices"
	"strings"
)

// Seal returns a text with a MAC of it and of what it is for, so that the text can be
// kept where others may write. Nobody without the key makes one, and it ends with the
// key: Open refuses it then.
func (v *Verifier) Seal(purpose, text string) string {
	return sealWith(v.secrets[0], purpose, text)
}

// Open returns the text of what Seal returned for the same purpose, and reports
// whether it was made with one of the verifier's keys.
func (v *Verifier) Open(purpose, sealed string) (text string, ok bool) {
	if len(sealed) < sealLength {
		return "", false
	}
	text = sealed[sealLength:]
	return text, slices.ContainsFunc(v.secrets, func(key []byte) bool {
		return equal(sealWith(key, purpose, text), sealed)
	})
}

// sealLength is how many bytes Seal puts before the text.
const sealLength = sha256.Size * 2

func sealWith(key []byte, purpose, text string) string {
	return hex.EncodeToString(macOf(key, "seal", purpose, text)) + text
}

// macOf is the HMAC-SHA256 of texts, of which all but the last are without NUL.
func macOf(key []byte, texts ...string) []byte {
	mac := hmac.New(sha256.New, key)
	mac.Write([]byte(strings.Join(texts, "\x00")))
	return mac.Sum(nil)
}

// equal compares in constant time.
func equal(a, b string) bool { return subtle.ConstantTimeCompare([]byte(a), []byte(b)) == 1 }
