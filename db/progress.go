package db

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"
)

// Progress is what an activation has to say at once, under its run's fence.
type Progress struct {
	Run      *Run      // gets the new version, and the state that others may have given it meanwhile
	Leaves   bool      // the run leaves the worker's hands: what Run says of its state is written, and the lease ends
	Steps    []*Step   // to write
	Attempts []Attempt // to keep
	Told     []Told    // for the feed, in order; each is a version of the run

	Followed bool // answered of a run that leaves: another waits in its lane
}

// Told is a change for the feed. A change of the run itself has no step.
type Told struct {
	State         string    `json:"state"`
	WaitingReason string    `json:"waiting_reason,omitzero"`
	WakeAt        time.Time `json:"wake_at,omitzero"`
	Step          string    `json:"step,omitzero"`
	StepState     string    `json:"step_state,omitzero"`
}

type stepRow struct {
	Key             string          `json:"key"`
	State           string          `json:"state"`
	WaitingReason   string          `json:"waiting_reason,omitzero"`
	WakeAt          time.Time       `json:"wake_at,omitzero"`
	ReservedAt      time.Time       `json:"reserved_at,omitzero"`
	ReservedAccount *ID             `json:"reserved_account,omitzero"`
	Tries           int             `json:"tries"`
	Input           json.RawMessage `json:"input,omitzero"`
	Output          json.RawMessage `json:"output,omitzero"`
	Reason          string          `json:"reason"`
	ErrorKind       string          `json:"error_kind,omitzero"`
	Error           string          `json:"error"`
	StartedAt       time.Time       `json:"started_at,omitzero"`
	EndedAt         time.Time       `json:"ended_at,omitzero"`
}

type attemptRow struct {
	ID        ID        `json:"id"`
	Step      string    `json:"step"`
	EffectID  *ID       `json:"effect_id,omitzero"`
	Method    string    `json:"method"`
	Path      string    `json:"path"`
	Status    int       `json:"status"`
	ErrorKind string    `json:"error_kind,omitzero"`
	Error     string    `json:"error"`
	RequestID string    `json:"request_id"`
	At        time.Time `json:"at"`
	TookUS    int64     `json:"took_us"`
}

// saveProgress has two forms: of a run that goes on, and of one that leaves.
const saveProgress = `WITH held AS (
		UPDATE runs SET version = version + jsonb_array_length($6::jsonb)%s
		WHERE org_id = $1 AND id = $2 AND fence = $3 AND ended_at IS NULL RETURNING *),
	saved AS (
		UPDATE steps s SET state = x.state, waiting_reason = x.waiting_reason, wake_at = x.wake_at, reserved_at = x.reserved_at,
			reserved_account = x.reserved_account, tries = x.tries, input = x.input, output = x.output, reason = x.reason,
			error_kind = x.error_kind, error = x.error, started_at = x.started_at, ended_at = x.ended_at
		FROM held, jsonb_to_recordset($4::jsonb) AS x (key text, state text, waiting_reason text, wake_at timestamptz, reserved_at timestamptz,
			reserved_account uuid, tries int, input jsonb, output jsonb, reason text, error_kind text, error text, started_at timestamptz, ended_at timestamptz)
		WHERE s.org_id = held.org_id AND s.run_id = held.id AND s.key = x.key),
	made AS (
		INSERT INTO attempts (org_id, id, run_id, step, effect_id, method, path, status, error_kind, error, request_id, at, took_us)
		SELECT held.org_id, x.id, held.id, x.step, x.effect_id, x.method, x.path, x.status, x.error_kind, x.error, x.request_id, x.at, x.took_us
		FROM held, jsonb_to_recordset($5::jsonb) AS x (id uuid, step text, effect_id uuid, method text, path text, status int, error_kind text,
			error text, request_id text, at timestamptz, took_us bigint)),
	told AS (
		INSERT INTO changes (org_id, run_id, flow_id, flow_link_id, connection_id, source, version, state, waiting_reason, wake_at, step, step_state)
		SELECT h.org_id, h.id, h.flow_id, h.flow_link_id, h.connection_id, h.source, h.version - jsonb_array_length($6::jsonb) + x.n,
			coalesce(t.state, h.state), t.waiting_reason, t.wake_at, t.step, t.step_state
		FROM held h, jsonb_array_elements($6::jsonb) WITH ORDINALITY AS x (o, n),
			jsonb_to_record(x.o) AS t (state text, waiting_reason text, wake_at timestamptz, step text, step_state text)
		ORDER BY x.n)
	SELECT version, state%s FROM held`

