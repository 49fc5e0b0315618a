-- A person's way through a vendor's consent page: begun by authorizeConnection, ended by the browser that comes back from
-- there with a code. Of the state that goes with it, and of the cookie that ties it to one browser, only hashes are kept.
CREATE TABLE authorizations (
  org_id        uuid NOT NULL REFERENCES organizations,
  id            uuid NOT NULL,
  connection_id uuid NOT NULL,           -- the connection that is authorized again, or that will be made
  app           text NOT NULL,
  name          text NOT NULL DEFAULT '', -- of the connection that will be made; empty: it is there
  form          bytea,                   -- sealed: credentials and verifier; null once they were used
  state_hash    bytea NOT NULL UNIQUE,
  cookie_hash   bytea,                   -- of the browser that began last
  return_url    text NOT NULL DEFAULT '',
  expires_at    timestamptz NOT NULL,
  ended_at      timestamptz,             -- when a browser came back; there is no second time
  created_at    timestamptz NOT NULL DEFAULT now(),
  PRIMARY KEY (org_id, id)
);
CREATE INDEX authorizations_old ON authorizations (expires_at);
