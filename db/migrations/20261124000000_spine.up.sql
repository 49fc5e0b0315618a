-- The spine: who (organizations, tokens), with what (vendor accounts, connections), what should happen (flows, links),
-- what came in (events), what was done (runs, steps, effects, attempts), who is who (mappings), and the live feed (changes).
--
-- Every table has org_id and every foreign key carries it, so that a row can never point into another organization.
-- Ids are UUIDv7: they sort by time, so the last id of a page is its cursor.
-- due_at, where a table has it, is when the sweeper must look at the row next; null when nothing is due.

CREATE TABLE organizations (
  org_id      uuid PRIMARY KEY,
  name        text NOT NULL,
  created_at  timestamptz NOT NULL DEFAULT now()
);

CREATE TABLE api_tokens (
  org_id       uuid NOT NULL REFERENCES organizations,
  id           uuid NOT NULL,
  name         text NOT NULL,
  hash         bytea NOT NULL UNIQUE,
  hint         text NOT NULL,
  scopes       text[] NOT NULL,
  expires_at   timestamptz,
  last_used_at timestamptz,
  revoked_at   timestamptz,
  created_at   timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);

-- A mutation's claim on its idempotency key: made before the work, so that a second caller waits or replays.
CREATE TABLE claims (
  org_id          uuid NOT NULL REFERENCES organizations,
  id              uuid NOT NULL,
  token_id        uuid NOT NULL,
  field           text NOT NULL,
  idempotency_key text NOT NULL,
  input_hash      bytea NOT NULL,
  lease_until     timestamptz,
  done_at         timestamptz,
  object_id       text,
  user_errors     jsonb,
  created_at      timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, token_id, field, idempotency_key),
  FOREIGN KEY (org_id, token_id) REFERENCES api_tokens (org_id, id)
);
CREATE INDEX claims_old ON claims (created_at);

CREATE TABLE audit_log (
  org_id     uuid NOT NULL REFERENCES organizations,
  id         uuid NOT NULL,
  at         timestamptz NOT NULL DEFAULT now(),
  token_id   uuid,
  actor      text NOT NULL,
  field      text NOT NULL,
  object_id  text,
  input      jsonb,
  outcome    text NOT NULL,
  request_id text NOT NULL DEFAULT '',
  PRIMARY KEY (org_id, id)
);

-- What a connection opens. Two keys of one account are two connections and one vendor account, and mappings, effects
-- and the budget of calls hang on the account.
CREATE TABLE vendor_accounts (
  org_id      uuid NOT NULL REFERENCES organizations,
  id          uuid NOT NULL,
  app         text NOT NULL,
  external_id text NOT NULL,
  mode        text NOT NULL CHECK (mode IN ('live', 'test')),
  name        text NOT NULL DEFAULT '',
  -- GCRA: the theoretical arrival time of the next call, over all processes.
  tat         timestamptz NOT NULL DEFAULT '-infinity',
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, app, external_id, mode)
);

CREATE TABLE connections (
  org_id             uuid NOT NULL REFERENCES organizations,
  id                 uuid NOT NULL,
  app                text NOT NULL,
  name               text NOT NULL,
  vendor_account_id  uuid NOT NULL,
  state              text NOT NULL CHECK (state IN ('PENDING', 'ACTIVE', 'NEEDS_REAUTH', 'ERROR', 'DISABLED')),
  state_reason       text NOT NULL DEFAULT '',
  credentials        bytea,
  hints              jsonb NOT NULL DEFAULT '{}',
  permissions        jsonb NOT NULL DEFAULT '[]',
  webhook_token_hash bytea NOT NULL UNIQUE,
  webhook_token      bytea NOT NULL,
  webhook_state      text NOT NULL CHECK (webhook_state IN ('REGISTERED', 'MANUAL', 'MISSING')),
  webhook_error      text NOT NULL DEFAULT '',
  webhook_id         text NOT NULL DEFAULT '',
  webhook_secrets    bytea,
  webhook_generation int NOT NULL DEFAULT 0,
  webhook_seen_at    timestamptz,
  ignored            bigint NOT NULL DEFAULT 0,
  ignored_reason     text NOT NULL DEFAULT '',
  refused            bigint NOT NULL DEFAULT 0,
  refused_reason     text NOT NULL DEFAULT '',
  last_event_at      timestamptz,
  tested_at          timestamptz,
  created_at         timestamptz NOT NULL DEFAULT now(),
  updated_at         timestamptz NOT NULL DEFAULT now(),
  deleted_at         timestamptz,
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id)
);
CREATE UNIQUE INDEX connections_name ON connections (org_id, lower(name)) WHERE deleted_at IS NULL;
CREATE INDEX connections_account ON connections (org_id, vendor_account_id);
CREATE INDEX connections_app ON connections (org_id, app, id) WHERE deleted_at IS NULL;

