package stripesim

import (
	"net/http"
	"net/url"
	"time"

	"tieline/connectors/sim"
)

const keyLife = 24 * time.Hour

// reply is what an idempotency key remembers; answer is nil while the first request runs.
type reply struct {
	fingerprint string
	at          time.Time
	answer      *sim.Answer
}

// once runs a POST with a key at most once while the key lives. The first answer whose execution began
// is kept, a 500 too; refusals before that leave the key usable.
func (s *Sim) once(r *http.Request, b *book, form url.Values, run sim.Handler) sim.Answer {
	key := r.Header.Get("Idempotency-Key")
	if r.Method != http.MethodPost || key == "" {
		return run(r)
	}
	if len(key) > 255 {
		return failed(invalid("", "", "An idempotency key has at most 255 characters."))
	}
	mine := &reply{fingerprint: r.Method + " " + r.URL.Path + "?" + form.Encode(), at: s.Clock.Now()}
	s.mu.Lock()
	replies := b.replies
	old, taken := replies[key]
	taken = taken && (old.answer == nil || s.Clock.Now().Sub(old.at) < keyLife)
	if !taken {
		replies[key] = mine
	}
	s.mu.Unlock()
	if taken {
		return s.replay(old, mine, key)
	}
	a := run(r)
	s.mu.Lock()
	defer s.mu.Unlock()
	if a.Status < 400 || a.Status == http.StatusPaymentRequired || a.Status >= 500 {
		mine.answer = &a
	} else if replies[key] == mine {
		delete(replies, key)
	}
	return a
}

func (s *Sim) replay(old, mine *reply, key string) sim.Answer {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case old.fingerprint != mine.fingerprint:
		return failed(&Error{Status: http.StatusBadRequest, Type: "idempotency_error",
			Message: "The key '" + key + "' was used before with another path or other parameters. Use a new key for a new request."})
	case old.answer == nil:
		return failed(&Error{Status: http.StatusConflict, Type: "idempotency_error", Code: "idempotency_key_in_use",
			Message: "Another request with the key '" + key + "' is still running."})
	}
	a := *old.answer
	a.Header = a.Header.Clone()
	a.Header.Set("Idempotent-Replayed", "true")
	return a
}
