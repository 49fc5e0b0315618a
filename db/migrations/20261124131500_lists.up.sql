-- What the audit log and the list of effects are narrowed by. Nearly every effect is CONFIRMED: those lie by id already.
CREATE INDEX audit_log_token ON audit_log (org_id, token_id, id) WHERE token_id IS NOT NULL;
CREATE INDEX audit_log_field ON audit_log (org_id, field, id);
CREATE INDEX audit_log_object ON audit_log (org_id, object_id, id) WHERE object_id IS NOT NULL;
CREATE INDEX effects_vendor_account ON effects (org_id, vendor_account_id, id);
CREATE INDEX effects_state ON effects (org_id, state, id) WHERE state <> 'CONFIRMED';