-- How far reading has come, per connection and trigger.
CREATE TABLE cursors (
  org_id        uuid NOT NULL,
  connection_id uuid NOT NULL,
  trigger       text NOT NULL,
  cursor        text NOT NULL DEFAULT '',
  based_at      timestamptz,
  swept_at      timestamptz,
  read_at       timestamptz,
  error         text NOT NULL DEFAULT '',
  due_at        timestamptz DEFAULT now(),
  lease_until   timestamptz,
  PRIMARY KEY (org_id, connection_id, trigger),
  FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id)
);
CREATE INDEX cursors_due ON cursors (due_at) WHERE due_at IS NOT NULL;

CREATE TABLE flows (
  org_id      uuid NOT NULL REFERENCES organizations,
  id          uuid NOT NULL,
  key         text NOT NULL,
  kind        text NOT NULL CHECK (kind IN ('SHIPPED', 'CUSTOM')),
  direction   text NOT NULL CHECK (direction IN ('INBOUND', 'OUTBOUND')),
  name        text NOT NULL,
  description text NOT NULL DEFAULT '',
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, key)
);

CREATE TABLE flow_versions (
  org_id     uuid NOT NULL,
  id         uuid NOT NULL,
  flow_id    uuid NOT NULL,
  number     int NOT NULL,
  definition jsonb NOT NULL,
  hash       bytea NOT NULL,
  created_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, flow_id, number),
  FOREIGN KEY (org_id, flow_id) REFERENCES flows (org_id, id)
);

CREATE TABLE flow_links (
  org_id                uuid NOT NULL,
  id                    uuid NOT NULL,
  flow_id               uuid NOT NULL,
  name                  text NOT NULL,
  trigger_connection_id uuid NOT NULL,
  trigger               text NOT NULL,
  params                jsonb NOT NULL DEFAULT '{}',
  enabled               boolean NOT NULL DEFAULT false,
  enabled_at            timestamptz,
  last_event_at         timestamptz,
  last_success_at       timestamptz,
  failing_since         timestamptz,
  created_at            timestamptz NOT NULL DEFAULT now(),
  updated_at            timestamptz NOT NULL DEFAULT now(),
  deleted_at            timestamptz,
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, flow_id) REFERENCES flows (org_id, id),
  FOREIGN KEY (org_id, trigger_connection_id) REFERENCES connections (org_id, id)
);
CREATE UNIQUE INDEX flow_links_name ON flow_links (org_id, flow_id, lower(name)) WHERE deleted_at IS NULL;
CREATE INDEX flow_links_trigger ON flow_links (org_id, trigger_connection_id, trigger) WHERE enabled AND deleted_at IS NULL;
CREATE INDEX flow_links_connection ON flow_links (org_id, trigger_connection_id, id) WHERE deleted_at IS NULL;
CREATE INDEX flow_links_flow ON flow_links (org_id, flow_id, id) WHERE deleted_at IS NULL;

-- Which connection a step of the link's flow uses.
CREATE TABLE flow_link_steps (
  org_id        uuid NOT NULL,
  flow_link_id  uuid NOT NULL,
  step          text NOT NULL,
  connection_id uuid NOT NULL,
  PRIMARY KEY (org_id, flow_link_id, step),
  FOREIGN KEY (org_id, flow_link_id) REFERENCES flow_links (org_id, id),
  FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id)
);
CREATE INDEX flow_link_steps_connection ON flow_link_steps (org_id, connection_id);

