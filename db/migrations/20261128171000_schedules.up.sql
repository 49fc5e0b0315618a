-- Schedules: when a flow link fires next. Only links that are switched on and have a schedule have a time. schedule_due_at is when
-- the sweeper looks: it is later for a while where the schedule cannot be read.
ALTER TABLE flow_links
  ADD COLUMN next_run_at timestamptz,
  ADD COLUMN schedule_due_at timestamptz;
CREATE INDEX flow_links_due ON flow_links (schedule_due_at) WHERE schedule_due_at IS NOT NULL;
