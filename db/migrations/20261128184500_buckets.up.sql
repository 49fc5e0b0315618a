-- A vendor account's budget of calls has several buckets: its own, one for bulk work, and those of calls that count
-- apart. tat paces calls; line is where the next run that begins would stand, which may be hours away while calls are
-- paced within a second. They take the place of the one tat in budgets.
CREATE TABLE buckets (
  org_id            uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  bucket            text NOT NULL, -- empty: the account's own
  tat               timestamptz NOT NULL DEFAULT '-infinity',
  line              timestamptz NOT NULL DEFAULT '-infinity',
  parts             jsonb NOT NULL DEFAULT '{}', -- tats of narrower limits, by name, in seconds since 1970
  begun             float8 NOT NULL DEFAULT 1, -- runs that began lately, and the calls that they made here
  calls             float8 NOT NULL DEFAULT 2,
  ok                boolean NOT NULL DEFAULT true, -- what the last draw came to, which is how it learns of it
  start             timestamptz NOT NULL DEFAULT '-infinity',
  at                timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (org_id, vendor_account_id, bucket),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id)
) WITH (fillfactor = 10);

INSERT INTO buckets (org_id, vendor_account_id, bucket, tat) SELECT org_id, vendor_account_id, '', tat FROM budgets;

-- Calls in the air, where a vendor limits how many there may be at once: a row for each that may. One that its process does
-- not give back is free again when the call can no longer be in the air.
CREATE TABLE call_leases (
  org_id            uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  n                 int NOT NULL,
  lease_until       timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (org_id, vendor_account_id, n),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id)
) WITH (fillfactor = 10);

-- Who stands in which line, and where. The row is touched only by those who do.
ALTER TABLE steps ADD COLUMN reserved_bucket text NOT NULL DEFAULT '';
CREATE INDEX steps_reserved ON steps (org_id, reserved_account, reserved_bucket, reserved_at) WHERE reserved_at IS NOT NULL;
