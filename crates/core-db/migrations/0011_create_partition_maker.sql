-- Partitions are made ahead by the running service, whose role may not create tables: this function does it on
-- the owner's behalf, for these tables and whole months only.

CREATE FUNCTION make_partition(parent text, from_ts timestamptz, to_ts timestamptz) RETURNS boolean
LANGUAGE plpgsql SECURITY DEFINER SET search_path = clm, ext, pg_temp SET timezone = 'UTC'
AS $$
DECLARE
    partition text := parent || to_char(from_ts, '"_"YYYYMM');
BEGIN
    IF parent IS NULL OR parent NOT IN ('audit_log', 'notifications') THEN
        RAISE EXCEPTION '% is not partitioned by month', parent USING ERRCODE = 'invalid_parameter_value';
    END IF;
    IF from_ts IS NULL OR from_ts <> date_trunc('month', from_ts)
       OR to_ts IS DISTINCT FROM from_ts + interval '1 month' THEN
        RAISE EXCEPTION 'a partition is one whole month in UTC' USING ERRCODE = 'invalid_parameter_value';
    END IF;
    PERFORM pg_advisory_xact_lock(hashtextextended('make_partition', 0));
    IF to_regclass(partition) IS NOT NULL THEN
        RETURN false;
    END IF;
    -- LIKE and ATTACH, not PARTITION OF: the parent stays readable and writable meanwhile.
    EXECUTE format('CREATE TABLE %I (LIKE %I INCLUDING ALL)', partition, parent);
    EXECUTE format('COMMENT ON TABLE %I IS %L', partition, format('%s of %s', parent, to_char(from_ts, 'YYYY-MM')));
    EXECUTE format('ALTER TABLE %I ATTACH PARTITION %I FOR VALUES FROM (%L) TO (%L)',
        parent, partition, uuid_v7_floor(from_ts), uuid_v7_floor(to_ts));
    -- Nobody is granted anything on a partition itself: all access goes through the parent.
    PERFORM enable_tenant_isolation(partition::regclass, false);
    IF parent = 'audit_log' THEN
        PERFORM make_append_only(partition::regclass);
    END IF;
    RETURN true;
END
$$;
COMMENT ON FUNCTION make_partition(text, timestamptz, timestamptz) IS
    'Makes and attaches the partition of one month; false when it is there already.';
REVOKE ALL ON FUNCTION make_partition(text, timestamptz, timestamptz) FROM PUBLIC;
GRANT EXECUTE ON FUNCTION make_partition(text, timestamptz, timestamptz) TO clm_core_app, clm_core_system;
