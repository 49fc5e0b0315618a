-- Replays of many runs: what was asked for, and how far making the runs has come. It is kept for as long as the runs are.
CREATE TABLE replays (
  org_id      uuid NOT NULL REFERENCES organizations,
  id          uuid NOT NULL,
  filter      jsonb NOT NULL,
  matched     int NOT NULL,             -- runs that were counted at first
  made        int NOT NULL DEFAULT 0,   -- runs made so far
  skips       jsonb NOT NULL DEFAULT '{}', -- why some were left out, and how many for each reason
  at          uuid,                     -- the last run that was dealt with
  due_at      timestamptz,              -- when somebody must go on with it; none once it is finished
  finished_at timestamptz,
  created_at  timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);
CREATE INDEX replays_due ON replays (due_at) WHERE due_at IS NOT NULL;