CREATE TABLE events (
  org_id        uuid NOT NULL,
  id            uuid NOT NULL,
  connection_id uuid NOT NULL,
  flow_link_id  uuid, -- set when it was made by hand for one link
  trigger       text NOT NULL,
  dedupe_key    text NOT NULL,
  source        text NOT NULL CHECK (source IN ('WEBHOOK', 'CATCH_UP', 'BASELINE', 'MANUAL', 'SCHEDULE')),
  vendor_type   text NOT NULL DEFAULT '',
  vendor_at     timestamptz NOT NULL,
  received_at   timestamptz NOT NULL DEFAULT now(),
  repeats       int NOT NULL DEFAULT 0,
  entity        text NOT NULL DEFAULT '',
  record_id     text NOT NULL DEFAULT '',
  record_name   text NOT NULL DEFAULT '',
  echo_of       uuid, -- the effect whose change it reports
  dispatched_at timestamptz,
  error         text NOT NULL DEFAULT '',
  due_at        timestamptz,
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, connection_id, dedupe_key),
  FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id),
  FOREIGN KEY (org_id, flow_link_id) REFERENCES flow_links (org_id, id)
);
CREATE INDEX events_due ON events (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX events_connection ON events (org_id, connection_id, id);
CREATE INDEX events_received ON events (received_at);

-- Bodies are large and short-lived: partitioned by time, without foreign keys, so that a month goes by dropping it.
CREATE TABLE event_bodies (
  org_id   uuid NOT NULL,
  event_id uuid NOT NULL,
  at       timestamptz NOT NULL,
  body     bytea NOT NULL,
  PRIMARY KEY (org_id, event_id, at)
) PARTITION BY RANGE (at);
CREATE TABLE event_bodies_default PARTITION OF event_bodies DEFAULT;

CREATE TABLE mappings (
  org_id     uuid NOT NULL REFERENCES organizations,
  id         uuid NOT NULL,
  entity     text NOT NULL,
  name       text NOT NULL DEFAULT '',
  parent_id  uuid,
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, parent_id) REFERENCES mappings (org_id, id)
);
CREATE INDEX mappings_parent ON mappings (org_id, parent_id, id) WHERE parent_id IS NOT NULL;
CREATE INDEX mappings_entity ON mappings (org_id, entity, id);

CREATE TABLE runs (
  org_id          uuid NOT NULL,
  id              uuid NOT NULL,
  flow_id         uuid NOT NULL,
  flow_version_id uuid NOT NULL,
  flow_link_id    uuid NOT NULL,
  connection_id   uuid NOT NULL, -- the trigger's
  event_id        uuid NOT NULL,
  event_at        timestamptz NOT NULL, -- received_at of the event, to find its body's partition
  source          text NOT NULL,
  business_key    text NOT NULL,
  replay          int NOT NULL DEFAULT 0,
  lane            text NOT NULL,
  entity          text NOT NULL,
  record_id       text NOT NULL,
  record_name     text NOT NULL DEFAULT '',
  vendor_at       timestamptz NOT NULL,
  mapping_id      uuid,
  state           text NOT NULL CHECK (state IN ('QUEUED', 'RUNNING', 'WAITING', 'CANCELLING', 'CANCELLED', 'SUCCEEDED', 'FAILED', 'SUPPRESSED')),
  waiting_reason  text CHECK (waiting_reason IN ('RETRY', 'REAUTH', 'LANE', 'DEPENDENCY', 'RATE', 'PERSON')),
  wake_at         timestamptz,
  due_at          timestamptz,
  lease_until     timestamptz,
  fence           bigint NOT NULL DEFAULT 0,
  version         bigint NOT NULL DEFAULT 1,
  echo_of         uuid,
  chain           uuid[] NOT NULL DEFAULT '{}', -- the vendor accounts an echo has come through
  failed_items    int NOT NULL DEFAULT 0,
  progress        jsonb,
  error_kind      text,
  error           text NOT NULL DEFAULT '',
  created_at      timestamptz NOT NULL DEFAULT now(),
  started_at      timestamptz,
  ended_at        timestamptz,
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, flow_link_id, business_key, replay),
  CHECK ((state = 'WAITING') = (waiting_reason IS NOT NULL)),
  FOREIGN KEY (org_id, flow_id) REFERENCES flows (org_id, id),
  FOREIGN KEY (org_id, flow_version_id) REFERENCES flow_versions (org_id, id),
  FOREIGN KEY (org_id, flow_link_id) REFERENCES flow_links (org_id, id),
  FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id),
  FOREIGN KEY (org_id, event_id) REFERENCES events (org_id, id),
  FOREIGN KEY (org_id, mapping_id) REFERENCES mappings (org_id, id)
);
CREATE INDEX runs_due ON runs (due_at) WHERE due_at IS NOT NULL;
CREATE INDEX runs_lane ON runs (org_id, flow_link_id, lane, vendor_at, id) WHERE ended_at IS NULL;
CREATE INDEX runs_flow_link ON runs (org_id, flow_link_id, id);
CREATE INDEX runs_flow ON runs (org_id, flow_id, id);
CREATE INDEX runs_connection ON runs (org_id, connection_id, id);
CREATE INDEX runs_state ON runs (org_id, state, id);
CREATE INDEX runs_event ON runs (org_id, event_id);
CREATE INDEX runs_mapping ON runs (org_id, mapping_id, id) WHERE mapping_id IS NOT NULL;

