//! What an import writes.

use std::collections::{HashMap, HashSet};

use clm_secure_db::blocked_keys::BlockedKeyRow;
use clm_secure_db::certificates::{CertificateRow, StatusChange};
use clm_secure_db::imports::{self, KnownCertificate, RevokedAlone};
use clm_secure_db::revocations::{HoldEnd, RevocationRow};
use clm_types::ids::new_uuid;
use clm_types::{
    CertificateCategory, CertificateId, CertificateRecord, CertificateStatus, OperationId, RevocationReason,
    RevocationRecord, SecureEvent, SerialNumber, Time,
};
use clm_x509::crl::RevokedEntry;
use clm_x509::foreign::ForeignCertificate;
use serde_json::json;
use uuid::Uuid;

use super::checks::twice;
use super::{Import, ImportOutcome, PROFILE};
use crate::blocked_keys::says_compromised;
use crate::committer::{EventDraft, Write};
use crate::recall::operation_named;
use crate::{Secure, SecureError};

/// A status that a list gives to a certificate.
#[derive(Clone, Copy)]
struct Revoked {
    reason: RevocationReason,
    status: CertificateStatus,
    at: Time,
    invalidity_date: Option<Time>,
}

impl Revoked {
    fn new(reason: RevocationReason, at: Time, invalidity_date: Option<Time>) -> Self {
        let on_hold = reason == RevocationReason::CertificateHold;
        let status = if on_hold { CertificateStatus::OnHold } else { CertificateStatus::Revoked };
        Self { reason, status, at, invalidity_date }
    }

    fn by(entry: &RevokedEntry) -> Self {
        let reason = entry.reason.unwrap_or(RevocationReason::Unspecified);
        Self::new(reason, entry.revoked_at, entry.invalidity_date)
    }

    /// As it was taken from a list when the certificate was not here.
    fn before(alone: &RevokedAlone) -> Result<Self, SecureError> {
        let damaged = |_| SecureError::Damaged(format!("the reason of revocation {}", alone.id));
        Ok(Self::new(alone.reason.parse().map_err(damaged)?, alone.revocation_date, None))
    }

    fn change_of(&self, certificate_id: Uuid, from: &str) -> StatusChange {
        StatusChange {
            certificate_id,
            from: from.to_owned(),
            to: self.status.as_str().into(),
            revoked_at: Some(self.at),
            reason: Some(self.reason.as_str().into()),
        }
    }
}

impl Secure {
    /// Stores those of a batch that are not here, with their revocations, in one commit.
    pub(super) async fn import_certificates(
        &self,
        import: &Import<'_>,
        batch: &[ForeignCertificate],
        outcome: &mut ImportOutcome,
    ) -> Result<(), SecureError> {
        let fingerprints: Vec<_> = batch.iter().map(|one| one.fingerprint().to_vec()).collect();
        let serials: Vec<_> = batch.iter().map(|one| one.serial.as_bytes().to_vec()).collect();
        let known = self.list_known(import, &fingerprints, &serials).await?;
        let by_fingerprint: HashMap<_, _> =
            known.iter().map(|one| (one.fingerprint_sha256.as_slice(), one)).collect();
        let own = known.iter().filter(|one| one.authority_id == Some(import.authority_id.into()));
        let used: HashSet<_> = own.map(|one| one.serial_number.as_slice()).collect();
        let alone = self.list_alone(import, &serials).await?;
        let mut write = Write::default();
        for (certificate, fingerprint) in batch.iter().zip(&fingerprints) {
            let serial = certificate.serial.as_bytes();
            let alone = alone.get(serial);
            match by_fingerprint.get(fingerprint.as_slice()) {
                Some(known) if known.authority_id.is_none() => {
                    write.adopted_certificates.push((known.certificate_id, import.authority_id.into()));
                    if let Some(alone) = alone.filter(|_| known.status == "active") {
                        let revoked = Revoked::before(alone)?;
                        write.adopted_revocations.push((alone.id, known.certificate_id));
                        write.status_changes.push(revoked.change_of(known.certificate_id, "active"));
                    }
                }
                Some(_) => {}
                None if used.contains(serial) => return Err(twice(&certificate.serial).into()),
                None => self.add_certificate(import, certificate, alone, &mut write)?,
            }
        }
        if write.imported_certificates.is_empty() && write.adopted_certificates.is_empty() {
            return Ok(());
        }
        outcome.certificates += write.imported_certificates.len();
        outcome.revoked += write.status_changes.len();
        self.commit(write).await
    }

