-- Prepares the empty database clm_secure_db: roles, schemas, extensions. Run once by a superuser, connected to that
-- database; running it again changes nothing. The migrations then run as clm_secure_migrator.
-- Nobody has a password: pg_hba.conf lets these roles in by client certificate alone.

DO $$
DECLARE
    role_name text;
BEGIN
    FOREACH role_name IN ARRAY ARRAY['clm_secure_owner', 'clm_secure_migrator', 'clm_secure_app', 'clm_secure_ro', 'clm_secure_backup', 'clm_secure_monitor', 'clm_secure_auditor'] LOOP
        IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = role_name) THEN
            EXECUTE format('CREATE ROLE %I', role_name);
        END IF;
    END LOOP;
END
$$;

-- Owns the schema and never signs in.
ALTER ROLE clm_secure_owner NOLOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Runs migrations, as the owner from its first statement.
ALTER ROLE clm_secure_migrator LOGIN NOINHERIT NOSUPERUSER NOCREATEDB NOCREATEROLE;
GRANT clm_secure_owner TO clm_secure_migrator;
ALTER ROLE clm_secure_migrator SET role = 'clm_secure_owner';
-- The service: inserts and reads, updates states, deletes nothing.
ALTER ROLE clm_secure_app LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Reports and read replicas: no key material.
ALTER ROLE clm_secure_ro LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- pgBackRest: starts and stops backups, reads no table.
ALTER ROLE clm_secure_backup LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Metrics: statistics, no table.
ALTER ROLE clm_secure_monitor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
-- Reads the audit log and its checkpoints, nothing else.
ALTER ROLE clm_secure_auditor LOGIN NOSUPERUSER NOCREATEDB NOCREATEROLE;
GRANT pg_monitor TO clm_secure_monitor;
GRANT pg_read_all_settings TO clm_secure_backup;
ALTER ROLE clm_secure_ro SET default_transaction_read_only = on;
ALTER ROLE clm_secure_auditor SET default_transaction_read_only = on;
GRANT EXECUTE ON FUNCTION
    pg_backup_start(text, boolean), pg_backup_stop(boolean), pg_switch_wal(), pg_create_restore_point(text)
TO clm_secure_backup;

REVOKE ALL ON SCHEMA public FROM PUBLIC;
CREATE SCHEMA IF NOT EXISTS clm AUTHORIZATION clm_secure_owner;
CREATE SCHEMA IF NOT EXISTS ext;
COMMENT ON SCHEMA clm IS 'Every table of clm_secure_db.';
COMMENT ON SCHEMA ext IS 'Extensions, owned by the superuser.';
REVOKE ALL ON SCHEMA clm, ext FROM PUBLIC;
GRANT USAGE ON SCHEMA clm TO clm_secure_app, clm_secure_ro, clm_secure_auditor;
GRANT USAGE ON SCHEMA ext TO clm_secure_owner, clm_secure_migrator, clm_secure_app, clm_secure_ro, clm_secure_auditor;

DO $$
DECLARE
    role_name text;
BEGIN
    EXECUTE format('REVOKE ALL ON DATABASE %I FROM PUBLIC', current_database());
    EXECUTE format('ALTER DATABASE %I SET search_path = clm, ext', current_database());
    EXECUTE format('ALTER DATABASE %I SET timezone = %L', current_database(), 'UTC');
    FOREACH role_name IN ARRAY ARRAY['clm_secure_migrator', 'clm_secure_app', 'clm_secure_ro', 'clm_secure_backup', 'clm_secure_monitor', 'clm_secure_auditor'] LOOP
        EXECUTE format('GRANT CONNECT ON DATABASE %I TO %I', current_database(), role_name);
        -- Also on the role: a database copied from a template does not inherit the setting.
        EXECUTE format('ALTER ROLE %I SET search_path = clm, ext', role_name);
        EXECUTE format('ALTER ROLE %I SET timezone = %L', role_name, 'UTC');
    END LOOP;
END
$$;
ALTER ROLE clm_secure_owner SET search_path = clm, ext;

-- Functions are executable by nobody unless a migration says so.
ALTER DEFAULT PRIVILEGES FOR ROLE clm_secure_owner REVOKE EXECUTE ON FUNCTIONS FROM PUBLIC;