-- What became of an event at each enabled link. A filtered event has no run.
CREATE TABLE event_outcomes (
  org_id       uuid NOT NULL,
  event_id     uuid NOT NULL,
  flow_link_id uuid NOT NULL,
  outcome      text NOT NULL CHECK (outcome IN ('RUN', 'FILTERED', 'IGNORED', 'DUPLICATE', 'HELD')),
  reason       text NOT NULL DEFAULT '',
  run_id       uuid,
  at           timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, event_id, flow_link_id),
  FOREIGN KEY (org_id, event_id) REFERENCES events (org_id, id),
  FOREIGN KEY (org_id, flow_link_id) REFERENCES flow_links (org_id, id),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);

CREATE TABLE steps (
  org_id            uuid NOT NULL,
  run_id            uuid NOT NULL,
  key               text NOT NULL,
  position          int NOT NULL,
  app               text NOT NULL,
  action            text NOT NULL,
  connection_id     uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  state             text NOT NULL DEFAULT 'PENDING' CHECK (state IN ('PENDING', 'RUNNING', 'WAITING', 'SUCCEEDED', 'ADOPTED', 'SKIPPED', 'FAILED', 'CANCELLED')),
  waiting_reason    text CHECK (waiting_reason IN ('RETRY', 'REAUTH', 'LANE', 'DEPENDENCY', 'RATE', 'PERSON')),
  wake_at           timestamptz,
  reserved_at       timestamptz, -- the start that a vendor account's budget gave, kept until it is used
  reserved_account  uuid,
  tries             int NOT NULL DEFAULT 0,
  input             jsonb,
  output            jsonb,
  reason            text NOT NULL DEFAULT '',
  error_kind        text,
  error             text NOT NULL DEFAULT '',
  started_at        timestamptz,
  ended_at          timestamptz,
  PRIMARY KEY (org_id, run_id, key),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
  FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id),
  FOREIGN KEY (org_id, reserved_account) REFERENCES vendor_accounts (org_id, id)
);
CREATE INDEX steps_reauth ON steps (org_id, connection_id) WHERE waiting_reason = 'REAUTH';

-- One write to a third party, kept before it is sent. key says what it is, so that no second live effect can be it.
CREATE TABLE effects (
  org_id            uuid NOT NULL,
  id                uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  connection_id     uuid NOT NULL,
  run_id            uuid, -- null for an effect of the connection itself
  step              text,
  mapping_id        uuid,
  kind              text NOT NULL CHECK (kind IN ('CREATE', 'SET', 'APPEND')),
  key               text NOT NULL,
  generation        int NOT NULL DEFAULT 0,
  state             text NOT NULL CHECK (state IN ('PLANNED', 'SENT', 'CONFIRMED', 'REFUSED', 'UNKNOWN', 'ABSENT', 'CONFLICT', 'GIVEN_UP')),
  entity            text NOT NULL,
  external_id       text,
  ref               jsonb,
  request           bytea, -- sealed; removed when the effect is final
  sent_at           timestamptz,
  send_until        timestamptz,
  absent_at         timestamptz, -- when the first probe found nothing
  chain             uuid[] NOT NULL DEFAULT '{}', -- the vendor accounts up to and with this one
  error_kind        text,
  error             text NOT NULL DEFAULT '',
  created_at        timestamptz NOT NULL DEFAULT now(),
  updated_at        timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id),
  FOREIGN KEY (org_id, connection_id) REFERENCES connections (org_id, id),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
  FOREIGN KEY (org_id, mapping_id) REFERENCES mappings (org_id, id)
);
CREATE UNIQUE INDEX effects_key ON effects (org_id, vendor_account_id, key) WHERE state NOT IN ('REFUSED', 'GIVEN_UP');
CREATE INDEX effects_run ON effects (org_id, run_id, id);
CREATE INDEX effects_mapping ON effects (org_id, mapping_id, id) WHERE mapping_id IS NOT NULL;
CREATE INDEX effects_connection ON effects (org_id, connection_id, id);

