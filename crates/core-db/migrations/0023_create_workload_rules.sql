-- Rules by which workloads (CI jobs, Kubernetes service accounts) exchange a token of their OpenID provider for an API key of a
-- short life; and such keys.

CREATE TABLE workload_rules (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    organization_id uuid NOT NULL REFERENCES organizations (id),
    name text NOT NULL,
    provider text NOT NULL,
    issuer text NOT NULL,
    audiences text[] NOT NULL CHECK (cardinality(audiences) > 0),
    required_claims jsonb NOT NULL CHECK (jsonb_typeof(required_claims) = 'object' AND required_claims <> '{}'),
    user_id uuid NOT NULL REFERENCES users (id),
    scopes jsonb NOT NULL CHECK (jsonb_typeof(scopes) = 'array' AND scopes <> '[]'),
    lifetime_seconds integer NOT NULL CHECK (lifetime_seconds BETWEEN 60 AND 3600),
    allowed_addresses inet[] NOT NULL DEFAULT '{}',
    enabled boolean NOT NULL,
    created_by uuid REFERENCES users (id),
    vouched_by uuid NOT NULL REFERENCES users (id),
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    deleted_at timestamptz,
    UNIQUE (organization_id, id)
);
CREATE UNIQUE INDEX workload_rules_name_lower_idx ON workload_rules (organization_id, lower(name)) WHERE deleted_at IS NULL;
CREATE INDEX workload_rules_user_id_idx ON workload_rules (user_id);
CREATE INDEX workload_rules_created_by_idx ON workload_rules (created_by);
CREATE INDEX workload_rules_vouched_by_idx ON workload_rules (vouched_by);
CREATE INDEX workload_rules_required_claims_idx ON workload_rules USING gin (required_claims jsonb_path_ops);
CREATE INDEX workload_rules_scopes_idx ON workload_rules USING gin (scopes jsonb_path_ops);
CREATE INDEX workload_rules_created_at_idx ON workload_rules (created_at DESC);
CREATE INDEX workload_rules_updated_at_idx ON workload_rules (updated_at DESC);
COMMENT ON TABLE workload_rules IS 'Which workloads get an API key for the token of their provider, and what such a key may do.';
COMMENT ON COLUMN workload_rules.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN workload_rules.organization_id IS 'The organization it belongs to.';
COMMENT ON COLUMN workload_rules.name IS 'Name to show; unique in the organization among rules that are not deleted, whatever the case.';
COMMENT ON COLUMN workload_rules.provider IS 'What the operator calls the provider that signs the tokens.';
COMMENT ON COLUMN workload_rules.issuer IS 'Who that provider was when the rule was made or last changed (`iss`): tokens of another one are not taken.';
COMMENT ON COLUMN workload_rules.audiences IS 'Whom a token may be meant for: it names one or more of them, and nobody else.';
COMMENT ON COLUMN workload_rules.required_claims IS 'What a token must say: claims, or JSON pointers into them, and their values; a * in a text stands for a part.';
COMMENT ON COLUMN workload_rules.user_id IS 'On whose behalf the keys act.';
COMMENT ON COLUMN workload_rules.scopes IS 'Permissions that the keys are limited to.';
COMMENT ON COLUMN workload_rules.lifetime_seconds IS 'How long a key lives.';
COMMENT ON COLUMN workload_rules.allowed_addresses IS 'Networks that tokens are exchanged from and keys are used from; empty: any.';
COMMENT ON COLUMN workload_rules.enabled IS 'Whether tokens are exchanged now.';
COMMENT ON COLUMN workload_rules.created_by IS 'Who made it; null: the installation itself.';
COMMENT ON COLUMN workload_rules.vouched_by IS 'Who made it or last changed it: without what they must hold for that, it gives no keys.';
COMMENT ON COLUMN workload_rules.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN workload_rules.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN workload_rules.version IS 'Counts the row''s changes; the ETag.';
COMMENT ON COLUMN workload_rules.deleted_at IS 'When it was deleted; the row stays for the audit.';

ALTER TABLE api_keys
    ADD COLUMN workload_rule_id uuid,
    ADD COLUMN workload_subject text,
    ADD CONSTRAINT api_keys_workload_rule_id_fkey FOREIGN KEY (workload_rule_id, organization_id)
        REFERENCES workload_rules (id, organization_id),
    ADD CONSTRAINT api_keys_workload_check CHECK (
        (workload_rule_id IS NULL) = (workload_subject IS NULL)
        AND (workload_rule_id IS NULL OR (organization_id IS NOT NULL AND expires_at IS NOT NULL)));
CREATE INDEX api_keys_workload_rule_id_idx ON api_keys (workload_rule_id, organization_id, expires_at) WHERE workload_rule_id IS NOT NULL;
CREATE INDEX api_keys_workload_expires_at_idx ON api_keys (expires_at) WHERE workload_rule_id IS NOT NULL;
COMMENT ON COLUMN api_keys.workload_rule_id IS 'The rule by which a workload got it for a token; null: it was made by a user or an operator.';
COMMENT ON COLUMN api_keys.workload_subject IS 'Whom that token was about (`sub`).';

SELECT enable_tenant_isolation('workload_rules', false);

GRANT SELECT ON workload_rules TO clm_core_app, clm_core_ro;
GRANT SELECT, INSERT ON workload_rules TO clm_core_system;
GRANT UPDATE (name, provider, issuer, audiences, required_claims, scopes, lifetime_seconds, allowed_addresses, enabled, vouched_by,
              updated_at, version, deleted_at)
    ON workload_rules TO clm_core_system;
GRANT SELECT (workload_rule_id, workload_subject) ON api_keys TO clm_core_app, clm_core_ro;
-- Every run of a job makes a key. Those that have long ended are deleted, and no other: what they were stands in the audit log.
GRANT DELETE ON api_keys TO clm_core_system;
CREATE POLICY ended_workload_keys ON api_keys AS RESTRICTIVE FOR DELETE TO clm_core_system
    USING (workload_rule_id IS NOT NULL AND expires_at < now() - interval '1 day');