    pub(super) async fn list_known(
        &self,
        import: &Import<'_>,
        fingerprints: &[Vec<u8>],
        serials: &[Vec<u8>],
    ) -> Result<Vec<KnownCertificate>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        Ok(imports::list_known(&mut conn, import.authority_id.into(), fingerprints, serials).await?)
    }

    /// What is revoked without a certificate, by serial number.
    async fn list_alone(
        &self,
        import: &Import<'_>,
        serials: &[Vec<u8>],
    ) -> Result<HashMap<Vec<u8>, RevokedAlone>, SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows = imports::list_revoked_alone(&mut conn, import.authority_id.into(), serials).await?;
        Ok(rows.into_iter().map(|row| (row.serial_number.clone(), row)).collect())
    }

    fn add_certificate(
        &self,
        import: &Import<'_>,
        certificate: &ForeignCertificate,
        alone: Option<&RevokedAlone>,
        write: &mut Write,
    ) -> Result<(), SecureError> {
        let certificate_id = CertificateId::generate(import.now, &self.parts.entropy);
        let operation_id = certificate_operation(import, certificate);
        let owner = import.checked.import.owner;
        let entry = import.revoked.get(&certificate.serial);
        let revoked = match (alone, entry) {
            (Some(alone), _) => Some(Revoked::before(alone)?),
            (None, entry) => entry.map(|entry| Revoked::by(entry)),
        };
        let row = CertificateRow {
            certificate_id: certificate_id.into(),
            authority_id: Some(import.authority_id.into()),
            operation_id: operation_id.into(),
            organization_id: owner.map(|(organization_id, _)| organization_id.into()),
            owner_user_id: owner.map(|(_, user_id)| user_id.into()),
            ..self.foreign_row(import, certificate)
        };
        let record = imported_record(import, certificate, &row, revoked.as_ref());
        write.audit.push(import.audit(
            "certificate.import",
            ("certificate", row.certificate_id),
            Some(operation_id),
            json!({ "serial": record.serial_number, "fingerprint_sha256": record.fingerprint_sha256, "status": record.status }),
        ));
        write.events.push(EventDraft {
            operation_id,
            certificate_id: Some(certificate_id),
            organization_id: record.organization_id,
            event: SecureEvent::CertificateImported(Box::new(record)),
        });
        if let Some(revoked) = &revoked {
            write.status_changes.push(revoked.change_of(row.certificate_id, "active"));
            write.blocked_keys.extend(self.lost_key(
                import,
                revoked,
                row.certificate_id,
                &row.public_key_sha256,
            ));
        }
        match (alone, entry) {
            (Some(alone), _) => write.adopted_revocations.push((alone.id, row.certificate_id)),
            (None, Some(entry)) => self.add_revocation(import, entry, Some(row.certificate_id), write),
            (None, None) => {}
        }
        write.imported_certificates.push(row);
        Ok(())
    }

    /// The key, if this revocation says that it is lost.
    fn lost_key(
        &self,
        import: &Import<'_>,
        revoked: &Revoked,
        certificate_id: Uuid,
        public_key_sha256: &[u8],
    ) -> Option<BlockedKeyRow> {
        says_compromised(revoked.reason).then(|| BlockedKeyRow {
            id: new_uuid(import.now, &self.parts.entropy),
            public_key_sha256: public_key_sha256.to_vec(),
            source: "revocation".into(),
            certificate_id: Some(certificate_id),
            comment: None,
            created_at: import.now,
        })
    }

    /// Revokes what the list names and is not revoked here: certificates from before, and serial numbers that no
    /// certificate is here for. A hold without certificate stays one: the lists name it either way.
    pub(super) async fn import_revocations(
        &self,
        import: &Import<'_>,
        batch: &[RevokedEntry],
        outcome: &mut ImportOutcome,
    ) -> Result<(), SecureError> {
        let serials: Vec<_> = batch.iter().map(|entry| entry.serial.as_bytes().to_vec()).collect();
        let known = self.list_known(import, &[], &serials).await?;
        let known: HashMap<_, _> = known.iter().map(|one| (one.serial_number.as_slice(), one)).collect();
        let alone = self.list_alone(import, &serials).await?;
        let mut write = Write::default();
        for entry in batch {
            let serial = entry.serial.as_bytes();
            match known.get(serial) {
                Some(one) => self.revoke_known(import, entry, one, &mut write),
                None if alone.contains_key(serial) => {}
                None => {
                    self.add_revocation(import, entry, None, &mut write);
                    outcome.revoked_alone += 1;
                }
            }
        }
        if write.revocations.is_empty() {
            return Ok(());
        }
        outcome.revoked += write.status_changes.len();
        self.commit(write).await?;
        self.parts.crl_due.notify_one();
        Ok(())
    }

    /// What is revoked here stays as it is, and so does what was released from a hold; a hold is followed by a revocation for
    /// good.
    fn revoke_known(
        &self,
        import: &Import<'_>,
        entry: &RevokedEntry,
        known: &KnownCertificate,
        write: &mut Write,
    ) {
        let revoked = Revoked::by(entry);
        let from = match (known.status.as_str(), revoked.status) {
            ("active", CertificateStatus::OnHold) if known.was_on_hold => return,
            ("active", _) => "active",
            ("on_hold", CertificateStatus::Revoked) => "on_hold",
            _ => return,
        };
        let (certificate_id, operation_id) = (known.certificate_id, revocation_operation(import, entry));
        if from == "on_hold" {
            write.hold_ends.push(HoldEnd {
                certificate_id,
                operation_id: operation_id.into(),
                ocsp_status: "revoked".into(),
            });
        }
        let organization_id = known.organization_id.map(Into::into);
        write.events.push(EventDraft {
            operation_id,
            certificate_id: Some(certificate_id.into()),
            organization_id,
            event: SecureEvent::CertificateRevoked(RevocationRecord {
                certificate_id: certificate_id.into(),
                operation_id,
                organization_id,
                authority_id: import.authority_id,
                serial_number: entry.serial.to_string(),
                status: revoked.status,
                reason: revoked.reason,
                revoked_at: revoked.at,
                invalidity_date: revoked.invalidity_date,
            }),
        });
        write.status_changes.push(revoked.change_of(certificate_id, from));
        write.blocked_keys.extend(self.lost_key(import, &revoked, certificate_id, &known.public_key_sha256));
        self.add_revocation(import, entry, Some(certificate_id), write);
    }

    fn add_revocation(
        &self,
        import: &Import<'_>,
        entry: &RevokedEntry,
        certificate_id: Option<Uuid>,
        write: &mut Write,
    ) {
        let revoked = Revoked::by(entry);
        let id = new_uuid(import.now, &self.parts.entropy);
        let operation_id = revocation_operation(import, entry);
        write.audit.push(import.audit(
            "revocation.import",
            ("revocation", id),
            Some(operation_id),
            json!({ "serial": entry.serial.to_string(), "reason": revoked.reason, "revoked_at": revoked.at }),
        ));
        write.revocations.push(RevocationRow {
            id,
            certificate_id,
            operation_id: operation_id.into(),
            authority_id: import.authority_id.into(),
            serial_number: entry.serial.as_bytes().to_vec(),
            reason_code: revoked.reason.code().into(),
            reason: revoked.reason.as_str().into(),
            revocation_date: revoked.at,
            invalidity_date: revoked.invalidity_date,
            requested_by_user_id: None,
            comment: None,
        });
    }

    /// The row of a certificate that belongs to nobody yet.
    pub(super) fn foreign_row(
        &self,
        import: &Import<'_>,
        certificate: &ForeignCertificate,
    ) -> CertificateRow {
        let key = &certificate.public_key;
        CertificateRow {
            id: new_uuid(import.now, &self.parts.entropy),
            certificate_id: new_uuid(import.now, &self.parts.entropy),
            authority_id: None,
            request_id: None,
            operation_id: Uuid::nil(),
            issuer_certificate_id: None,
            organization_id: None,
            owner_user_id: None,
            policy_id: None,
            profile: PROFILE.into(),
            category: CertificateCategory::Leaf.as_str().into(),
            serial_number: certificate.serial.as_bytes().to_vec(),
            subject: certificate.subject.clone(),
            issuer: certificate.issuer.clone(),
            common_name: certificate.common_name.clone(),
            sans: certificate.names.iter().map(ToString::to_string).collect(),
            pem_encoded_cert: certificate.pem(),
            der_encoded_cert: certificate.der.clone(),
            fingerprint_sha256: certificate.fingerprint().to_vec(),
            signature_algorithm: certificate.signature_algorithm(),
            key_algorithm: key.algorithm().as_str().into(),
            key_size: i32::try_from(key.algorithm().bits()).unwrap_or(i32::MAX),
            public_key_sha256: key.fingerprint().to_vec(),
            subject_key_id: certificate.subject_key_identifier.clone(),
            authority_key_id: certificate.authority_key_identifier.clone(),
            is_ca: certificate.is_ca,
            not_before: certificate.not_before,
            not_after: certificate.not_after,
            renewal_of_certificate_id: None,
            crl_shard: None,
            created_at: import.now,
        }
    }
}

