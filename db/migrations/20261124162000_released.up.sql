-- When a person let an event go that had been kept back.
ALTER TABLE events ADD COLUMN released_at timestamptz;
