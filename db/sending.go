package db

import (
	"context"
	"fmt"
	"slices"
	"time"
)

var (
	givenConfirmed = givenOf[Effect]("org_id", "id", "vendor_account_id", "external_id", "ref")
	givenFilled    = givenOf[Slot]("org_id", "effect_id", "vendor_account_id", "entity", "role", "external_id", "name", "attributes")
	givenSent      = givenOf[Sending]("org_id", "id", "vendor_account_id", "connection_id", "run_id", "step", "mapping_id", "kind", "key", "generation", "state", "entity", "request", "chain", "timeout")
	givenClaims    = givenOf[Slot]("org_id", "mapping_id", "effect_id", "vendor_account_id", "entity", "role", "own_id", "event_id", "run_id", "step")
)

// The look at other slots is counted, and that at waiting runs is one for each mapping: while these are few, Postgres would
// plan joins with all of them.
var confirmEffects = fmt.Sprintf(`WITH done AS (
		UPDATE effects e SET state = 'CONFIRMED', external_id = x.external_id, ref = x.ref, request = NULL, absent_at = NULL, error_kind = NULL, error = '', updated_at = now()
		FROM %s WHERE e.org_id = x.org_id AND e.id = x.id
		RETURNING e.org_id, e.mapping_id, e.kind),
	filled AS (
		UPDATE mapping_slots s SET external_id = x.external_id, name = x.name, attributes = s.attributes || x.attributes, filled_at = coalesce(s.filled_at, now())
		FROM %s
		WHERE s.org_id = x.org_id AND s.effect_id = x.effect_id AND s.entity = x.entity AND s.role = x.role AND (s.external_id IS NULL OR s.external_id = x.external_id)
			AND (SELECT count(*) FROM mapping_slots o WHERE o.org_id = x.org_id AND o.vendor_account_id = x.vendor_account_id AND o.entity = x.entity
				AND o.external_id = x.external_id AND o.effect_id IS DISTINCT FROM x.effect_id) = 0
		RETURNING s.mapping_id),
	woken AS (
		UPDATE runs r SET state = 'QUEUED', waiting_reason = NULL, wake_at = NULL, awaits = NULL, version = version + 1, due_at = now() + interval '10 seconds'
		FROM (SELECT DISTINCT org_id, mapping_id FROM done WHERE kind <> 'SET') d
			CROSS JOIN LATERAL (SELECT id FROM runs w WHERE w.org_id = d.org_id AND w.awaits = d.mapping_id OFFSET 0) w
		WHERE r.org_id = d.org_id AND r.id = w.id AND r.awaits IS NOT DISTINCT FROM d.mapping_id AND r.state = 'WAITING' RETURNING r.*)
	SELECT (SELECT count(*) FROM filled) AS filled, w.* FROM (SELECT) one LEFT JOIN woken w ON true`,
	givenConfirmed.as("x", 1), givenFilled.as("x", 6))

// ConfirmEffects writes that effects happened, and puts what they made into the slots they had claimed. It wakes runs that
// wait for these mappings and answers them, queued. ErrConflict says that not every slot could be filled: it
// holds another record, or the record is in another's; fill them one by one to learn which.
func ConfirmEffects(ctx context.Context, tx Tx, effects []Effect, slots []Slot) ([]Run, error) {
	type woken struct {
		Run
		Filled int
	}
	found, err := manyIn[woken](ctx, tx, confirmEffects, slices.Concat(givenConfirmed.arrays(effects), givenFilled.arrays(slots))...)
	if err != nil {
		return nil, err
	}
	if len(found) == 0 || found[0].Filled < len(slots) {
		err = ErrConflict
	}
	var runs []Run
	for _, w := range found {
		if w.ID != (ID{}) {
			runs = append(runs, w.Run)
		}
	}
	return runs, err
}

// Sending is a new effect that is about to be sent, with the slots that it claims.
type Sending struct {
	*Effect
	Timeout float64 // seconds that the call can be in the air
	Slots   []Slot
}

var sendEffects = fmt.Sprintf(`WITH e AS (
		INSERT INTO effects (org_id, id, vendor_account_id, connection_id, run_id, step, mapping_id, kind, key, generation, state, entity, request, chain, sent_at, send_until)
		SELECT org_id, id, vendor_account_id, connection_id, run_id, step, mapping_id, kind, key, generation, state, entity, request, chain::uuid[],
			clock_timestamp(), clock_timestamp() + make_interval(secs => timeout)
		FROM %s ON CONFLICT DO NOTHING RETURNING org_id, id, sent_at, send_until),
	claimed AS (
		INSERT INTO mapping_slots (org_id, mapping_id, vendor_account_id, entity, role, own_id, effect_id, event_id, run_id, step)
		SELECT x.org_id, x.mapping_id, x.vendor_account_id, x.entity, x.role, x.own_id, e.id, x.event_id, x.run_id, x.step
		FROM e, %s WHERE e.org_id = x.org_id AND e.id = x.effect_id ORDER BY x.n
		ON CONFLICT DO NOTHING RETURNING effect_id)
	SELECT id, sent_at, send_until, (SELECT count(*) FROM claimed) AS claimed FROM e`, givenSent.as("x", 1), givenClaims.as("x", 16))

// SendEffects commits that new effects are about to be sent, and claims their slots. The calls can be in the air until
// send_until, by the database's clock. ErrConflict says that an effect lives already, or a slot is claimed or filled. Give
// them sorted by account and key, as everybody must have them, or two who send the same wait for each other.
func SendEffects(ctx context.Context, tx Tx, all []Sending) error {
	var slots []Slot
	for _, s := range all {
		for _, slot := range s.Slots {
			slot.OrgID, slot.VendorAccountID, slot.EffectID, slot.RunID, slot.Step = s.OrgID, s.VendorAccountID, s.ID, s.RunID, s.Effect.Step
			slots = append(slots, slot)
		}
	}
	type sent struct {
		ID                ID
		SentAt, SendUntil time.Time
		Claimed           int
	}
	rows, err := manyIn[sent](ctx, tx, sendEffects, slices.Concat(givenSent.arrays(all), givenClaims.arrays(slots))...)
	if err != nil {
		return err
	}
	if len(rows) < len(all) || len(rows) > 0 && rows[0].Claimed < len(slots) {
		return ErrConflict
	}
	byID := make(map[ID]sent, len(rows))
	for _, r := range rows {
		byID[r.ID] = r
	}
	for _, s := range all {
		s.SentAt, s.SendUntil = byID[s.ID].SentAt, byID[s.ID].SendUntil
	}
	return nil
}

// ResendEffect commits that a known effect is about to be sent again. ErrNotFound says that it is confirmed meanwhile.
func ResendEffect(ctx context.Context, tx Tx, e *Effect, timeout time.Duration) error {
	sent, err := in[Effect](ctx, tx, `UPDATE effects SET state = $3, generation = $4, request = $5, error_kind = NULL, error = '', absent_at = NULL, updated_at = now(),
			sent_at = clock_timestamp(), send_until = clock_timestamp() + make_interval(secs => $6)
		WHERE org_id = $1 AND id = $2 AND state <> 'CONFIRMED' RETURNING sent_at, send_until`,
		e.OrgID, e.ID, e.State, e.Generation, e.Request, timeout.Seconds())
	e.SentAt, e.SendUntil = sent.SentAt, sent.SendUntil
	return err
}

// orNull is nil for the zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}
