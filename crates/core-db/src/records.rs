//! What Secure did, reflected in Core: one statement per effect, applied once whoever brings it.
//!
//! The saga that ordered an effect and the follower that reads Secure's events may both come with
//! it, at the same time. Each statement begins with the operation's row. [`apply_revoked`] waits for whoever holds it;
//! [`apply_issued`] leaves out what another transaction holds, and its caller tries that alone after [`lock_operation`].
//! Whoever is second finds the operation completed and does nothing, so nobody is told twice.

use clm_pg::DbError;
use clm_types::Time;
use serde_json::Value;
use sqlx::PgConnection;
use uuid::Uuid;

use crate::columns::column;
use crate::jobs::Held;

/// An issued certificate as the inventory keeps it.
#[derive(Debug, Clone)]
pub struct IssuedRow {
    /// Row id for the inventory.
    pub id: Uuid,
    /// Public identity.
    pub certificate_id: Uuid,
    /// The operation that made it.
    pub operation_id: Uuid,
    /// Whose.
    pub organization_id: Uuid,
    /// The request it came of.
    pub request_id: Option<Uuid>,
    /// Who signed it.
    pub authority_id: Uuid,
    /// Profile name.
    pub profile: String,
    /// Lower-case hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the DER.
    pub fingerprint_sha256: Vec<u8>,
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// First common name.
    pub common_name: Option<String>,
    /// Typed texts.
    pub sans: Vec<String>,
    /// Of its key.
    pub key_algorithm: &'static str,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity.
    pub not_after: Time,
    /// State in Secure.
    pub status: &'static str,
    /// When it was revoked or put on hold since.
    pub revoked_at: Option<Time>,
    /// RFC 5280 reason of that.
    pub revocation_reason: Option<&'static str>,
    /// The certificate that it replaces.
    pub renewal_of_certificate_id: Option<Uuid>,
    /// What came of the operation, for `workflow_instances.outcome`.
    pub outcome: Value,
}

/// A revocation, hold or release.
#[derive(Debug, Clone)]
pub struct RevokedRow {
    /// Which certificate.
    pub certificate_id: Uuid,
    /// The operation that did it.
    pub operation_id: Uuid,
    /// State now.
    pub status: &'static str,
    /// RFC 5280 reason.
    pub reason: &'static str,
    /// When Secure recorded it.
    pub revoked_at: Time,
    /// What came of the operation.
    pub outcome: Value,
    /// What the validation services of other processes must forget.
    pub forget: String,
}

/// What goes along with every effect.
#[derive(Debug, Clone)]
pub struct EffectRow {
    /// The message's id, to the owner.
    pub notification_id: Uuid,
    /// The same to the requester, where that is somebody else.
    pub second_notification_id: Uuid,
    /// What it is about.
    pub notification_kind: &'static str,
    /// Its line.
    pub title: String,
    /// The rest of it.
    pub body: String,
    /// The audit entry's id.
    pub audit_id: Uuid,
    /// When.
    pub now: Time,
}

/// An issued certificate with what goes along.
#[derive(Debug, Clone)]
pub struct IssuedEffect {
    /// The certificate.
    pub issued: IssuedRow,
    /// What people and the audit log are told.
    pub effect: EffectRow,
}

/// An operation that was completed by a certificate.
#[derive(Debug, Clone)]
pub struct AppliedRow {
    /// The operation.
    pub operation_id: Uuid,
    /// Its certificate.
    pub certificate_id: Uuid,
    /// Where it stood before, if from there nothing leads to a certificate: nobody had approved it.
    pub unapproved: Option<String>,
}