var (
	goesOn = fmt.Sprintf(saveProgress, "", "")
	leaves = fmt.Sprintf(saveProgress, `, state = $7, waiting_reason = $8, wake_at = $9, due_at = $10, error_kind = $11, error = $12, ended_at = $13,
		failed_items = $14, progress = $15, lease_until = NULL`, `, EXISTS (SELECT FROM runs w WHERE w.org_id = $1 AND w.flow_link_id = held.flow_link_id AND w.lane = held.lane
			AND w.ended_at IS NULL AND w.waiting_reason = 'LANE') AS followed`)
)

// SaveProgress writes what an activation has to say, in one statement. ErrNotFound when its fence is old.
func SaveProgress(ctx context.Context, tx Tx, p *Progress) error {
	*tx.told = true
	r, steps, attempts := p.Run, make([]stepRow, len(p.Steps)), make([]attemptRow, len(p.Attempts))
	for i, s := range p.Steps {
		steps[i] = stepRow{
			s.Key, s.State, s.WaitingReason, s.WakeAt, s.ReservedAt, orNull(s.ReservedAccount), s.Tries, s.Input, s.Output, s.Reason, s.ErrorKind, s.Error, s.StartedAt, s.EndedAt,
		}
	}
	for i, a := range p.Attempts {
		attempts[i] = attemptRow{a.ID, a.Step, orNull(a.EffectID), a.Method, a.Path, a.Status, a.ErrorKind, a.Error, a.RequestID, a.At, a.TookUS}
	}
	given, err := documents(steps, attempts, append([]Told{}, p.Told...))
	if err != nil {
		return err
	}
	sql, args := goesOn, append([]any{r.OrgID, r.ID, r.Fence}, given...)
	if p.Leaves {
		sql = leaves
		args = append(args, r.State, orNull(r.WaitingReason), orNull(r.WakeAt), orNull(r.DueAt), orNull(r.ErrorKind), r.Error, orNull(r.EndedAt), r.FailedItems, r.Progress)
	}
	type saved struct {
		Version  int64
		State    string
		Followed bool
	}
	now, err := in[saved](ctx, tx, sql, args...)
	if err != nil {
		return err
	}
	r.Version, r.State, p.Followed = now.Version, now.State, now.Followed
	return nil
}

