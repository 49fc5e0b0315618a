-- Reading that must wait for its vendor account's budget gives its worker back, and keeps the start it was given.
ALTER TABLE cursors ADD COLUMN reserved_at timestamptz;
