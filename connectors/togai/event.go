package togai

import (
	"crypto/hmac"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"strconv"
	"strings"
	"time"

	"tieline/connectors"
)

// All that this file says about Togai's webhook is an assumption: the vendor documents neither body, nor wire names of
// its events, nor a signature. A real delivery may differ, and only this file then has to. Bodies are never believed:
// they say which account to read, no more.

// signatureHeader is t=<unix>,v1=<hex>, v1 being the HMAC-SHA256 of "<unix>.<body>" under the secret. It is looked at
// only where a secret was given.
const signatureHeader = "X-Togai-Signature"

// tolerance is how far a signed time may lie from ours, either way.
const tolerance = 5 * time.Minute

// triggerOf says which trigger an event type is for.
var triggerOf = map[string]string{"account.created": "account.created"}

// event is the body: a record as GET answers it, and what happened to it.
type event struct {
	ID             string          `json:"id,omitempty"`
	Type           string          `json:"type"`
	CreatedAt      time.Time       `json:"createdAt,omitzero"`
	OrganizationID string          `json:"organizationId,omitempty"`
	Data           json.RawMessage `json:"data"`
}

func parse(body []byte) (e event, record string, err error) {
	var data struct {
		ID string `json:"id"`
	}
	if json.Unmarshal(body, &e) != nil || e.Type == "" || json.Unmarshal(e.Data, &data) != nil {
		return event{}, "", connectors.ErrMalformed
	}
	return e, data.ID, nil
}

func open(d connectors.Delivery, secrets []string) (connectors.Envelope, error) {
	if len(secrets) > 0 {
		if err := verify(d, secrets); err != nil {
			return connectors.Envelope{}, err
		}
	}
	return envelope(d.Body)
}

// envelope is the same for a body that was delivered and one that was made of a listed record, so that the two are one
// event: an account is created once.
func envelope(body []byte) (connectors.Envelope, error) {
	e, record, err := parse(body)
	if err != nil {
		return connectors.Envelope{}, err
	}
	out := connectors.Envelope{Trigger: triggerOf[e.Type], Type: e.Type, DedupeKey: e.ID, At: e.CreatedAt}
	if out.Trigger == "" {
		return out, nil
	}
	if record == "" {
		return connectors.Envelope{}, connectors.ErrMalformed
	}
	out.DedupeKey = e.Type + ":" + record
	return out, nil
}

func verify(d connectors.Delivery, secrets []string) error {
	t, v1, _ := strings.Cut(d.Header.Get(signatureHeader), ",v1=")
	t, ok := strings.CutPrefix(t, "t=")
	got, err := hex.DecodeString(v1)
	unix, notNumber := strconv.ParseInt(t, 10, 64)
	if !ok || err != nil || notNumber != nil {
		return connectors.ErrBadSignature
	}
	for _, s := range secrets {
		if s = strings.TrimSpace(s); s == "" {
			continue
		}
		h := hmac.New(sha256.New, []byte(s))
		h.Write([]byte(t + "."))
		h.Write(d.Body)
		if !hmac.Equal(h.Sum(nil), got) {
			continue
		}
		switch age := d.ReceivedAt.Sub(time.Unix(unix, 0)); {
		case age > tolerance:
			return connectors.ErrTooOld
		case age < -tolerance:
			return connectors.ErrTooNew
		}
		return nil
	}
	return connectors.ErrBadSignature
}
