-- A replay that a person has cancelled is finished before all its runs are made.
ALTER TABLE replays ADD COLUMN cancelled boolean NOT NULL DEFAULT false;
