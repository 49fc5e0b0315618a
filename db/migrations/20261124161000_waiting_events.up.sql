-- How much of an organization waits to be dispatched: who has little waiting goes first.
CREATE INDEX events_waiting ON events (org_id) WHERE due_at IS NOT NULL;
