-- When a vendor account's next call may start. It changes with each call, so it is no part of the row that everything
-- about the account refers to: those references lock what they refer to.
CREATE TABLE budgets (
  org_id            uuid NOT NULL,
  vendor_account_id uuid NOT NULL,
  tat               timestamptz NOT NULL DEFAULT '-infinity',
  PRIMARY KEY (org_id, vendor_account_id),
  FOREIGN KEY (org_id, vendor_account_id) REFERENCES vendor_accounts (org_id, id)
) WITH (fillfactor = 10);

INSERT INTO budgets (org_id, vendor_account_id, tat) SELECT org_id, id, tat FROM vendor_accounts;

-- Rows that change soon after they were made get room beside them for that, so that indexes are left alone.
ALTER TABLE runs SET (fillfactor = 60);
ALTER TABLE steps SET (fillfactor = 60);
ALTER TABLE effects SET (fillfactor = 70);
ALTER TABLE events SET (fillfactor = 70);
ALTER TABLE mapping_slots SET (fillfactor = 70);
