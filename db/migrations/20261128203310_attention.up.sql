-- What waits for a person is one list over several tables: each finds its part by an index of just that.
CREATE INDEX connections_broken ON connections (org_id, id) WHERE deleted_at IS NULL AND state IN ('NEEDS_REAUTH', 'ERROR');
CREATE INDEX connections_deaf ON connections (org_id, id) WHERE deleted_at IS NULL AND state = 'ACTIVE' AND webhook_state = 'MISSING';
CREATE INDEX event_outcomes_held ON event_outcomes (org_id, event_id) WHERE outcome = 'HELD';
CREATE INDEX run_items_duplicates ON run_items (org_id, id) WHERE state = 'POSSIBLE_DUPLICATE';
CREATE INDEX flow_links_failing ON flow_links (org_id, id) WHERE failing_since IS NOT NULL AND enabled AND deleted_at IS NULL;
CREATE INDEX runs_person ON runs (org_id, id) WHERE waiting_reason = 'PERSON';