-- Each call made for a step, or for the connection itself: what was asked, what came back, how long it took.
CREATE TABLE attempts (
  org_id     uuid NOT NULL,
  id         uuid NOT NULL,
  run_id     uuid NOT NULL,
  step       text NOT NULL,
  effect_id  uuid,
  method     text NOT NULL,
  path       text NOT NULL,
  status     int NOT NULL,
  error_kind text,
  error      text NOT NULL DEFAULT '',
  request_id text NOT NULL DEFAULT '',
  at         timestamptz NOT NULL,
  took_us    bigint NOT NULL,
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
  FOREIGN KEY (org_id, effect_id) REFERENCES effects (org_id, id)
);
CREATE INDEX attempts_run ON attempts (org_id, run_id, id);
CREATE INDEX attempts_effect ON attempts (org_id, effect_id, id) WHERE effect_id IS NOT NULL;

-- One record's identity in one system. Claimed by an effect before its call, filled after; own_id is the id we chose for
-- it, known before the call has returned.
CREATE TABLE mapping_slots (
  org_id            uuid NOT NULL,
  mapping_id        uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  entity            text NOT NULL,
  role              text NOT NULL DEFAULT '',
  external_id       text,
  own_id            text,
  name              text NOT NULL DEFAULT '',
  attributes        jsonb NOT NULL DEFAULT '{}',
  effect_id         uuid,
  event_id          uuid,
  run_id            uuid,
  step              text,
  claimed_at        timestamptz NOT NULL DEFAULT now(),
  filled_at         timestamptz,
  PRIMARY KEY (org_id, mapping_id, vendor_account_id, entity, role),
  FOREIGN KEY (org_id, mapping_id) REFERENCES mappings (org_id, id),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id),
  FOREIGN KEY (org_id, effect_id) REFERENCES effects (org_id, id),
  FOREIGN KEY (org_id, event_id) REFERENCES events (org_id, id),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
CREATE UNIQUE INDEX mapping_slots_external ON mapping_slots (org_id, vendor_account_id, entity, external_id) WHERE external_id IS NOT NULL;
CREATE INDEX mapping_slots_lookup ON mapping_slots (org_id, external_id, entity) WHERE external_id IS NOT NULL;
CREATE INDEX mapping_slots_own ON mapping_slots (org_id, vendor_account_id, entity, own_id) WHERE own_id IS NOT NULL;
CREATE INDEX mapping_slots_effect ON mapping_slots (org_id, effect_id) WHERE effect_id IS NOT NULL;

-- The live feed. A row is written with the change it tells of; pos is given later, by whoever is woken, in commit order:
-- one more than the highest there is, which is why pruning never removes the newest row.
CREATE TABLE changes (
  org_id         uuid NOT NULL,
  id             bigint GENERATED ALWAYS AS IDENTITY,
  pos            bigint,
  run_id         uuid NOT NULL,
  flow_id        uuid NOT NULL,
  flow_link_id   uuid NOT NULL,
  connection_id  uuid NOT NULL,
  source         text NOT NULL,
  version        bigint NOT NULL,
  state          text NOT NULL,
  waiting_reason text,
  wake_at        timestamptz,
  step           text,
  step_state     text,
  progress       jsonb,
  at             timestamptz NOT NULL DEFAULT clock_timestamp(),
  PRIMARY KEY (org_id, id)
);
CREATE UNIQUE INDEX changes_pos ON changes (pos) WHERE pos IS NOT NULL;
CREATE INDEX changes_unnumbered ON changes (id) WHERE pos IS NULL;
CREATE INDEX changes_run ON changes (org_id, run_id, pos);

ALTER TABLE events ADD FOREIGN KEY (org_id, echo_of) REFERENCES effects (org_id, id);
ALTER TABLE runs ADD FOREIGN KEY (org_id, echo_of) REFERENCES effects (org_id, id);