/// Puts issued certificates into the inventory, completes their operations, tells owners and requesters, and links the
/// certificates they replace. Gives the operations that this call completed.
///
/// One that nobody approved is taken over too, for what is in no inventory cannot be revoked; the audit entry says so,
/// and a finding is an alarm until it is revoked.
///
/// Operations that another transaction holds are left out, so that one of them does not hold up the rest: call
/// [`lock_operation`] before, in the same transaction, to wait for one.
///
/// `again` puts back rows that are missing though the operation is completed; nobody is told then.
#[expect(clippy::too_many_lines, reason = "one statement, whose parts belong to one commit")]
pub async fn apply_issued(
    conn: &mut PgConnection,
    effects: &[&IssuedEffect],
    again: bool,
) -> Result<Vec<AppliedRow>, DbError> {
    let issued: Vec<&IssuedRow> = effects.iter().map(|it| &it.issued).collect();
    let told: Vec<&EffectRow> = effects.iter().map(|it| &it.effect).collect();
    // The organization is compared in a way that no index serves: the operation alone finds the row.
    let applied = sqlx::query_as!(
        AppliedRow,
        r#"WITH new AS MATERIALIZED (
             SELECT DISTINCT ON (operation_id) id, certificate_id, operation_id, organization_id, request_id, authority_id, profile, serial_number,
                 fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, not_before, not_after, status,
                 revoked_at, revocation_reason, renewal_of, outcome, notification_id, second_notification_id, title, body,
                 audit_id, at
             FROM unnest($1::uuid[], $2::uuid[], $3::uuid[], $4::uuid[], $5::uuid[], $6::uuid[], $7::text[], $8::text[],
                 $9::bytea[], $10::text[], $11::text[], $12::text[], $13::jsonb[], $14::text[], $15::timestamptz[],
                 $16::timestamptz[], $17::text[], $18::timestamptz[], $19::text[], $20::uuid[], $21::jsonb[], $22::uuid[],
                 $23::uuid[], $24::text[], $25::text[], $26::uuid[], $27::timestamptz[])
                 AS new (id, certificate_id, operation_id, organization_id, request_id, authority_id, profile, serial_number,
                     fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, not_before, not_after, status,
                     revoked_at, revocation_reason, renewal_of, outcome, notification_id, second_notification_id, title,
                     body, audit_id, at)
             ORDER BY operation_id),
         held AS MATERIALIZED (
             SELECT i.id, CASE WHEN i.status NOT IN ('executing', 'failed', 'completed') THEN i.status END AS unapproved
             FROM workflow_instances i JOIN new ON new.operation_id = i.operation_id FOR UPDATE OF i SKIP LOCKED),
         instance AS (
             UPDATE workflow_instances i SET status = 'completed', certificate_id = new.certificate_id, current_step = 0,
                 due_at = NULL, outcome = new.outcome, failure_code = NULL, failure_detail = NULL, completed_at = new.at,
                 updated_at = new.at, version = i.version + 1
             FROM new, held
             WHERE i.operation_id = new.operation_id AND i.id = held.id AND i.organization_id IS NOT DISTINCT FROM new.organization_id
               AND i.instance_type IN ('issuance', 'renewal')
               AND (i.status <> 'completed'
                    OR ($28 AND NOT EXISTS (SELECT FROM certificate_metadata m WHERE m.certificate_id = new.certificate_id)))
             RETURNING i.id, i.operation_id, i.organization_id, i.policy_id, i.policy_version, i.requester_user_id,
                 i.owner_user_id, i.context, i.certificate_id, held.unapproved),
         metadata AS (
             INSERT INTO certificate_metadata (id, certificate_id, operation_id, organization_id, request_id, authority_id,
                 profile, serial_number, fingerprint_sha256, subject, issuer, common_name, sans, key_algorithm, not_before,
                 not_after, status, revoked_at, revocation_reason, renewal_of_certificate_id, owner_user_id, policy_id,
                 policy_version, category, environment, tags, custom_fields, key_source, created_at, updated_at)
             SELECT new.id, new.certificate_id, new.operation_id, i.organization_id, new.request_id, new.authority_id,
                 new.profile, new.serial_number, new.fingerprint_sha256, new.subject, new.issuer, new.common_name,
                 ARRAY(SELECT jsonb_array_elements_text(new.sans)), new.key_algorithm, new.not_before, new.not_after,
                 new.status, new.revoked_at, new.revocation_reason, new.renewal_of, i.owner_user_id, i.policy_id,
                 i.policy_version, COALESCE(i.context ->> 'category', 'leaf'), i.context ->> 'environment',
                 COALESCE(i.context -> 'tags', '{}'), COALESCE(i.context -> 'custom_fields', '{}'),
                 i.context -> 'certificate' ->> 'key_source', new.at, new.at
             FROM new JOIN instance i ON i.operation_id = new.operation_id
             ON CONFLICT (certificate_id) DO NOTHING),
         replaced AS (
             UPDATE certificate_metadata m SET renewed_by_certificate_id = new.certificate_id, updated_at = new.at,
                 version = m.version + 1
             FROM new JOIN instance i ON i.operation_id = new.operation_id
             WHERE m.certificate_id = new.renewal_of AND m.organization_id IS NOT DISTINCT FROM i.organization_id),
         told AS (
             INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
                 related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
             SELECT reader.notification_id, reader.user_id, i.organization_id, 'certificate.issued', 'in_app', 'normal',
                 new.title, new.body, new.certificate_id, new.operation_id, 'delivered', new.at, new.at, new.at
             FROM new JOIN instance i ON i.operation_id = new.operation_id, LATERAL (
                 SELECT new.notification_id, COALESCE(i.owner_user_id, i.requester_user_id) AS user_id
                 UNION ALL
                 SELECT new.second_notification_id, i.requester_user_id WHERE i.owner_user_id <> i.requester_user_id) AS reader
             WHERE NOT $28),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 after_state, outcome, detail, created_at)
             SELECT new.audit_id, new.at, 'system', i.organization_id, new.operation_id, 'certificate.issue', 'certificate',
                 new.certificate_id, new.outcome, 'allowed', 
                 COALESCE('issued without approval: the request was ' || i.unapproved,
                          CASE WHEN $28 THEN 'put back into the inventory' END), new.at
             FROM new JOIN instance i ON i.operation_id = new.operation_id),
         alarmed AS (
             INSERT INTO integrity_findings (id, run_id, kind, side, object_type, object_id, organization_id, detail, status,
                 found_at, last_seen_at, created_at, updated_at)
             SELECT new.audit_id, new.audit_id, 'issued_without_approval', 'secure', 'certificate', new.certificate_id,
                 i.organization_id, jsonb_build_object('request_id', i.id, 'operation_id', i.operation_id,
                     'status', i.unapproved), 'alarm', new.at, new.at, new.at, new.at
             FROM new JOIN instance i ON i.operation_id = new.operation_id WHERE i.unapproved IS NOT NULL
             ON CONFLICT (kind, object_id) WHERE resolved_at IS NULL DO NOTHING),
         done AS (
             DELETE FROM jobs WHERE operation_id IN (SELECT operation_id FROM instance) AND kind IN ('submit', 'issue'))
         SELECT operation_id AS "operation_id!", certificate_id AS "certificate_id!", unapproved FROM instance"#,
        &column(&issued, |i| i.id),
        &column(&issued, |i| i.certificate_id),
        &column(&issued, |i| i.operation_id),
        &column(&issued, |i| i.organization_id),
        &column(&issued, |i| i.request_id) as &[Option<Uuid>],
        &column(&issued, |i| i.authority_id),
        &column(&issued, |i| i.profile.clone()),
        &column(&issued, |i| i.serial_number.clone()),
        &column(&issued, |i| i.fingerprint_sha256.clone()),
        &column(&issued, |i| i.subject.clone()),
        &column(&issued, |i| i.issuer.clone()),
        &column(&issued, |i| i.common_name.clone()) as &[Option<String>],
        &column(&issued, |i| Value::from(i.sans.clone())),
        &column(&issued, |i| i.key_algorithm.to_owned()),
        &column(&issued, |i| i.not_before),
        &column(&issued, |i| i.not_after),
        &column(&issued, |i| i.status.to_owned()),
        &column(&issued, |i| i.revoked_at) as &[Option<Time>],
        &column(&issued, |i| i.revocation_reason.map(str::to_owned)) as &[Option<String>],
        &column(&issued, |i| i.renewal_of_certificate_id) as &[Option<Uuid>],
        &column(&issued, |i| i.outcome.clone()),
        &column(&told, |e| e.notification_id),
        &column(&told, |e| e.second_notification_id),
        &column(&told, |e| e.title.clone()),
        &column(&told, |e| e.body.clone()),
        &column(&told, |e| e.audit_id),
        &column(&told, |e| e.now),
        again
    )
    .fetch_all(conn)
    .await?;
    Ok(applied)
}

