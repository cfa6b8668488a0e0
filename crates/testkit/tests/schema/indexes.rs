//! Indexes as the specification's strategy says, and every exception with its reason.
//!
//! The exceptions are complete in both directions: one that no longer is one fails too.

use std::collections::BTreeMap;

use clm_testkit::TestDatabases;
use sqlx::PgPool;

use crate::tenancy::{ORG1, app_for, two_tenants};
use crate::{assert_none, run, texts};

/// Columns and why they have no index as the rule says.
type Exceptions = &'static [(&'static str, &'static str)];

const ORDERED_BY_ID: &str =
    "each insert would pay for it; the primary key is in the order of creation, and BRIN costs nothing";
const LATELY_CHANGED: &str =
    "each change would pay for it; rows change soon after they were made, so that BRIN finds them";
const ONE_ROW: &str = "a table of one or two rows";

/// Times of the tables that each issuance writes, which have BRIN instead of a B-tree, and a few without any.
const CORE_TIMES: Exceptions = &[
    ("workflow_instances.created_at brin", ORDERED_BY_ID),
    ("workflow_instances.updated_at brin", LATELY_CHANGED),
    ("certificate_metadata.created_at brin", ORDERED_BY_ID),
    ("certificate_metadata.updated_at brin", LATELY_CHANGED),
    ("mass_revocation_items.created_at brin", ORDERED_BY_ID),
    ("mass_revocation_items.updated_at brin", LATELY_CHANGED),
    ("notifications.created_at brin", ORDERED_BY_ID),
    ("notifications.updated_at brin", LATELY_CHANGED),
    (
        "jobs.created_at",
        "a job is deleted when it is done, most within milliseconds; it is found by when it is due",
    ),
    ("jobs.updated_at", "as created_at"),
    ("idempotency_keys.created_at", "found by key, deleted by end; a row lives for a day"),
    ("idempotency_keys.updated_at", "as created_at"),
    ("follower_positions.created_at", ONE_ROW),
    ("follower_positions.updated_at", ONE_ROW),
];
const SECURE_TIMES: Exceptions = &[
    ("certificate_requests.created_at brin", ORDERED_BY_ID),
    ("certificate_requests.updated_at brin", LATELY_CHANGED),
    ("certificates.created_at brin", ORDERED_BY_ID),
    ("certificates.updated_at brin", LATELY_CHANGED),
    ("issuance_intents.created_at brin", ORDERED_BY_ID),
    ("issuance_intents.updated_at brin", LATELY_CHANGED),
    ("operations.created_at brin", ORDERED_BY_ID),
    ("chain_heads.created_at", ONE_ROW),
    ("chain_heads.updated_at", ONE_ROW),
];

const CORE_DOCUMENTS: Exceptions = &[
    (
        "audit_log.before_state",
        "found by actor, object, action and time; several rows per operation would each pay for it",
    ),
    ("audit_log.after_state", "as before_state"),
    (
        "workflow_instances.context",
        "the request as it came, several KiB with its CSR; what people search is in the inventory",
    ),
    ("workflow_instances.outcome", "the certificate's id and numbers, which have indexes of their own"),
    ("mass_revocations.selection", "read with its row, never searched"),
    ("mass_revocations.impact", "as selection"),
    ("jobs.payload", "read with its job, never searched; lives for milliseconds"),
    ("idempotency_keys.response_headers", "read with its answer, never searched"),
];
const SECURE_DOCUMENTS: Exceptions = &[
    ("certificate_requests.sans", "the certificate has the same names, with an index"),
    ("operations.mandate", "read by operation id alone; evidence, not data"),
    ("operations.outcome", "as mandate"),
    ("events.payload", "read in sequence alone"),
];

