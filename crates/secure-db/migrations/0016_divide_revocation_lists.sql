-- Revocation lists by scope: shard 0 is about all certificates of an authority, shard n about those that name it.

CREATE TABLE crl_scopes (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    authority_id uuid NOT NULL REFERENCES certificate_authorities (id),
    shard smallint NOT NULL CHECK (shard BETWEEN 0 AND 1024),
    crl_number bigint NOT NULL DEFAULT 0,
    full_crl_id uuid,
    delta_crl_id uuid,
    base_crl_number bigint,
    last_crl_at timestamptz,
    next_crl_at timestamptz,
    created_at timestamptz NOT NULL,
    updated_at timestamptz NOT NULL,
    version bigint NOT NULL DEFAULT 1,
    UNIQUE (authority_id, shard)
);
CREATE INDEX crl_scopes_full_crl_id_idx ON crl_scopes (full_crl_id);
CREATE INDEX crl_scopes_delta_crl_id_idx ON crl_scopes (delta_crl_id);
CREATE INDEX crl_scopes_last_crl_at_idx ON crl_scopes (last_crl_at DESC);
CREATE INDEX crl_scopes_next_crl_at_idx ON crl_scopes (next_crl_at DESC);
CREATE INDEX crl_scopes_created_at_idx ON crl_scopes (created_at DESC);
CREATE INDEX crl_scopes_updated_at_idx ON crl_scopes (updated_at DESC);
COMMENT ON TABLE crl_scopes IS 'What revocation lists are about, RFC 5280 section 5: each scope has its own numbers, its newest full list and delta.';
COMMENT ON COLUMN crl_scopes.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN crl_scopes.authority_id IS 'Whose lists.';
COMMENT ON COLUMN crl_scopes.shard IS '0: all its certificates. Others: the certificates whose distribution point has this number.';
COMMENT ON COLUMN crl_scopes.crl_number IS 'Number of the newest list, full or delta; grows by one, RFC 5280 section 5.2.3.';
COMMENT ON COLUMN crl_scopes.full_crl_id IS 'The newest full list, crls.id.';
COMMENT ON COLUMN crl_scopes.delta_crl_id IS 'The newest delta to it, crls.id; null while there is none.';
COMMENT ON COLUMN crl_scopes.base_crl_number IS 'Number of the newest full list.';
COMMENT ON COLUMN crl_scopes.last_crl_at IS 'thisUpdate of the newest full list.';
COMMENT ON COLUMN crl_scopes.next_crl_at IS 'nextUpdate of the newest full list.';
COMMENT ON COLUMN crl_scopes.created_at IS 'When the row was made, UTC.';
COMMENT ON COLUMN crl_scopes.updated_at IS 'When the row last changed, UTC.';
COMMENT ON COLUMN crl_scopes.version IS 'Counts the row''s changes.';

-- The octets of lists apart from what is said of them, in parts, so that no list is ever whole in memory.
CREATE TABLE crl_parts (
    id uuid PRIMARY KEY DEFAULT uuid_generate_v7(),
    crl_id uuid NOT NULL,
    position integer NOT NULL CHECK (position >= 0),
    octets bytea NOT NULL,
    created_at timestamptz NOT NULL,
    UNIQUE (crl_id, position)
);
CREATE INDEX crl_parts_created_at_idx ON crl_parts USING brin (created_at);
COMMENT ON TABLE crl_parts IS 'The octets of revocation lists. Those of a list that is not in crls belong to one that was not finished.';
COMMENT ON COLUMN crl_parts.id IS 'Row identity, a UUIDv7; ids sort by the time they were made.';
COMMENT ON COLUMN crl_parts.crl_id IS 'The list, crls.id.';
COMMENT ON COLUMN crl_parts.position IS 'Place in the list; 0 is its outermost header, written when it is signed.';
COMMENT ON COLUMN crl_parts.octets IS 'DER.';
COMMENT ON COLUMN crl_parts.created_at IS 'When the row was made, UTC.';

ALTER TABLE crls ALTER COLUMN der DROP NOT NULL;
ALTER TABLE crls DROP CONSTRAINT crls_authority_id_kind_crl_number_key;
ALTER TABLE crls
    ADD COLUMN shard smallint NOT NULL DEFAULT 0,
    ADD COLUMN base_crl_number bigint,
    ADD COLUMN octet_count bigint,
    ADD UNIQUE (authority_id, shard, crl_number),
    ADD CHECK ((kind = 'delta') = (base_crl_number IS NOT NULL));
COMMENT ON COLUMN crls.der IS 'The octets of a list from before they were kept in parts.';
COMMENT ON TABLE crls IS 'Certificate revocation lists that were published. Their octets are in crl_parts while they are kept.';
COMMENT ON COLUMN crls.shard IS 'Which scope, crl_scopes.shard.';
COMMENT ON COLUMN crls.base_crl_number IS 'Number of the full list that a delta adds to, RFC 5280 section 5.2.4.';
COMMENT ON COLUMN crls.octet_count IS 'Its length.';

