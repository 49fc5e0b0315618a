package seal

import (
	"bytes"
	"crypto/aes"
	"crypto/cipher"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/binary"
)

// Veiled is a number that only who has the key can read.
type Veiled [aes.BlockSize]byte

// newVeil makes the key that veils of one that seals, so that neither tells of the other.
func newVeil(key []byte) (cipher.Block, error) {
	apart := hmac.New(sha256.New, key)
	apart.Write([]byte("veil"))
	return aes.NewCipher(apart.Sum(nil))
}

// Veil hides a number: what comes of it tells neither the number nor how far it is from another. It is always the same
// for the same number and place, while the first key stays the first.
func (k *Keys) Veil(n uint64, ad []byte) Veiled {
	place := sha256.Sum256(ad)
	var v Veiled
	binary.BigEndian.PutUint64(v[copy(v[:8], place[:]):], n)
	k.veils[0].Encrypt(v[:], v[:])
	return v
}

// Unveil returns the number that one of the keys has hidden in this place; false when none has.
func (k *Keys) Unveil(v Veiled, ad []byte) (uint64, bool) {
	place := sha256.Sum256(ad)
	for _, veil := range k.veils {
		var plain Veiled
		veil.Decrypt(plain[:], v[:])
		if bytes.Equal(plain[:8], place[:8]) {
			return binary.BigEndian.Uint64(plain[8:]), true
		}
	}
	return 0, false
}
