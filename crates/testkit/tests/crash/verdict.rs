//! What both databases must hold after everything that happened, read with their superusers.

use std::collections::BTreeMap;

use clm_local::cluster::Database;
use clm_testkit::TestInstallation;
use clm_x509::Certificate;
use sqlx::{AssertSqlSafe, PgPool};
use uuid::Uuid;

use crate::ledger::{Acknowledged, Ledger};

/// Most objects that a complaint names.
const NAMED: usize = 5;

/// What must not be found in Secure: a complaint, and the query that gives the objects.
const SECURE: &[(&str, &str)] = &[
    (
        "certificates without the intent they were signed by",
        "SELECT c.certificate_id::text FROM certificates c WHERE c.profile <> 'imported' AND NOT EXISTS (
             SELECT FROM issuance_intents i
             WHERE i.operation_id = c.operation_id AND i.certificate_id = c.certificate_id AND i.state = 'signed'
               AND i.serial_number = c.serial_number AND i.created_at <= c.created_at)",
    ),
    (
        "certificates whose intent and issue are not in the audit log, in this order",
        "SELECT c.certificate_id::text FROM certificates c JOIN issuance_intents i ON i.operation_id = c.operation_id
         WHERE NOT EXISTS (
             SELECT FROM secure_audit_log a JOIN secure_audit_log b ON b.operation_id = a.operation_id
             WHERE a.operation_id = c.operation_id AND a.sequence < b.sequence
               AND a.action IN ('certificate.intend', 'authority.intend', 'ocsp_responder.intend')
               AND b.action IN ('certificate.issue', 'authority.create', 'authority.renew', 'authority.cross_certify',
                                'ocsp_responder.create')
               AND position(encode(i.tbs_sha256, 'hex') IN a.canonical_payload) > 0
               AND position(encode(c.fingerprint_sha256, 'hex') IN b.canonical_payload) > 0)",
    ),
    (
        "imported certificates without their audit entry and, but for an authority's, their event",
        "SELECT c.certificate_id::text FROM certificates c
         LEFT JOIN secure_audit_log a ON a.operation_id = c.operation_id AND a.action = 'certificate.import'
         LEFT JOIN events e ON e.operation_id = c.operation_id AND e.kind = 'certificate.imported'
         WHERE c.profile = 'imported' AND c.category = 'leaf' AND (a.id IS NULL OR e.id IS NULL)",
    ),
    (
        "audit entries that say the same twice",
        // A granted key may be fetched again when an answer was lost: each time is on record.
        "SELECT concat_ws(' ', action, operation_id) FROM secure_audit_log
         WHERE outcome = 'allowed' AND operation_id IS NOT NULL AND action <> 'private_key.export'
         GROUP BY action, operation_id HAVING count(*) > 1",
    ),
    (
        "audit entries without their effect",
        "SELECT concat_ws(' ', a.action, a.operation_id) FROM secure_audit_log a
         LEFT JOIN operations o ON o.operation_id = a.operation_id AND o.completed_at IS NOT NULL
         WHERE a.action IN ('certificate.issue', 'certificate.revoke', 'certificate.hold', 'certificate.release',
                            'certificate.change_owner')
           AND a.outcome = 'allowed' AND o.id IS NULL
           AND NOT EXISTS (SELECT FROM certificate_revocations r WHERE r.operation_id = a.operation_id)",
    ),
    (
        "revocations without their audit entry and their event, once",
        "SELECT r.operation_id::text FROM certificate_revocations r
         LEFT JOIN secure_audit_log a ON a.operation_id = r.operation_id AND a.outcome = 'allowed'
             AND a.action IN ('certificate.revoke', 'certificate.hold')
         LEFT JOIN events e ON e.operation_id = r.operation_id
         WHERE r.requested_by_user_id IS NOT NULL
         GROUP BY r.operation_id HAVING count(DISTINCT a.id) <> 1 OR count(DISTINCT e.id) <> 1",
    ),
    (
        "operations with no event, or several",
        "SELECT o.operation_id::text FROM operations o LEFT JOIN events e ON e.operation_id = o.operation_id
         WHERE o.kind IN ('issue', 'revoke', 'owner') GROUP BY o.operation_id HAVING count(e.id) <> 1",
    ),
    (
        "gaps in the sequence of events",
        "SELECT concat(count(*), ' of ', max(sequence)) FROM events HAVING count(DISTINCT sequence) <> max(sequence)",
    ),
    (
        "serial numbers used twice",
        "SELECT encode(serial_number, 'hex') FROM certificates GROUP BY authority_id, serial_number HAVING count(*) > 1",
    ),
    (
        "operations with two certificates",
        "SELECT operation_id::text FROM certificates GROUP BY operation_id HAVING count(*) > 1",
    ),
    (
        "authorities with more than one responder",
        "SELECT authority_id::text FROM certificates WHERE category = 'responder' GROUP BY authority_id HAVING count(*) > 1",
    ),
    (
        "lists without their intent before",
        "SELECT concat(l.authority_id, ' number ', l.crl_number) FROM crls l WHERE NOT EXISTS (
             SELECT FROM secure_audit_log a JOIN secure_audit_log b ON b.operation_id = a.operation_id
             WHERE a.action = 'crl.intend' AND b.action = 'crl.publish' AND a.sequence < b.sequence
               AND a.object_id = l.authority_id
               AND a.canonical_payload ~ format('\"crl_number\":%s\\M', l.crl_number)
               AND position(encode(l.sha256, 'hex') IN b.canonical_payload) > 0)",
    ),
    (
        "gaps in the numbers of lists",
        // Those of an imported authority go on from the old system's.
        "SELECT concat(l.authority_id, ' shard ', l.shard) FROM crls l
         JOIN certificate_authorities a ON a.id = l.authority_id JOIN certificates c ON c.certificate_id = a.certificate_id
         GROUP BY l.authority_id, l.shard
         HAVING count(*) <> max(l.crl_number) - min(l.crl_number) + 1
             OR min(l.crl_number) <> CASE WHEN min(c.profile) = 'imported' THEN 33 ELSE 1 END",
    ),
    (
        "certificates of generated keys that lack the key, or others that have one",
        "SELECT c.certificate_id::text FROM certificates c JOIN certificate_requests r ON r.id = c.request_id
         LEFT JOIN private_keys k ON k.certificate_id = c.certificate_id
         WHERE (r.key_source = 'generated') <> (k.id IS NOT NULL)",
    ),
    (
        "wrapped keys left in intents",
        "SELECT operation_id::text FROM issuance_intents WHERE state = 'signed' AND wrapped_private_key IS NOT NULL",
    ),
];

