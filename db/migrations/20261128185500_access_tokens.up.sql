-- An access token that a vendor gave for a connection's credentials, shared by all processes: vendors bound how often one
-- may be asked for. One process asks at a time, under a lease whose fence says whose answer counts.
CREATE TABLE access_tokens (
  org_id      uuid NOT NULL REFERENCES organizations,
  id          uuid NOT NULL, -- the connection's
  token       bytea,         -- sealed
  good_until  timestamptz NOT NULL DEFAULT '-infinity',
  lease_until timestamptz NOT NULL DEFAULT '-infinity',
  fence       bigint NOT NULL DEFAULT 0,
  PRIMARY KEY (org_id, id),
  FOREIGN KEY (org_id, id) REFERENCES connections (org_id, id)
);
