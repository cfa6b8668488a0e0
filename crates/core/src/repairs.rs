//! What the integrity job mends by itself: Secure is right about certificates.

use clm_core_db::integrity::{self, StatusRepairRow};
use clm_core_db::{DbError, certificates, records};
use clm_types::{CertificateId, CertificateRecord, CertificateStatus, RevocationReason, ids};
use uuid::Uuid;

use crate::records::apply_issued_in;
use crate::request_view::stored;
use crate::validation::Notice;
use crate::{Core, CoreError};

impl Core {
    /// Puts back the metadata of a certificate that an operation of Core ordered; false when none did.
    pub(crate) async fn restore_metadata(
        &self,
        id: CertificateId,
        operation_id: Uuid,
    ) -> Result<bool, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        if !records::is_known(&mut conn, operation_id).await? {
            return Ok(false);
        }
        let Some(issued) = self.secure.find_certificate(id).await? else {
            return Ok(false);
        };
        let now = self.clock.now();
        let record = &issued.record;
        Ok(apply_issued_in(&mut conn, record, false, now, &self.entropy).await?
            || apply_issued_in(&mut conn, record, true, now, &self.entropy).await?)
    }

    /// The status that Core has now.
    pub(crate) async fn status_in_core(&self, id: Uuid) -> Result<Option<CertificateStatus>, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let row = certificates::find(&mut conn, id).await?;
        row.map(|row| stored(&row.status)).transpose()
    }

    /// Takes over Secure's status, unless Core's is no longer `from`.
    pub(crate) async fn repair_status(
        &self,
        from: CertificateStatus,
        record: &CertificateRecord,
    ) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let notice = Notice::of_status(record.authority_id, &record.serial_number);
        let repair = StatusRepairRow {
            certificate_id: record.certificate_id.into(),
            from: from.as_str(),
            to: record.status.as_str(),
            revoked_at: record.revoked_at,
            reason: record.revocation_reason.map(RevocationReason::as_str),
            forget: notice.to_string(),
            audit_id: ids::new_uuid(now, &self.entropy),
            now,
        };
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let repaired = integrity::repair_status(&mut conn, &repair).await?;
        self.validation.forget(&notice);
        Ok(repaired)
    }
}
