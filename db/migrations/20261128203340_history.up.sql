-- The history of a run holds no secrets and no endless payloads. What a step answered with in full is kept beside it, sealed, for
-- as long as a later step may read it. A call says through which connection it was made, so that its vendor's log can be found.
ALTER TABLE flow_links ADD COLUMN redact text[] NOT NULL DEFAULT '{}';
ALTER TABLE steps ADD COLUMN redacted boolean NOT NULL DEFAULT false;
ALTER TABLE attempts ADD COLUMN connection_id uuid;

CREATE TABLE step_outputs (
  org_id uuid NOT NULL,
  id     uuid NOT NULL,
  run_id uuid NOT NULL,
  step   text NOT NULL,
  box    bytea NOT NULL, -- sealed
  PRIMARY KEY (org_id, id),
  UNIQUE (org_id, run_id, step),
  FOREIGN KEY (org_id, run_id) REFERENCES runs (org_id, id)
);
