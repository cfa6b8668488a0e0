-- Ids are UUIDv7, so that a primary key is also a time index and date partitions can be ranges of it; audit
-- tables refuse every change.

CREATE FUNCTION uuid_generate_v7() RETURNS uuid
LANGUAGE sql VOLATILE PARALLEL SAFE
AS $$
    -- A random version 4 value with its first 48 bits replaced by milliseconds and its version raised to 7.
    SELECT encode(
        set_bit(set_bit(
            overlay(uuid_send(gen_random_uuid())
                placing substring(int8send(floor(extract(epoch FROM clock_timestamp()) * 1000)::bigint) FROM 3)
                FROM 1 FOR 6),
            52, 1), 53, 1), 'hex')::uuid
$$;
COMMENT ON FUNCTION uuid_generate_v7() IS
    'A new UUIDv7 (RFC 9562 section 5.7). The programs make their own ids; this serves inserts by hand.';

CREATE FUNCTION uuid_v7_floor(at timestamptz) RETURNS uuid
LANGUAGE sql IMMUTABLE STRICT PARALLEL SAFE
AS $$
    SELECT (lpad(to_hex(ceil(extract(epoch FROM at) * 1000)::bigint), 12, '0') || '00000000000000000000')::uuid
$$;
COMMENT ON FUNCTION uuid_v7_floor(timestamptz) IS
    'The smallest UUIDv7 of that millisecond: id >= uuid_v7_floor(a) AND id < uuid_v7_floor(b) selects a time range.';

CREATE FUNCTION refuse_change() RETURNS trigger
LANGUAGE plpgsql
AS $$
BEGIN
    RAISE EXCEPTION '% is append-only: % refused', TG_TABLE_NAME, TG_OP USING ERRCODE = 'insufficient_privilege';
END
$$;
COMMENT ON FUNCTION refuse_change() IS 'Refuses every UPDATE, DELETE and TRUNCATE of an audit table, whoever asks.';

CREATE FUNCTION make_append_only(target regclass) RETURNS void
LANGUAGE plpgsql
AS $$
BEGIN
    -- Row triggers are cloned to partitions, TRUNCATE triggers are not: each partition gets its own.
    IF NOT EXISTS (SELECT FROM pg_trigger WHERE tgrelid = target AND tgname = 'refuse_row_change') THEN
        EXECUTE format('CREATE TRIGGER refuse_row_change BEFORE UPDATE OR DELETE ON %s '
            'FOR EACH ROW EXECUTE FUNCTION refuse_change()', target);
    END IF;
    EXECUTE format('CREATE TRIGGER refuse_truncate BEFORE TRUNCATE ON %s '
        'FOR EACH STATEMENT EXECUTE FUNCTION refuse_change()', target);
    -- ALWAYS: session_replication_role = replica does not skip them.
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_row_change', target);
    EXECUTE format('ALTER TABLE %s ENABLE ALWAYS TRIGGER refuse_truncate', target);
END
$$;
COMMENT ON FUNCTION make_append_only(regclass) IS 'Puts the append-only triggers on a table or partition. For the owner alone.';
REVOKE ALL ON FUNCTION make_append_only(regclass) FROM PUBLIC;
