-- Retention: rows go in the order of their age, and some stay that name what has gone by then: a mapping's provenance, the
-- CREATE that proves that a record was made, an echo of a write. A foreign key would hold the old row back, or cost a
-- look at each delete; what has gone reads as missing.

ALTER TABLE events DROP CONSTRAINT events_org_id_echo_of_fkey;
ALTER TABLE runs DROP CONSTRAINT runs_org_id_echo_of_fkey;
ALTER TABLE event_outcomes DROP CONSTRAINT event_outcomes_org_id_run_id_fkey;
ALTER TABLE effects DROP CONSTRAINT effects_org_id_run_id_fkey;
ALTER TABLE mapping_slots DROP CONSTRAINT mapping_slots_org_id_event_id_fkey;
ALTER TABLE mapping_slots DROP CONSTRAINT mapping_slots_org_id_run_id_fkey;
