-- Private keys of certificates: who may export them, their deletion, and their erasure once they were kept long enough.

GRANT UPDATE (access_control, exportable, deleted_at, destroyed_at) ON private_keys TO clm_secure_app;
CREATE INDEX private_keys_deleted_at_idx ON private_keys (deleted_at DESC) WHERE deleted_at IS NOT NULL AND destroyed_at IS NULL;
