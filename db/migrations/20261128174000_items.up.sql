-- Runs over many records. A step that lists keeps in walk how far it has come, saved page by page. A record that could not be
-- dealt with, or not yet, has a row in run_items; the many that could are only counted, as effects and mappings tell of them.
-- run_known is what the other side held when the run began: ids, and e-mail addresses as hashes. It goes when the run ends.

ALTER TABLE steps ADD COLUMN walk jsonb;

CREATE TABLE run_items (
  org_id     uuid NOT NULL,
  id         uuid NOT NULL,
  run_id     uuid NOT NULL,
  step       text NOT NULL, -- the one that lists
  entity     text NOT NULL,
  key        text NOT NULL, -- the record's id
  name       text NOT NULL DEFAULT '',
  state      text NOT NULL CHECK (state IN ('PENDING', 'POSSIBLE_DUPLICATE', 'FAILED')),
  error_kind text,
  message    text NOT NULL DEFAULT '',
  request_id text NOT NULL DEFAULT '',
  mapping_id uuid,
  tries      int NOT NULL DEFAULT 0,
  due_at     timestamptz, -- when a PENDING one is tried again
  created_at timestamptz NOT NULL DEFAULT now(),
  updated_at timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, run_id, step, key),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
  FOREIGN KEY (org_id, mapping_id) REFERENCES mappings (org_id, id)
);
CREATE INDEX run_items_run ON run_items (org_id, run_id, id);
CREATE INDEX run_items_state ON run_items (org_id, run_id, state, id);
CREATE INDEX run_items_due ON run_items (org_id, run_id, due_at) WHERE state = 'PENDING';
CREATE INDEX run_items_mapping ON run_items (org_id, mapping_id) WHERE mapping_id IS NOT NULL;

CREATE TABLE run_known (
  org_id            uuid NOT NULL,
  run_id            uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  entity            text NOT NULL,
  external_id       text NOT NULL,
  parent_id         text, -- of the record it hangs below
  email_hash             bytea, -- the beginning of a SHA-256
  PRIMARY KEY (org_id, run_id, vendor_account_id, entity, external_id),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id)
);
CREATE INDEX run_known_email ON run_known (org_id, run_id, vendor_account_id, email_hash) WHERE email_hash IS NOT NULL;
CREATE INDEX run_known_parent ON run_known (org_id, run_id, vendor_account_id, parent_id) WHERE parent_id IS NOT NULL;