/// Waits until no other transaction holds the operation, and holds it. Nothing happens if there is none.
pub async fn lock_operation(conn: &mut PgConnection, operation_id: Uuid) -> Result<(), DbError> {
    sqlx::query_scalar!("SELECT id FROM workflow_instances WHERE operation_id = $1 FOR UPDATE", operation_id)
        .fetch_optional(conn)
        .await?;
    Ok(())
}

/// Reflects a revocation, hold or release. True if this call did it.
///
/// One that no operation of Core ordered (an operator of Secure did it) is reflected too; only the
/// follower, which reads in order, may bring such ones. Revoked for good stays revoked, in
/// whichever order two operations are reflected.
pub async fn apply_revoked(
    conn: &mut PgConnection,
    row: &RevokedRow,
    effect: &EffectRow,
) -> Result<bool, DbError> {
    let applied = sqlx::query!(
        r#"WITH instance AS (
             UPDATE workflow_instances SET status = 'completed', current_step = 0, due_at = NULL, outcome = $6,
                 failure_code = NULL, failure_detail = NULL, completed_at = $11, updated_at = $11, version = version + 1
             WHERE operation_id = $2 AND instance_type = 'revocation' AND certificate_id = $1 AND status <> 'completed'
             RETURNING id, organization_id, requester_user_id, owner_user_id),
         gate AS MATERIALIZED (
             SELECT EXISTS (SELECT FROM instance) AS ordered,
                    NOT EXISTS (SELECT FROM workflow_instances WHERE operation_id = $2) AS unordered),
         metadata AS (
             UPDATE certificate_metadata m SET status = $3,
                 revoked_at = CASE WHEN $3 IN ('on_hold', 'revoked') THEN $5::timestamptz END,
                 revocation_reason = CASE WHEN $3 IN ('on_hold', 'revoked') THEN $4::text END,
                 updated_at = $11, version = m.version + 1
             FROM gate
             WHERE m.certificate_id = $1 AND (gate.ordered OR gate.unordered) AND m.status <> 'revoked'
               AND (m.status, m.revocation_reason) IS DISTINCT FROM ($3, CASE WHEN $3 IN ('on_hold', 'revoked') THEN $4::text END)
             RETURNING m.organization_id, m.owner_user_id),
         subject AS (
             SELECT organization_id, COALESCE(owner_user_id, requester_user_id) AS user_id,
                 NULLIF(requester_user_id, COALESCE(owner_user_id, requester_user_id)) AS second_user_id
             FROM instance
             UNION ALL
             SELECT organization_id, owner_user_id, NULL FROM metadata WHERE NOT EXISTS (SELECT FROM instance)),
         told AS (
             INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
                 related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
             SELECT reader.notification_id, reader.user_id, s.organization_id, $8, 'in_app', 'high', $9, $13, $1, $2,
                 'delivered', $11, $11, $11
             FROM subject s, LATERAL (VALUES ($7::uuid, s.user_id), ($14::uuid, s.second_user_id))
                 AS reader (notification_id, user_id)
             WHERE reader.user_id IS NOT NULL),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 after_state, outcome, created_at)
             SELECT $10, $11, 'system', s.organization_id, $2, $8, 'certificate', $1, $6, 'allowed', $11
             FROM subject s),
         done AS (
             DELETE FROM jobs WHERE operation_id = $2 AND kind = 'revoke' AND EXISTS (SELECT FROM instance))
         SELECT EXISTS (SELECT FROM subject) AS "applied!", pg_notify('clm_validation', $12)::text AS notified"#,
        row.certificate_id,
        row.operation_id,
        row.status,
        row.reason,
        row.revoked_at,
        row.outcome,
        effect.notification_id,
        effect.notification_kind,
        effect.title,
        effect.audit_id,
        effect.now,
        row.forget,
        effect.body,
        effect.second_notification_id
    )
    .fetch_one(conn)
    .await?;
    Ok(applied.applied)
}