/// The same for Core.
const CORE: &[(&str, &str)] = &[
    ("failed operations", "SELECT concat_ws(' ', operation_id, failure_code) FROM workflow_instances WHERE status = 'failed'"),
    (
        "mass revocations that did not revoke what they name",
        "SELECT concat_ws(' ', r.id, r.status, r.failure_code, r.failure_detail, i.certificate_id, i.status, i.failure_code)
         FROM mass_revocations r JOIN mass_revocation_items i ON i.mass_revocation_id = r.id
         WHERE r.status NOT IN ('pending', 'running') AND i.status <> 'revoked'",
    ),
    (
        "operations that the audit log does not begin with, once",
        "SELECT i.operation_id::text FROM workflow_instances i
         LEFT JOIN audit_log a ON a.operation_id = i.operation_id AND a.action IN ('request.create', 'request.renew', 'request.revoke', 'request.export_key')
         GROUP BY i.operation_id HAVING count(a.id) <> 1",
    ),
    (
        "certificates that the audit log does not have, once",
        "SELECT m.certificate_id::text FROM certificate_metadata m
         LEFT JOIN audit_log a ON a.operation_id = m.operation_id
             AND a.action = CASE WHEN m.profile = 'imported' THEN 'certificate.import' ELSE 'certificate.issue' END
         GROUP BY m.certificate_id HAVING count(a.id) <> 1",
    ),
    (
        "certificates that their owners were not told of, once",
        "SELECT m.certificate_id::text FROM certificate_metadata m
         LEFT JOIN notifications n ON n.related_operation_id = m.operation_id AND n.kind = 'certificate.issued'
         WHERE m.profile <> 'imported' GROUP BY m.certificate_id HAVING count(n.id) <> 1",
    ),
    (
        "changes of status that the audit log does not have, once",
        "SELECT i.operation_id::text FROM workflow_instances i
         LEFT JOIN audit_log a ON a.operation_id = i.operation_id
           AND a.action IN ('certificate.revoke', 'certificate.hold', 'certificate.release')
         WHERE i.instance_type = 'revocation' AND i.status = 'completed' GROUP BY i.operation_id HAVING count(a.id) <> 1",
    ),
    (
        "certificates revoked together that the audit log does not have, once",
        "SELECT t.operation_id::text FROM mass_revocation_items t
         LEFT JOIN audit_log a ON a.operation_id = t.operation_id AND a.action = 'certificate.revoked'
         WHERE t.status = 'revoked' GROUP BY t.operation_id HAVING count(a.id) <> 1",
    ),
    (
        "mass revocations whose counters are wrong",
        "SELECT r.id::text FROM mass_revocations r JOIN mass_revocation_items t ON t.mass_revocation_id = r.id
         GROUP BY r.id HAVING count(*) <> r.certificate_count
             OR count(*) FILTER (WHERE t.status = 'revoked') <> r.revoked_count
             OR count(*) FILTER (WHERE t.status = 'refused') <> r.refused_count",
    ),
    (
        "private keys that can be fetched without a word to the requester, once",
        "SELECT i.operation_id::text FROM workflow_instances i
         LEFT JOIN notifications n ON n.related_operation_id = i.operation_id AND n.kind = 'request.completed'
         WHERE i.instance_type = 'key_export' AND i.status = 'completed' GROUP BY i.operation_id HAVING count(n.id) <> 1",
    ),
];