/// Times without their index. Of a table that no service changes: BRIN on each. Of the others: a B-tree that begins with
/// the time, descending, on those that are asked for recent rows.
const TIMES: &str = "
    WITH tables AS (
        SELECT c.oid, c.relname, NOT EXISTS (
            SELECT FROM pg_roles r
            WHERE r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$'
              AND (has_table_privilege(r.oid, c.oid, 'UPDATE, DELETE') OR has_any_column_privilege(r.oid, c.oid, 'UPDATE'))
        ) AS append_only
        FROM pg_class c
        WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
          AND c.relname <> '_sqlx_migrations'),
    firsts AS (
        SELECT i.indrelid, i.indkey[0] AS attnum, m.amname, i.indoption[0] & 1 = 1 AS descending
        FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam)
    SELECT t.relname || '.' || a.attname || CASE WHEN brin.found THEN ' brin' ELSE '' END
    FROM tables t
    JOIN pg_attribute a ON a.attrelid = t.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'timestamptz'::regtype
    CROSS JOIN LATERAL (SELECT EXISTS (
        SELECT FROM firsts f WHERE f.indrelid = t.oid AND f.attnum = a.attnum AND f.amname = 'brin') AS found) brin
    WHERE CASE
        WHEN t.append_only THEN NOT brin.found
        ELSE a.attname ~ '^(created|updated|(.*_)?expires)_at$' AND NOT EXISTS (
            SELECT FROM firsts f
            WHERE f.indrelid = t.oid AND f.attnum = a.attnum AND f.amname = 'btree' AND f.descending)
    END";

/// B-trees on the times of tables to which rows are only added.
const TREES_OF_APPENDED_TIMES: &str = "
    SELECT x.relname::text
    FROM pg_index i
    JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam AND m.amname = 'btree'
    JOIN pg_class c ON c.oid = i.indrelid AND c.relnamespace = 'clm'::regnamespace
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum = i.indkey[0] AND a.atttypid = 'timestamptz'::regtype
    WHERE NOT EXISTS (
        SELECT FROM pg_roles r
        WHERE r.rolname ~ '^clm_' AND r.rolname !~ '_(owner|migrator)$'
          AND (has_table_privilege(r.oid, c.oid, 'UPDATE, DELETE') OR has_any_column_privilege(r.oid, c.oid, 'UPDATE')))
      AND NOT c.relispartition AND c.relname <> '_sqlx_migrations'";

/// Documents without a GIN index.
const DOCUMENTS: &str = "
    SELECT c.relname || '.' || a.attname
    FROM pg_class c
    JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped AND a.atttypid = 'jsonb'::regtype
    WHERE c.relnamespace = 'clm'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
      AND NOT EXISTS (
          SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam
          WHERE i.indrelid = c.oid AND m.amname = 'gin' AND a.attnum = ANY (i.indkey::int2[]))";

/// Indexes that are the beginning of another one over the same rows.
const REDUNDANT: &str = "
    WITH trees AS (
        SELECT i.indexrelid, i.indrelid, i.indisunique, x.relname, i.indkey::int2[] AS columns, i.indoption::int2[] AS options,
               i.indclass::oid[] AS classes, coalesce(pg_get_expr(i.indpred, i.indrelid), '') AS predicate
        FROM pg_index i
        JOIN pg_class x ON x.oid = i.indexrelid JOIN pg_am m ON m.oid = x.relam AND m.amname = 'btree'
        JOIN pg_class c ON c.oid = i.indrelid AND NOT c.relispartition
        WHERE c.relnamespace = 'clm'::regnamespace AND c.relname <> '_sqlx_migrations' AND i.indexprs IS NULL)
    SELECT a.relname || ' begins ' || b.relname
    FROM trees a JOIN trees b ON b.indrelid = a.indrelid AND b.indexrelid <> a.indexrelid AND b.predicate = a.predicate
    WHERE NOT a.indisunique
      AND b.columns[0:array_length(a.columns, 1) - 1] = a.columns
      AND b.options[0:array_length(a.options, 1) - 1] = a.options
      AND b.classes[0:array_length(a.classes, 1) - 1] = a.classes";

#[tokio::test]
async fn times_and_documents_of_core_are_indexed() {
    let pool = TestDatabases::start().await.core.superuser().await;
    assert_exceptions(&pool, TIMES, CORE_TIMES).await;
    assert_exceptions(&pool, DOCUMENTS, CORE_DOCUMENTS).await;
}

