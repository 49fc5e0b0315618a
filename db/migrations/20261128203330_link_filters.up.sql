-- A flow link may narrow its trigger by an expression that an event must satisfy. One that is bound to another connection hears
-- once more what that connection got lately.
ALTER TABLE flow_links ADD COLUMN filter text NOT NULL DEFAULT '';
ALTER TABLE events ADD COLUMN reheard_at timestamptz;