/// What is still under way in Core.
const CORE_UNDER_WAY: &str = "SELECT concat_ws(' ', 'job', kind, operation_id, status, 'tried', attempts, last_error) FROM jobs
     UNION ALL SELECT concat_ws(' ', 'operation', operation_id, status) FROM workflow_instances WHERE status = 'executing'
     UNION ALL SELECT concat_ws(' ', 'mass revocation', id) FROM mass_revocations WHERE status = 'running'";

/// What is still under way in Secure.
const SECURE_UNDER_WAY: &str =
    "SELECT concat_ws(' ', 'intent', operation_id) FROM issuance_intents WHERE state = 'open'
     UNION ALL SELECT concat_ws(' ', 'operation', operation_id) FROM operations WHERE completed_at IS NULL";

/// Certificates as Core knows them, and as Secure does.
const CORE_CERTIFICATES: &str = "SELECT certificate_id, concat_ws('|', operation_id, request_id, organization_id, owner_user_id, policy_id, serial_number,
         encode(fingerprint_sha256, 'hex'), status, revocation_reason, revoked_at, renewal_of_certificate_id,
         renewed_by_certificate_id)
     FROM certificate_metadata";
const SECURE_CERTIFICATES: &str = "SELECT certificate_id, concat_ws('|', operation_id, request_id, organization_id, owner_user_id, policy_id,
         encode(serial_number, 'hex'), encode(fingerprint_sha256, 'hex'), status, revocation_reason, revoked_at,
         renewal_of_certificate_id, renewed_by_certificate_id)
     FROM certificates WHERE category = 'leaf'";

/// Requests for certificates as Core knows them, and as Secure does.
const CORE_REQUESTS: &str = "SELECT request_id, concat_ws('|', operation_id, CASE status WHEN 'completed' THEN 'issued' WHEN 'cancelled' THEN 'rejected'
         ELSE status END, CASE status WHEN 'completed' THEN certificate_id END)
     FROM workflow_instances WHERE instance_type IN ('issuance', 'renewal')";
const SECURE_REQUESTS: &str =
    "SELECT id, concat_ws('|', operation_id, status, certificate_id) FROM certificate_requests";

pub(crate) struct Judge {
    core: PgPool,
    secure: PgPool,
}

type Found<T> = Result<T, sqlx::Error>;

impl Judge {
    pub(crate) async fn new(installation: &TestInstallation) -> Self {
        Self {
            core: installation.pool(Database::Core, "postgres").await,
            secure: installation.pool(Database::Secure, "postgres").await,
        }
    }

    /// What is not yet done, or differs between the databases, though nobody asks for anything now.
    pub(crate) async fn disagreement(&self) -> Option<String> {
        self.find_disagreement().await.unwrap_or_else(|error| Some(error.to_string()))
    }

    async fn find_disagreement(&self) -> Found<Option<String>> {
        for (pool, query) in [(&self.core, CORE_UNDER_WAY), (&self.secure, SECURE_UNDER_WAY)] {
            let found = texts(pool, query).await?;
            if let Some(first) = found.first() {
                return Ok(Some(format!("{} under way, as {first}", found.len())));
            }
        }
        let position = number(&self.core, "SELECT max(sequence) FROM follower_positions").await?;
        let end = number(&self.secure, "SELECT max(sequence) FROM events").await?;
        if position != end {
            return Ok(Some(format!("event {end} is the last, {position} was followed")));
        }
        let certificates = (CORE_CERTIFICATES, SECURE_CERTIFICATES);
        for (core, secure) in [certificates, (CORE_REQUESTS, SECURE_REQUESTS)] {
            let (core, secure) = (map(&self.core, core).await?, map(&self.secure, secure).await?);
            let ids = core.keys().chain(secure.keys());
            if let Some(id) = ids.copied().find(|id| core.get(id) != secure.get(id)) {
                return Ok(Some(format!("{id}: Core has {:?}, Secure {:?}", core.get(&id), secure.get(&id))));
            }
        }
        Ok(None)
    }