-- The next look at the lists makes each anew, in the order that lists have from now on.
INSERT INTO crl_parts (crl_id, position, octets, created_at)
SELECT l.id, 0, l.der, l.created_at
FROM certificate_authorities a JOIN crls l ON l.authority_id = a.id AND l.crl_number = a.crl_number;
INSERT INTO crl_scopes (authority_id, shard, crl_number, full_crl_id, base_crl_number, last_crl_at, created_at, updated_at)
SELECT a.id, 0, a.crl_number, l.id, l.crl_number, a.last_crl_at, a.created_at, a.updated_at
FROM certificate_authorities a
LEFT JOIN crls l ON l.authority_id = a.id AND l.crl_number = a.crl_number;
COMMENT ON COLUMN certificate_authorities.crl_number IS 'Number of its last CRL before lists were divided; see crl_scopes.';
COMMENT ON COLUMN certificate_authorities.last_crl_at IS 'thisUpdate of its last CRL before lists were divided; see crl_scopes.';
COMMENT ON COLUMN certificate_authorities.next_crl_at IS 'When the next CRL was due before lists were divided; see crl_scopes.';

-- Null in rows from before, which are of shard 0.
ALTER TABLE certificates ADD COLUMN crl_shard smallint;
COMMENT ON COLUMN certificates.crl_shard IS 'The scope of the list that its distribution point names; null is 0.';
ALTER TABLE certificate_revocations ADD COLUMN crl_shard smallint, ADD COLUMN not_after timestamptz;
COMMENT ON COLUMN certificate_revocations.crl_shard IS 'As in its certificate.';
COMMENT ON COLUMN certificate_revocations.not_after IS 'As in its certificate: after it, one more list names it. Null in rows from before, which stay on the list.';
CREATE INDEX certificate_revocations_not_after_idx ON certificate_revocations (not_after DESC);

CREATE INDEX certificate_revocations_unreflected_by_shard_idx ON certificate_revocations (authority_id, coalesce(crl_shard, 0::smallint))
    WHERE crl_number IS NULL;
CREATE INDEX certificate_revocations_in_force_idx ON certificate_revocations (authority_id, serial_number)
    WHERE hold_released_at IS NULL;
CREATE INDEX certificate_revocations_in_force_by_shard_idx
    ON certificate_revocations (authority_id, coalesce(crl_shard, 0::smallint), serial_number)
    WHERE hold_released_at IS NULL AND crl_shard > 0;
CREATE INDEX certificate_revocations_authority_id_updated_at_idx ON certificate_revocations (authority_id, updated_at);

-- The service may delete nothing itself: this function deletes the octets of lists that nobody needs any more.
CREATE FUNCTION delete_superseded_crls(superseded_before timestamptz, kept_since timestamptz) RETURNS bigint
LANGUAGE sql SECURITY DEFINER SET search_path = clm, ext, pg_temp
AS $$
    WITH deleted AS (DELETE FROM crl_parts WHERE crl_id IN (
            SELECT p.crl_id FROM crl_parts p LEFT JOIN crls l ON l.id = p.crl_id
            WHERE p.position = 1 AND p.created_at < least(superseded_before, now() - interval '1 hour')
              AND NOT EXISTS (SELECT FROM crl_scopes s WHERE s.full_crl_id = p.crl_id OR s.delta_crl_id = p.crl_id)
              AND (l.id IS NULL
                   OR EXISTS (SELECT FROM crls later
                              WHERE later.authority_id = l.authority_id AND later.shard = l.shard
                                AND (later.kind = 'full' OR l.kind = 'delta') AND later.crl_number > l.crl_number
                                AND later.this_update < least(superseded_before, now() - interval '1 hour')))
              AND (l.id IS NULL OR l.kind = 'delta' OR l.this_update < kept_since
                   OR EXISTS (SELECT FROM crls later
                              WHERE later.authority_id = l.authority_id AND later.shard = l.shard AND later.kind = 'full'
                                AND later.crl_number > l.crl_number
                                AND later.this_update < date_trunc('day', l.this_update, 'UTC') + interval '1 day'))
            ORDER BY p.crl_id LIMIT 10)
        RETURNING 1)
    SELECT count(*) FROM deleted
$$;
COMMENT ON FUNCTION delete_superseded_crls(timestamptz, timestamptz) IS
    'Deletes the octets of lists that were not finished, or are superseded and neither the last full one of their day nor of late.';
REVOKE ALL ON FUNCTION delete_superseded_crls(timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_superseded_crls(timestamptz, timestamptz) TO clm_secure_app;

CREATE FUNCTION delete_unfinished_crl(unfinished uuid) RETURNS void
LANGUAGE sql SECURITY DEFINER SET search_path = clm, ext, pg_temp
AS $$ DELETE FROM crl_parts WHERE crl_id = unfinished AND NOT EXISTS (SELECT FROM crls WHERE id = unfinished) $$;
COMMENT ON FUNCTION delete_unfinished_crl(uuid) IS 'Deletes the octets of a list that was not published.';
REVOKE ALL ON FUNCTION delete_unfinished_crl(uuid) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION delete_unfinished_crl(uuid) TO clm_secure_app;

GRANT SELECT, INSERT ON crl_scopes, crl_parts TO clm_secure_app;
GRANT UPDATE (crl_number, full_crl_id, delta_crl_id, base_crl_number, last_crl_at, next_crl_at, updated_at, version)
    ON crl_scopes TO clm_secure_app;
GRANT SELECT ON crl_scopes, crl_parts TO clm_secure_ro;
