-- Flows that users make: a draft that is edited beside the versions that were published, which never change. A link follows
-- its flow's newest version, or stays with the one that it is pinned to. What was deleted stays for history.
ALTER TABLE flows
  ADD COLUMN draft          jsonb,
  ADD COLUMN draft_revision bigint NOT NULL DEFAULT 0,
  ADD COLUMN drafted_at     timestamptz,
  ADD COLUMN deleted_at     timestamptz;

ALTER TABLE flow_links
  ADD COLUMN pinned_version_id uuid,
  ADD FOREIGN KEY (org_id, pinned_version_id) REFERENCES flow_versions (org_id, id);