/// An operation that Secure or Core refused for good.
#[derive(Debug, Clone)]
pub struct FailedRow {
    /// The operation.
    pub operation_id: Uuid,
    /// The stable code.
    pub code: String,
    /// The same in words.
    pub detail: String,
    /// The job that tried it, deleted now; without holding it nothing is done.
    pub job: Held,
    /// The job that closes the request in Secure, for issuance and renewal.
    pub closing_job_id: Uuid,
    /// What that job needs to know.
    pub closing_payload: Value,
}

/// Ends an operation without effect and tells the requester. True if this call did it: not when
/// another try of the job has begun, nor when the operation has ended otherwise.
pub async fn apply_failed(
    conn: &mut PgConnection,
    row: &FailedRow,
    effect: &EffectRow,
) -> Result<bool, DbError> {
    let applied = sqlx::query_scalar!(
        r#"WITH held AS (
             SELECT id FROM jobs WHERE id = $4 AND attempts = $12 AND status = 'running' FOR UPDATE),
         instance AS (
             UPDATE workflow_instances SET status = 'failed', current_step = 0, due_at = NULL, failure_code = $2,
                 failure_detail = $3, completed_at = $10, updated_at = $10, version = version + 1
             WHERE operation_id = $1 AND status IN ('pending', 'executing') AND EXISTS (SELECT FROM held)
             RETURNING id, organization_id, instance_type, requester_user_id, certificate_id),
         skipped AS (
             UPDATE workflow_steps SET status = 'skipped', updated_at = $10, version = version + 1
             WHERE workflow_instance_id IN (SELECT id FROM instance) AND status IN ('waiting', 'pending')),
         told AS (
             INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
                 related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
             SELECT $7, i.requester_user_id, i.organization_id, $8, 'in_app', 'high', $9, $3, i.certificate_id, $1, 'delivered',
                 $10, $10, $10
             FROM instance i),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 outcome, detail, created_at)
             SELECT $11, $10, 'system', i.organization_id, $1, $8, 'request', i.id, 'failed', $2 || ': ' || $3, $10
             FROM instance i),
         done AS (DELETE FROM jobs WHERE id IN (SELECT id FROM held)),
         closing AS (
             INSERT INTO jobs (id, kind, operation_id, organization_id, payload, status, run_at, created_at, updated_at)
             SELECT $5, 'reject', $1, i.organization_id, $6, 'queued', $10, $10, $10
             FROM instance i WHERE i.instance_type IN ('issuance', 'renewal')
             ON CONFLICT (kind, operation_id) DO NOTHING)
         SELECT EXISTS (SELECT FROM instance) AS "applied!""#,
        row.operation_id,
        row.code,
        row.detail,
        row.job.id,
        row.closing_job_id,
        row.closing_payload,
        effect.notification_id,
        effect.notification_kind,
        effect.title,
        effect.now,
        effect.audit_id,
        row.job.attempts
    )
    .fetch_one(conn)
    .await?;
    Ok(applied)
}

