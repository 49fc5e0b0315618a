// Package auth says who calls: bearer tokens of one organization each, what they may do and until when.
package auth

import (
	"crypto/rand"
	"crypto/sha256"
	"math/big"
	"strings"
)

const (
	prefix     = "tl_"
	randomSize = 32 // bytes; nobody guesses 256 bits, so a plain hash is enough to store
	digits     = 43 // of base 62 for 256 bits
	alphabet   = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
)

// NewSecret makes a token as its holder keeps it: tl_ and 43 letters and digits. It is shown once and stored as Hash.
func NewSecret() string {
	var b [randomSize]byte
	_, _ = rand.Read(b[:]) // never fails: it ends the program instead
	n, base, rest := new(big.Int).SetBytes(b[:]), big.NewInt(int64(len(alphabet))), new(big.Int)
	text := make([]byte, digits)
	for i := digits - 1; i >= 0; i-- {
		n.DivMod(n, base, rest)
		text[i] = alphabet[rest.Int64()]
	}
	return prefix + string(text)
}

// Hash is what is stored of a token and looked for.
func Hash(secret string) []byte {
	sum := sha256.Sum256([]byte(secret))
	return sum[:]
}

// Hint is enough of a token to recognise it: tl_…x7Qa.
func Hint(secret string) string {
	return prefix + "…" + secret[max(0, len(secret)-4):]
}

// wellFormed tells whether a text can be a token at all, so that nonsense costs no query.
func wellFormed(secret string) bool {
	text, ok := strings.CutPrefix(secret, prefix)
	return ok && len(text) == digits && strings.Trim(text, alphabet) == ""
}
