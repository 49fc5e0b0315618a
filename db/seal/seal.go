// Package seal keeps secrets in boxes: AES-256-GCM under a named key, bound to the place they are stored at.
package seal

import (
	"crypto/aes"
	"crypto/cipher"
	"crypto/rand"
	"encoding/base64"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// Box layout: version, length of the key's id, the id, then nonce, ciphertext and tag as AES-GCM lays them out.
// Everything before the nonce is authenticated too.
const (
	version = 1
	keySize = 32
)

var (
	// ErrBox is a box that is broken, was sealed for another place, or was tampered with: these cannot be told apart.
	ErrBox = errors.New("sealed box does not open")
	// ErrUnknownKey is a box sealed with a key that the setting no longer has.
	ErrUnknownKey = errors.New("sealed with a key that is not in TIELINE_KEYS")
)

// Keys open boxes, and the first of them seals. To rotate, put a new key in front, seal everything again, and only
// then drop the old one. Printing Keys shows ids alone.
type Keys struct {
	ids   []string // the first seals
	gcms  map[string]cipher.AEAD
	veils []cipher.Block // in the order of ids
}

var idPattern = regexp.MustCompile(`^[a-z0-9_-]{1,32}$`)

// Parse reads keys as "id:base64,id:base64", 32 bytes each, ids of a-z, 0-9, _ and -. Its errors tell positions and
// well-formed ids, never what may be a key.
func Parse(setting string) (*Keys, error) {
	k := &Keys{gcms: map[string]cipher.AEAD{}}
	for i, entry := range strings.Split(setting, ",") {
		id, text, ok := strings.Cut(strings.TrimSpace(entry), ":")
		if !ok || !idPattern.MatchString(id) {
			return nil, fmt.Errorf("key %d is not of the form id:base64, the id of a-z, 0-9, _ and -", i+1)
		}
		if _, again := k.gcms[id]; again {
			return nil, fmt.Errorf("key %d: the id %s is there twice", i+1, id)
		}
		key, err := base64.StdEncoding.DecodeString(text)
		if err != nil || len(key) != keySize {
			return nil, fmt.Errorf("key %d (%s) is not %d bytes in base64", i+1, id, keySize)
		}
		block, err := aes.NewCipher(key)
		if err != nil {
			return nil, err
		}
		gcm, err := cipher.NewGCMWithRandomNonce(block)
		if err != nil {
			return nil, err
		}
		veil, err := newVeil(key)
		if err != nil {
			return nil, err
		}
		k.ids, k.gcms[id], k.veils = append(k.ids, id), gcm, append(k.veils, veil)
	}
	return k, nil
}

// Generate makes a key under a fresh id, as Parse reads it.
func Generate() string {
	b := make([]byte, 4+keySize)
	rand.Read(b) // never fails
	return "k" + hex.EncodeToString(b[:4]) + ":" + base64.StdEncoding.EncodeToString(b[4:])
}

// AD is the associated data of a place, such as organization, row and field. No two lists of parts give the same.
func AD(parts ...string) []byte {
	var ad []byte
	for _, p := range parts {
		ad = binary.AppendUvarint(ad, uint64(len(p)))
		ad = append(ad, p...)
	}
	return ad
}

// Seal puts plain into a box that opens only with the same associated data, so boxes cannot be swapped between places.
func (k *Keys) Seal(plain, ad []byte) ([]byte, error) {
	if k == nil || len(k.ids) == 0 {
		return nil, errors.New("no key to seal with")
	}
	id := k.ids[0]
	head := append([]byte{version, byte(len(id))}, id...)
	return k.gcms[id].Seal(head, nil, plain, join(head, ad)), nil
}

// Open returns what was sealed. The errors are ErrBox and ErrUnknownKey.
func (k *Keys) Open(box, ad []byte) ([]byte, error) {
	head, id, ok := header(box)
	if !ok {
		return nil, ErrBox
	}
	if k == nil || k.gcms[id] == nil {
		return nil, fmt.Errorf("%w (id %s)", ErrUnknownKey, id)
	}
	plain, err := k.gcms[id].Open(nil, nil, box[len(head):], join(head, ad))
	if err != nil {
		return nil, ErrBox
	}
	return plain, nil
}

// First is the id of the key that seals.
func (k *Keys) First() string { return k.ids[0] }

// KeyID is the id of the key that sealed a box, or empty when it is none.
func KeyID(box []byte) string {
	_, id, ok := header(box)
	if !ok {
		return ""
	}
	return id
}

// String shows the ids only.
func (k Keys) String() string { return "seal.Keys(" + strings.Join(k.ids, ", ") + ")" }

// GoString is what %#v prints: the ids only.
func (k Keys) GoString() string { return k.String() }

func header(box []byte) (head []byte, id string, ok bool) {
	if len(box) < 2 || box[0] != version || len(box) < 2+int(box[1]) {
		return nil, "", false
	}
	head = box[:2+int(box[1])]
	id = string(head[2:])
	return head, id, idPattern.MatchString(id)
}

func join(head, ad []byte) []byte { return append(head[:len(head):len(head)], ad...) }
