-- Rotation online: one history row for the rotation (batch 0) and one for each batch; the master key is rotated alike.

ALTER TABLE key_rotation_history DROP CONSTRAINT key_rotation_history_rotation_id_key;
ALTER TABLE key_rotation_history ALTER COLUMN from_encryption_key_id DROP NOT NULL;
ALTER TABLE key_rotation_history ALTER COLUMN to_encryption_key_id DROP NOT NULL;
ALTER TABLE key_rotation_history ADD COLUMN batch integer NOT NULL DEFAULT 0 CHECK (batch >= 0);
ALTER TABLE key_rotation_history ADD COLUMN from_master_key text;
ALTER TABLE key_rotation_history ADD COLUMN to_master_key text;
ALTER TABLE key_rotation_history ADD COLUMN receipt jsonb;
ALTER TABLE key_rotation_history ADD CONSTRAINT key_rotation_history_rotation_id_batch_key UNIQUE (rotation_id, batch);
ALTER TABLE key_rotation_history ADD CONSTRAINT key_rotation_history_kind_check CHECK (
    num_nonnulls(from_encryption_key_id, to_encryption_key_id) = 2 AND num_nonnulls(from_master_key, to_master_key) = 0
    OR num_nonnulls(from_encryption_key_id, to_encryption_key_id) = 0 AND num_nonnulls(from_master_key, to_master_key) = 2);
CREATE UNIQUE INDEX key_rotation_history_one_running_idx ON key_rotation_history (from_encryption_key_id, from_master_key)
    NULLS NOT DISTINCT WHERE status = 'running' AND batch = 0;
CREATE INDEX key_rotation_history_receipt_idx ON key_rotation_history USING gin (receipt jsonb_path_ops);
COMMENT ON COLUMN key_rotation_history.rotation_id IS 'The rotation; its own row and those of its batches share it.';
COMMENT ON COLUMN key_rotation_history.from_encryption_key_id IS 'The version that is left; null for a rotation of the master key.';
COMMENT ON COLUMN key_rotation_history.to_encryption_key_id IS 'The version that takes over; null for a rotation of the master key.';
COMMENT ON COLUMN key_rotation_history.batch IS '0: the rotation as a whole; from 1: one batch of it, committed at once.';
COMMENT ON COLUMN key_rotation_history.from_master_key IS 'The master key that is left.';
COMMENT ON COLUMN key_rotation_history.to_master_key IS 'The master key that takes over.';
COMMENT ON COLUMN key_rotation_history.receipt IS 'Signed statement that no row is left under the old key.';

-- What a rotation must find under a key: the wrapped keys of intents that are not signed yet.
CREATE INDEX issuance_intents_wrapped_idx ON issuance_intents (encryption_key_id, id) WHERE wrapped_private_key IS NOT NULL;
CREATE INDEX encryption_keys_master_key_reference_idx ON encryption_keys (master_key_reference, id) WHERE wrapped_key_material IS NOT NULL;

GRANT UPDATE (receipt) ON key_rotation_history TO clm_secure_app;
GRANT UPDATE (wrapped_key_material, provider, master_key_reference, activated_at, destroyed_at) ON encryption_keys TO clm_secure_app;
GRANT UPDATE (encrypted_key_material, encryption_key_id, encryption_algorithm) ON private_keys TO clm_secure_app;
GRANT UPDATE (encryption_key_id) ON issuance_intents TO clm_secure_app;
