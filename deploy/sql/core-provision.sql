-- Prepares the empty database clm_core_db: roles, schemas, extensions. Run once by a superuser, connected to that
-- database; running it again changes nothing. The migrations then run as clm_core_migrator.
-- Nobody has a password: pg_hba.conf lets these roles in by client certificate alone.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['clm_core_owner', 'clm_core_migrator', 'clm_core_app', 'clm_core_system', 'clm_core_ro', 'clm_core_backup', 'clm_core_monitor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
    END LOOP;
END
$$;

-- Owns the schema and never signs in.
ALTER ROLE clm_core_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Runs migrations, as the owner from its first statement.
ALTER ROLE clm_core_migrator LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE;
GRANT clm_core_owner TO clm_core_migrator;
ALTER ROLE clm_core_migrator SET role = 'clm_core_owner';
-- The service, within one organization per transaction (row-level security).
ALTER ROLE clm_core_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- The service, for what concerns all organizations: sign-in, jobs, the follower of Secure.
ALTER ROLE clm_core_system LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Reports and read replicas: no credentials.
ALTER ROLE clm_core_ro LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- pgBackRest: starts and stops backups, reads no table.
ALTER ROLE clm_core_backup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Metrics: statistics, no table.
ALTER ROLE clm_core_monitor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
GRANT pg_monitor TO clm_core_monitor;
GRANT pg_read_all_settings TO clm_core_backup;
ALTER ROLE clm_core_ro SET default_transaction_read_only = on;
GRANT EXECUTE ON FUNCTION
    pg_backup_start(text, boolean), pg_backup_stop(boolean), pg_switch_wal(), pg_create_restore_point(text)
TO clm_core_backup;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS clm AUTHORIZATION clm_core_owner;
CREATE SCHEMA IF NOT EXISTS ext;
COMMENT ON SCHEMA clm IS 'Every table of clm_core_db.';
COMMENT ON SCHEMA ext IS 'Extensions, owned by the superuser.';
REVOKE ALL ON SCHEMA clm, ext FROM PUBLIC;
GRANT USAGE ON SCHEMA clm TO clm_core_app, clm_core_system, clm_core_ro;
GRANT USAGE ON SCHEMA ext TO clm_core_owner, clm_core_migrator, clm_core_app, clm_core_system, clm_core_ro;

DO $$
DECLARE
    role_name text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('ALTER DATABASE %I SET search_path = clm, ext', current_database());
    EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'UTC');
    FOREACH role_name IN ARRAY ARRAY['clm_core_migrator', 'clm_core_app', 'clm_core_system', 'clm_core_ro', 'clm_core_backup', 'clm_core_monitor'] LOOP
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
        -- Also on the role: a database copied from a template does not inherit the setting.
        EXECUTE format('ALTER ROLE %I SET search_path = clm, ext', role_name);
        EXECUTE format('ALTER ROLE %I SET timezone = %L', role_name, 'UTC');
    END LOOP;
END
$$;
ALTER ROLE clm_core_owner SET search_path = clm, ext;

-- Functions are executable by nobody unless a migration says so.
ALTER DEFAULT PRIVILEGES FOR ROLE clm_core_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;

CREATE EXTENSION IF NOT EXISTS pg_trgm SCHEMA ext;
CREATE EXTENSION IF NOT EXISTS btree_gin SCHEMA ext;
CREATE EXTENSION IF NOT EXISTS bloom SCHEMA ext;

-- bloom brings no operator class for uuid.
DO $$
BEGIN
    -- BRIN has one of the same name.
    IF NOT EXISTS (
        SELECT FROM pg_opclass c JOIN pg_am a ON a.oid = c.opcmethod
        WHERE c.opcname = 'uuid_bloom_ops' AND a.amname = 'bloom'
    ) THEN
        CREATE OPERATOR CLASS ext.uuid_bloom_ops DEFAULT FOR TYPE uuid USING bloom AS
            OPERATOR 1 = (uuid, uuid), FUNCTION 1 uuid_hash(uuid);
    END IF;
END
$$;

-- Under row-level security an index serves an operator or a function only if it is leakproof, and only a superuser may say so.
-- These compare whole values, or change the case of a text, and neither raise errors that depend on a row nor log anything. pg_dump does not carry
-- this: run this file after restoring a dump.
ALTER FUNCTION pg_catalog.jsonb_contains(jsonb, jsonb) LEAKPROOF;
ALTER FUNCTION pg_catalog.arraycontains(anyarray, anyarray) LEAKPROOF;
ALTER FUNCTION pg_catalog.arrayoverlap(anyarray, anyarray) LEAKPROOF;
ALTER FUNCTION pg_catalog.lower(text) LEAKPROOF;
