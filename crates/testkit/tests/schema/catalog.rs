//! What both schemas must keep, read from PostgreSQL's catalog. Each query returns what breaks the rule.

/// Tables whose primary key is anything but `id uuid`. The migration runner's own table is not ours.
const WITHOUT_UUID_PRIMARY_KEY: &str = "
    SELECT c.relname::text
    FROM pg_class c
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
      AND NOT EXISTS (
          SELECT FROM pg_constraint k
          JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = k.conkey[1]
          WHERE k.conrelid = c.oid AND k.contype = 'p' AND cardinality(k.conkey) = 1
            AND a.attname = 'id' AND a.atttypid = 'uuid'::regtype)";

/// Foreign keys whose columns are not the first ones of an index over all their rows.
const FOREIGN_KEYS_WITHOUT_INDEX: &str = "
    SELECT k.conrelid::regclass || '.' || k.conname
    FROM pg_constraint k
    WHERE k.contype = 'f' AND k.connamespace = 'clm'::regnamespace
      AND NOT EXISTS (
          SELECT FROM pg_index i
          WHERE i.indrelid = k.conrelid AND i.indisvalid
            AND (i.indpred IS NULL OR pg_get_expr(i.indpred, i.indrelid) = format(
                '(%s IS NOT NULL)',
                (SELECT attname FROM pg_attribute WHERE attrelid = k.conrelid AND attnum = k.conkey[1])))
            AND (i.indkey::int2[])[0:cardinality(k.conkey) - 1] @> k.conkey)";

/// Tables, views and their columns that no comment explains.
const WITHOUT_COMMENT: &str = "
    SELECT c.relname::text
    FROM pg_class c
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname <> '_sqlx_migrations'
      AND obj_description(c.oid, 'pg_class') IS NULL
    UNION ALL
    SELECT c.relname || '.' || a.attname
    FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p', 'v') AND c.relname <> '_sqlx_migrations'
      AND col_description(c.oid, a.attnum) IS NULL";

/// Tables without the time of creation, or with a default that reads the database's clock.
const WITHOUT_CREATION_TIME: &str = "
    SELECT c.relname::text
    FROM pg_class c
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
      AND NOT EXISTS (
          SELECT FROM pg_attribute a
          WHERE a.attrelid = c.oid AND a.attname = 'created_at' AND a.attnotnull AND NOT a.atthasdef)";

/// Columns of a time without its zone, or of a fixed-length or limited text.
const ODD_TYPES: &str = "
    SELECT table_name || '.' || column_name || ' ' || data_type
    FROM information_schema.columns
    WHERE table_schema = 'clm' AND table_name <> '_sqlx_migrations'
      AND data_type IN ('timestamp without time zone', 'character varying', 'character', 'json', 'money')";

/// Views that would look through row-level security.
const VIEWS_OF_THE_OWNER: &str = "
    SELECT relname::text
    FROM pg_class
    WHERE relnamespace = 'clm'::regnamespace AND relkind IN ('v', 'm')
      AND NOT coalesce('security_invoker=true' = ANY (reloptions), false)";

/// Rights on a partition itself, which would go around what its parent grants.
const GRANTS_ON_PARTITIONS: &str = "
    SELECT c.relname || ': ' || r.rolname
    FROM pg_class c CROSS JOIN pg_roles r
    WHERE c.relispartition AND c.relkind = 'r' AND r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$'
      AND (has_table_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, DELETE, TRUNCATE, REFERENCES, TRIGGER')
           OR has_any_column_privilege(r.oid, c.oid, 'SELECT, INSERT, UPDATE, REFERENCES'))";

/// Audit tables and partitions that some runtime role may change. The keys that sign are wrapped anew in rotations.
const CHANGEABLE_AUDIT: &str = "
    SELECT c.relname || ': ' || r.rolname
    FROM pg_class c CROSS JOIN pg_roles r
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname ~ 'audit' AND c.relname <> 'audit_keys'
      AND r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$'
      AND (has_table_privilege(r.oid, c.oid, 'UPDATE, DELETE, TRUNCATE, TRIGGER')
           OR has_any_column_privilege(r.oid, c.oid, 'UPDATE'))";

/// Audit tables and partitions without a trigger that always refuses changes and TRUNCATE.
const UNGUARDED_AUDIT: &str = "
    SELECT c.relname || ' lacks ' || wanted
    FROM pg_class c CROSS JOIN unnest(ARRAY['refuse_row_change', 'refuse_truncate']) AS wanted
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname ~ 'audit' AND c.relname <> 'audit_keys'
      AND NOT EXISTS (
          SELECT FROM pg_trigger t WHERE t.tgrelid = c.oid AND t.tgname = wanted AND t.tgenabled = 'A')";

/// Roles that log in with more than a service may have, or that own something.
const POWERFUL_ROLES: &str = "
    SELECT rolname::text
    FROM pg_roles
    WHERE rolname ~ '^clm_'
      AND (rolsuper OR rolcreatedb OR rolcreaterole OR rolbypassrls OR rolreplication
           OR (rolname ~ '_owner$' AND rolcanlogin)
           OR (rolname !~ '_owner$' AND EXISTS (
               SELECT FROM pg_class WHERE relowner = pg_roles.oid AND relnamespace = 'clm'::regnamespace)))";

/// Functions that anybody may call.
const PUBLIC_FUNCTIONS: &str = "
    SELECT p.proname::text
    FROM pg_proc p, aclexplode(coalesce(p.proacl, acldefault('f', p.proowner))) AS entry
    WHERE p.pronamespace = 'clm'::regnamespace AND entry.grantee = 0";

/// Tables that some runtime role may delete from or truncate.
pub(crate) const DELETABLE: &str = "
    SELECT c.relname || ': ' || r.rolname
    FROM pg_class c CROSS JOIN pg_roles r
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND c.relname <> '_sqlx_migrations'
      AND r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$'
      AND has_table_privilege(r.oid, c.oid, 'DELETE, TRUNCATE')
    ORDER BY 1";

/// Every rule that holds in both databases.
pub(crate) const RULES: &[&str] = &[
    WITHOUT_UUID_PRIMARY_KEY,
    FOREIGN_KEYS_WITHOUT_INDEX,
    WITHOUT_COMMENT,
    WITHOUT_CREATION_TIME,
    ODD_TYPES,
    VIEWS_OF_THE_OWNER,
    GRANTS_ON_PARTITIONS,
    CHANGEABLE_AUDIT,
    UNGUARDED_AUDIT,
    POWERFUL_ROLES,
    PUBLIC_FUNCTIONS,
];
