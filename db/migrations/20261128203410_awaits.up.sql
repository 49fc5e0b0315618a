-- A run that waits for a record may wait for another's than its own: a subscription for its account's. The mapping it waits
-- for is kept, so that whoever fills or releases a slot of it wakes the run at once. It is no reference: nothing is lost when
-- that mapping goes, as the run looks again by itself, too.
ALTER TABLE runs ADD COLUMN awaits uuid;
UPDATE runs SET awaits = mapping_id WHERE state = 'WAITING' AND waiting_reason = 'DEPENDENCY';
CREATE INDEX runs_awaits ON runs (org_id, awaits) WHERE awaits IS NOT NULL;
