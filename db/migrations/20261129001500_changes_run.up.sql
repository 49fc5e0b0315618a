-- Whoever looks up a run's changes does so by their places, so one that has none yet needs no entry. It gets its entry with
-- its place, when its row is written anew.
DROP INDEX changes_run;
CREATE INDEX changes_run ON changes (org_id, run_id, pos) WHERE pos IS NOT NULL;
