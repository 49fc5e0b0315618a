package seal_test

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"tieline/db/seal"
)

func keys(t testing.TB, setting ...string) *seal.Keys {
	t.Helper()
	k, err := seal.Parse(strings.Join(setting, ","))
	if err != nil {
		t.Fatal(err)
	}
	return k
}

func TestSealAndOpen(t *testing.T) {
	t.Parallel()
	k, ad := keys(t, seal.Generate()), seal.AD("org", "row", "secret")
	for _, plain := range []string{"", "sk_test_1", strings.Repeat("x", 1<<16)} {
		box, err := k.Seal([]byte(plain), ad)
		if err != nil {
			t.Fatal(err)
		}
		if plain != "" && bytes.Contains(box, []byte(plain)) {
			t.Error("the box shows what is in it")
		}
		if got, err := k.Open(box, ad); err != nil || string(got) != plain {
			t.Errorf("opened %d bytes (%v), want %d", len(got), err, len(plain))
		}
		again, _ := k.Seal([]byte(plain), ad)
		if bytes.Equal(box, again) {
			t.Error("two boxes of one secret are alike")
		}
	}
}

func TestBoxesCannotBeSwappedOrChanged(t *testing.T) {
	t.Parallel()
	k := keys(t, seal.Generate())
	box, _ := k.Seal([]byte("secret"), seal.AD("org", "row", "field"))
	for _, other := range [][]byte{nil, seal.AD("org", "row"), seal.AD("org", "rowfield", ""), seal.AD("or", "grow", "field")} {
		if _, err := k.Open(box, other); !errors.Is(err, seal.ErrBox) {
			t.Errorf("with other associated data: %v, want ErrBox", err)
		}
	}
	for i := range box {
		changed := bytes.Clone(box)
		changed[i] ^= 1
		if _, err := k.Open(changed, seal.AD("org", "row", "field")); err == nil {
			t.Errorf("opened with byte %d changed", i)
		}
		if _, err := k.Open(box[:i], seal.AD("org", "row", "field")); err == nil {
			t.Errorf("opened when cut to %d bytes", i)
		}
	}
}

func TestRotation(t *testing.T) {
	t.Parallel()
	older, newer := seal.Generate(), seal.Generate()
	before, during, after := keys(t, older), keys(t, newer, older), keys(t, newer)
	box, _ := before.Seal([]byte("secret"), nil)
	if id := seal.KeyID(box); id != before.First() || id == during.First() {
		t.Errorf("the box is of %q", id)
	}
	plain, err := during.Open(box, nil)
	if err != nil {
		t.Fatal(err)
	}
	fresh, _ := during.Seal(plain, nil)
	if id := seal.KeyID(fresh); id != during.First() {
		t.Errorf("a fresh box is of %q", id)
	}
	if got, err := after.Open(fresh, nil); err != nil || string(got) != "secret" {
		t.Errorf("after rotation: %q, %v", got, err)
	}
	if _, err := after.Open(box, nil); !errors.Is(err, seal.ErrUnknownKey) {
		t.Errorf("the old box after rotation: %v, want ErrUnknownKey", err)
	}
}

func TestParseErrorsKeepSecrets(t *testing.T) {
	t.Parallel()
	good := seal.Generate()
	_, secret, _ := strings.Cut(good, ":")
	for name, setting := range map[string]string{
		"empty": "", "no id": secret, "empty id": ":" + secret, "secret for id": secret + ":k1", "short": "k1:" + secret[:40],
		"not base64": "k1:" + secret[:43] + "!", "twice": good + "," + good, "trailing comma": good + ",", "loud id": "K1:" + secret,
	} {
		_, err := seal.Parse(setting)
		if err == nil {
			t.Errorf("%s: accepted", name)
		} else if strings.Contains(err.Error(), secret[:8]) {
			t.Errorf("%s: the error shows the key: %v", name, err)
		}
	}
	k := keys(t, good)
	if text := fmt.Sprintf("%v %+v %#v %s %v", k, k, k, k, *k); strings.Contains(text, secret[:8]) || strings.Contains(text, "0x") {
		t.Errorf("printed keys: %s", text)
	}
}

func FuzzOpen(f *testing.F) {
	k, ad := keys(f, seal.Generate()), seal.AD("org", "row", "field")
	box, _ := k.Seal([]byte("secret"), ad)
	for _, seed := range [][]byte{nil, {1}, {1, 255}, {1, 0}, box, box[:20]} {
		f.Add(seed)
	}
	f.Fuzz(func(t *testing.T, in []byte) {
		plain, err := k.Open(in, ad)
		if err == nil && (string(plain) != "secret" || !bytes.Equal(in, box)) {
			t.Errorf("a forged box opened")
		}
		seal.KeyID(in)
	})
}