// ConfirmEffect writes that an effect happened, and puts what it made into the slots it had claimed. It wakes runs that
// wait for a slot of its mapping and answers them, queued. ErrConflict says that not every slot could be filled: it holds
// another record, or the record is in another's; fill them one by one to learn which.
func ConfirmEffect(ctx context.Context, tx Tx, e *Effect, slots []Slot) ([]Run, error) {
	type slot struct {
		Entity     string `json:"entity"`
		Role       string `json:"role"`
		ExternalID string `json:"external_id"`
		Name       string `json:"name"`
		Attributes Texts  `json:"attributes"`
	}
	fill := make([]slot, len(slots))
	for i, s := range slots {
		fill[i] = slot{s.Entity, s.Role, s.ExternalID, s.Name, s.Attributes}
		if s.Attributes == nil {
			fill[i].Attributes = Texts{}
		}
	}
	given, err := documents(fill)
	if err != nil {
		return nil, err
	}
	var mapping *ID // nobody waits for what is no record
	if len(slots) > 0 {
		mapping = orNull(e.MappingID)
	}
	type woken struct {
		Run
		Filled int
	}
	// The look at other slots is counted: a NOT EXISTS would be planned as a join with all of them while they are few.
	found, err := manyIn[woken](ctx, tx, `WITH done AS (
			UPDATE effects SET state = 'CONFIRMED', external_id = $3, ref = $4, request = NULL, absent_at = NULL, error_kind = NULL, error = '', updated_at = now()
			WHERE org_id = $1 AND id = $2),
		filled AS (
			UPDATE mapping_slots s SET external_id = x.external_id, name = x.name, attributes = s.attributes || x.attributes, filled_at = coalesce(s.filled_at, now())
			FROM jsonb_to_recordset($5::jsonb) AS x (entity text, role text, external_id text, name text, attributes jsonb)
			WHERE s.org_id = $1 AND s.effect_id = $2 AND s.entity = x.entity AND s.role = x.role AND (s.external_id IS NULL OR s.external_id = x.external_id)
				AND (SELECT count(*) FROM mapping_slots o WHERE o.org_id = $1 AND o.vendor_account_id = $6 AND o.entity = x.entity
					AND o.external_id = x.external_id AND o.effect_id IS DISTINCT FROM $2) = 0
			RETURNING s.effect_id),
		woken AS (
			UPDATE runs SET state = 'QUEUED', waiting_reason = NULL, wake_at = NULL, version = version + 1, due_at = now() + interval '10 seconds'
			WHERE org_id = $1 AND mapping_id = $7 AND state = 'WAITING' AND waiting_reason = 'DEPENDENCY' RETURNING *)
		SELECT (SELECT count(*) FROM filled) AS filled, w.* FROM (SELECT) one LEFT JOIN woken w ON true`,
		e.OrgID, e.ID, orNull(e.ExternalID), e.Ref, given[0], e.VendorAccountID, mapping)
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

// SendEffect commits that an effect is about to be sent, and with a new one's row claims its slots. The call can be in the
// air until send_until, by the database's clock. ErrConflict says that a slot is claimed or filled already.
func SendEffect(ctx context.Context, tx Tx, e *Effect, timeout time.Duration, insert bool, slots []Slot) error {
	if !insert {
		sent, err := in[Effect](ctx, tx, `UPDATE effects SET state = $3, generation = $4, request = $5, error_kind = NULL, error = '', absent_at = NULL, updated_at = now(),
				sent_at = clock_timestamp(), send_until = clock_timestamp() + make_interval(secs => $6)
			WHERE org_id = $1 AND id = $2 AND state <> 'CONFIRMED' RETURNING sent_at, send_until`,
			e.OrgID, e.ID, e.State, e.Generation, e.Request, timeout.Seconds())
		e.SentAt, e.SendUntil = sent.SentAt, sent.SendUntil
		return err
	}
	type claim struct {
		MappingID ID     `json:"mapping_id"`
		Entity    string `json:"entity"`
		Role      string `json:"role"`
		OwnID     string `json:"own_id,omitzero"`
		EventID   *ID    `json:"event_id,omitzero"`
	}
	claims := make([]claim, len(slots))
	for i, s := range slots {
		claims[i] = claim{s.MappingID, s.Entity, s.Role, s.OwnID, orNull(s.EventID)}
	}
	given, err := documents(claims)
	if err != nil {
		return err
	}
	type sent struct {
		SentAt, SendUntil time.Time
		Claimed           int
	}
	s, err := in[sent](ctx, tx, `WITH e AS (
			INSERT INTO effects (org_id, id, vendor_account_id, connection_id, run_id, step, mapping_id, kind, key, generation, state, entity, request, chain, sent_at, send_until)
			VALUES ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14, clock_timestamp(), clock_timestamp() + make_interval(secs => $15)) RETURNING *),
		claimed AS (
			INSERT INTO mapping_slots (org_id, mapping_id, vendor_account_id, entity, role, own_id, effect_id, event_id, run_id, step)
			SELECT e.org_id, x.mapping_id, e.vendor_account_id, x.entity, x.role, x.own_id, e.id, x.event_id, e.run_id, e.step
			FROM e, jsonb_to_recordset($16::jsonb) AS x (mapping_id uuid, entity text, role text, own_id text, event_id uuid)
			ON CONFLICT DO NOTHING RETURNING effect_id)
		SELECT sent_at, send_until, (SELECT count(*) FROM claimed) AS claimed FROM e`, append([]any{
		e.OrgID, e.ID, e.VendorAccountID, e.ConnectionID, orNull(e.RunID), orNull(e.Step), orNull(e.MappingID), e.Kind, e.Key, e.Generation, e.State, e.Entity, e.Request, e.Chain,
		timeout.Seconds(),
	}, given...)...)
	if err != nil {
		return err
	}
	e.SentAt, e.SendUntil = s.SentAt, s.SendUntil
	if s.Claimed < len(slots) {
		return ErrConflict
	}
	return nil
}

// orNull is nil for the zero value.
func orNull[T comparable](v T) *T {
	var zero T
	if v == zero {
		return nil
	}
	return &v
}

// documents are values as jsonb takes them.
func documents(values ...any) ([]any, error) {
	out := make([]any, len(values))
	var errs []error
	for i, v := range values {
		raw, err := json.Marshal(v)
		out[i], errs = string(WithoutNUL(raw)), append(errs, err)
	}
	return out, errors.Join(errs...)
}
