-- What the audit log is searched by, beside actor, operation, object and action. What most rows have not, or have alike,
-- is left out of an index.

CREATE INDEX audit_log_organization_id_object_type_id_idx ON audit_log (organization_id, object_type, id DESC);
CREATE INDEX audit_log_organization_id_outcome_id_idx ON audit_log (organization_id, outcome, id DESC)
    WHERE outcome <> 'allowed';
CREATE INDEX audit_log_organization_id_ip_address_id_idx ON audit_log (organization_id, ip_address, id DESC)
    WHERE ip_address IS NOT NULL;
CREATE INDEX audit_log_session_id_id_idx ON audit_log (session_id, id DESC) WHERE session_id IS NOT NULL;
CREATE INDEX audit_log_api_key_id_id_idx ON audit_log (api_key_id, id DESC) WHERE api_key_id IS NOT NULL;
CREATE INDEX audit_log_request_id_idx ON audit_log (request_id) WHERE request_id IS NOT NULL;