    /// Everything that is not as it must be, once the databases agree.
    pub(crate) async fn problems(&self, ledger: &Ledger) -> Vec<String> {
        let mut problems = Vec::new();
        for (pool, queries) in [(&self.secure, SECURE), (&self.core, CORE)] {
            for (complaint, query) in queries {
                complain(&mut problems, complaint, texts(pool, query).await.unwrap());
            }
        }
        complain(
            &mut problems,
            "certificates that are not what was intended",
            self.unintended().await.unwrap(),
        );
        complain(&mut problems, "acknowledged, and not so", self.broken_promises(ledger).await.unwrap());
        problems
    }

    /// Certificates and audit entries of Secure.
    pub(crate) async fn size(&self) -> (i64, i64) {
        let certificates = number(&self.secure, "SELECT count(*) FROM certificates").await.unwrap();
        (certificates, number(&self.secure, "SELECT max(sequence) FROM secure_audit_log").await.unwrap())
    }

    /// Certificates whose signed octets are not those of their intent.
    async fn unintended(&self) -> Found<Vec<String>> {
        let rows: Vec<(Uuid, Vec<u8>, Vec<u8>)> = sqlx::query_as(
            "SELECT c.certificate_id, c.der_encoded_cert, i.tbs_sha256 FROM certificates c
             JOIN issuance_intents i ON i.operation_id = c.operation_id",
        )
        .fetch_all(&self.secure)
        .await?;
        let wrong = rows.into_iter().filter(|(_, der, digest)| {
            let certificate = Certificate::parse(der).unwrap();
            clm_x509::sha256(certificate.tbs_der()).as_slice() != digest
        });
        Ok(wrong.map(|(id, ..)| id.to_string()).collect())
    }

    async fn broken_promises(&self, ledger: &Ledger) -> Found<Vec<String>> {
        let rows: Vec<(Uuid, Uuid, String, Option<Uuid>)> =
            sqlx::query_as("SELECT id, operation_id, status, certificate_id FROM workflow_instances")
                .fetch_all(&self.core)
                .await?;
        let promised = ledger.requests();
        let mut broken = Vec::new();
        if rows.len() != promised.len() {
            broken.push(format!(
                "{} calls were answered, {} operations were begun",
                promised.len(),
                rows.len()
            ));
        }
        let mut kept = BTreeMap::new();
        for (id, operation_id, status, certificate_id) in rows {
            kept.insert(id, Acknowledged { operation_id, status, certificate_id });
        }
        for (id, promise) in promised {
            match kept.get(&id) {
                Some(kept) if keeps(kept, &promise) => {}
                found => broken.push(format!("request {id}: {promise:?} became {found:?}")),
            }
        }
        let states: BTreeMap<Uuid, String> =
            map(&self.secure, "SELECT certificate_id, status FROM certificates").await?;
        for (id, state) in ledger.states() {
            if states.get(&id).map(String::as_str) != Some(state) {
                broken.push(format!("certificate {id}: {state} became {:?}", states.get(&id)));
            }
        }
        Ok(broken)
    }
}

/// A request that was under way when it was acknowledged is done now; any other is as it was.
fn keeps(kept: &Acknowledged, promise: &Acknowledged) -> bool {
    let status = if promise.status == "executing" { "completed" } else { &promise.status };
    let certificate = promise.certificate_id.is_none_or(|id| kept.certificate_id == Some(id));
    kept.operation_id == promise.operation_id && kept.status == status && certificate
}

fn complain(problems: &mut Vec<String>, complaint: &str, found: Vec<String>) {
    if !found.is_empty() {
        let named = found.iter().take(NAMED).cloned().collect::<Vec<_>>().join(", ");
        problems.push(format!("{} {complaint}: {named}", found.len()));
    }
}

async fn texts(pool: &PgPool, query: &str) -> Found<Vec<String>> {
    sqlx::query_scalar(AssertSqlSafe(query)).fetch_all(pool).await
}

async fn map(pool: &PgPool, query: &str) -> Found<BTreeMap<Uuid, String>> {
    let rows: Vec<(Uuid, String)> = sqlx::query_as(AssertSqlSafe(query)).fetch_all(pool).await?;
    Ok(rows.into_iter().collect())
}

async fn number(pool: &PgPool, query: &str) -> Found<i64> {
    let number: Option<i64> = sqlx::query_scalar(AssertSqlSafe(query)).fetch_one(pool).await?;
    Ok(number.unwrap_or_default())
}
