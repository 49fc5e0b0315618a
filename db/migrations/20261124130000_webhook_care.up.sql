-- Care for webhooks: endpoints at vendors are looked at again and again, repaired, and removed with their connection even
-- when the vendor was away at the time; signing secrets overlap while one is rotated; and reading can be asked for.

ALTER TABLE connections
  ADD COLUMN care_at timestamptz, -- when the endpoint must be looked at next; of a deleted connection, when it is removed
  ADD COLUMN cared_at timestamptz, -- when a look last went well
  ADD COLUMN care_lease timestamptz, -- until when one worker has the endpoint to itself
  ADD COLUMN webhook_made_at timestamptz, -- when the endpoint was last made
  ADD COLUMN webhook_refused int NOT NULL DEFAULT 0, -- bad signatures since a good one
  ADD COLUMN webhook_old_until timestamptz; -- how long secrets beside the first are taken
CREATE INDEX connections_care ON connections (care_at) WHERE care_at IS NOT NULL;

ALTER TABLE cursors
  ADD COLUMN walk text NOT NULL DEFAULT '', -- where a walk stands that goes on in another job
  ADD COLUMN asked_at timestamptz; -- when somebody asked for a reading, until one that began later is done

-- MANUAL now says that a person gave a secret.
UPDATE connections SET webhook_state = 'MISSING', webhook_error = '' WHERE webhook_state = 'MANUAL' AND webhook_secrets IS NULL;
UPDATE connections SET care_at = now() + random() * interval '5 minutes' WHERE deleted_at IS NULL;