/// The same certificate is the same operation, whichever import brings it.
pub(super) fn certificate_operation(import: &Import<'_>, certificate: &ForeignCertificate) -> OperationId {
    operation_named(&format!("import/{}/{}", import.authority_id, hex::encode(certificate.fingerprint())))
}

/// The same entry of the same authority is the same operation, whichever import brings it.
fn revocation_operation(import: &Import<'_>, entry: &RevokedEntry) -> OperationId {
    let Import { authority_id, .. } = import;
    let serial: &SerialNumber = &entry.serial;
    let reason = entry.reason.unwrap_or(RevocationReason::Unspecified);
    operation_named(&format!("import/{authority_id}/{serial}/{}/{reason}", entry.revoked_at.timestamp()))
}

fn imported_record(
    import: &Import<'_>,
    certificate: &ForeignCertificate,
    row: &CertificateRow,
    revoked: Option<&Revoked>,
) -> CertificateRecord {
    let owner = import.checked.import.owner;
    CertificateRecord {
        certificate_id: row.certificate_id.into(),
        request_id: None,
        operation_id: row.operation_id.into(),
        organization_id: owner.map(|(organization_id, _)| organization_id),
        owner_user_id: owner.map(|(_, user_id)| user_id),
        policy_id: None,
        authority_id: import.authority_id,
        profile: PROFILE.into(),
        serial_number: certificate.serial.to_string(),
        subject: certificate.subject.clone(),
        common_name: certificate.common_name.clone(),
        issuer: certificate.issuer.clone(),
        sans: certificate.names.iter().map(ToString::to_string).collect(),
        key_algorithm: certificate.public_key.algorithm(),
        not_before: certificate.not_before,
        not_after: certificate.not_after,
        fingerprint_sha256: hex::encode(certificate.fingerprint()),
        status: revoked.map_or(CertificateStatus::Active, |revoked| revoked.status),
        revoked_at: revoked.map(|revoked| revoked.at),
        revocation_reason: revoked.map(|revoked| revoked.reason),
        renewal_of: None,
        renewed_by: None,
        key_in_secure: false,
    }
}