/// Completes an operation that lets a private key be fetched, if its job is held. True if this call did it.
pub async fn apply_granted(
    conn: &mut PgConnection,
    operation_id: Uuid,
    job: Held,
    outcome: &serde_json::Value,
    effect: &EffectRow,
) -> Result<bool, DbError> {
    let applied = sqlx::query_scalar!(
        r#"WITH held AS (
             SELECT id FROM jobs WHERE id = $2 AND attempts = $3 AND status = 'running' FOR UPDATE),
         instance AS (
             UPDATE workflow_instances SET status = 'completed', current_step = 0, due_at = NULL, outcome = $4, completed_at = $8,
                 updated_at = $8, version = version + 1
             WHERE operation_id = $1 AND status = 'executing' AND EXISTS (SELECT FROM held)
             RETURNING id, organization_id, requester_user_id, certificate_id),
         told AS (
             INSERT INTO notifications (id, user_id, organization_id, kind, channel, priority, title, body,
                 related_certificate_id, related_operation_id, status, delivered_at, created_at, updated_at)
             SELECT $5, i.requester_user_id, i.organization_id, $6, 'in_app', 'normal', $7, $9, i.certificate_id, $1, 'delivered',
                 $8, $8, $8
             FROM instance i),
         audited AS (
             INSERT INTO audit_log (id, occurred_at, actor_type, organization_id, operation_id, action, object_type, object_id,
                 outcome, created_at)
             SELECT $10, $8, 'system', i.organization_id, $1, $6, 'request', i.id, 'allowed', $8
             FROM instance i),
         done AS (DELETE FROM jobs WHERE id IN (SELECT id FROM held))
         SELECT EXISTS (SELECT FROM instance) AS "applied!""#,
        operation_id,
        job.id,
        job.attempts,
        outcome,
        effect.notification_id,
        effect.notification_kind,
        effect.title,
        effect.now,
        effect.body,
        effect.audit_id
    )
    .fetch_one(conn)
    .await?;
    Ok(applied)
}

/// Which of these operations are not reflected in Core: known here and not completed, or not known here. Those of mass
/// revocations are left to who carries these out.
pub async fn list_unapplied(conn: &mut PgConnection, operation_ids: &[Uuid]) -> Result<Vec<Uuid>, DbError> {
    let rows = sqlx::query_scalar!(
        r#"SELECT asked.operation_id AS "operation_id!" FROM unnest($1::uuid[]) AS asked (operation_id)
         LEFT JOIN workflow_instances i ON i.operation_id = asked.operation_id
         WHERE i.status IS DISTINCT FROM 'completed'
           AND NOT EXISTS (SELECT FROM mass_revocation_items m WHERE m.operation_id = asked.operation_id)"#,
        operation_ids
    )
    .fetch_all(conn)
    .await?;
    Ok(rows)
}

/// Whether Core ordered this operation.
pub async fn is_known(conn: &mut PgConnection, operation_id: Uuid) -> Result<bool, DbError> {
    let known = sqlx::query_scalar!(
        r#"SELECT EXISTS (SELECT FROM workflow_instances WHERE operation_id = $1) AS "known!""#,
        operation_id
    )
    .fetch_one(conn)
    .await?;
    Ok(known)
}