#[tokio::test]
async fn times_and_documents_of_secure_are_indexed() {
    let pool = TestDatabases::start().await.secure.superuser().await;
    assert_exceptions(&pool, TIMES, SECURE_TIMES).await;
    assert_exceptions(&pool, DOCUMENTS, SECURE_DOCUMENTS).await;
}

#[tokio::test]
async fn no_index_is_one_too_many() {
    let databases = TestDatabases::start().await;
    for pool in [databases.core.superuser().await, databases.secure.superuser().await] {
        assert_none(&pool, TREES_OF_APPENDED_TIMES).await;
        assert_none(&pool, REDUNDANT).await;
    }
}

/// What a prefix ends before is said by code points, whatever the cluster's locale says of them.
#[tokio::test]
async fn what_is_searched_by_its_beginning_is_in_the_order_of_code_points() {
    let pool = TestDatabases::start().await.core.superuser().await;
    let collations = "SELECT attname || ' ' || collname FROM pg_attribute JOIN pg_collation c ON c.oid = attcollation
         WHERE attrelid = 'certificate_metadata'::regclass AND attname IN ('common_name', 'serial_number') ORDER BY 1";
    assert_eq!(texts(&pool, collations).await, ["common_name C", "serial_number C"]);
}

async fn assert_exceptions(pool: &PgPool, rule: &str, exceptions: Exceptions) {
    let allowed: BTreeMap<_, _> = exceptions.iter().copied().collect();
    let found = texts(pool, rule).await;
    let new: Vec<_> = found.iter().filter(|column| !allowed.contains_key(column.as_str())).collect();
    assert!(new.is_empty(), "without an index, and without a reason: {new:?}");
    let old: Vec<_> = allowed.keys().filter(|column| !found.iter().any(|it| it == *column)).collect();
    assert!(old.is_empty(), "no exceptions any more: {old:?}");
}

/// As the service asks, in one organization, of a log in which each value is rare.
#[tokio::test]
async fn each_filter_of_the_audit_log_is_served_by_an_index() {
    let (database, _) = two_tenants().await;
    let superuser = database.superuser().await;
    run(
        &superuser,
        &format!(
            "INSERT INTO audit_log (occurred_at, actor_type, actor_user_id, organization_id, session_id, api_key_id, request_id,
                 operation_id, object_id, ip_address, action, object_type, outcome, created_at)
             SELECT now(), 'user', v, '{ORG1}', v, v, gen_random_uuid(), gen_random_uuid(), gen_random_uuid(), '192.0.2.1'::inet + n % 200,
                 'noun.verb' || n % 200, 'noun' || n % 200, CASE n % 200 WHEN 0 THEN 'refused' ELSE 'allowed' END, now()
             FROM generate_series(1, 20000) n, LATERAL (SELECT lpad((n % 500)::text, 32, '0')::uuid) AS value (v)"
        ),
    )
    .await;
    run(&superuser, "ANALYZE audit_log").await;
    let app = app_for(&database, ORG1).await;
    let id = "'00000000-0000-0000-0000-000000000007'";
    for (column, value) in [
        ("actor_user_id", id),
        ("session_id", id),
        ("api_key_id", id),
        ("request_id", id),
        ("operation_id", id),
        ("object_id", id),
        ("ip_address", "'192.0.2.7'::text::inet"),
        ("action", "'noun.verb7'"),
        ("object_type", "'noun7'"),
        ("outcome", "'refused'"),
    ] {
        let plan = texts(
            &app,
            &format!(
                "EXPLAIN SELECT id FROM audit_log
                 WHERE organization_id = '{ORG1}' AND {column} = {value} ORDER BY id DESC LIMIT 51"
            ),
        )
        .await
        .join("\n");
        let by_index = plan.lines().any(|line| line.contains("Index Cond") && line.contains(column));
        assert!(by_index, "{column}:\n{plan}");
    }
}
