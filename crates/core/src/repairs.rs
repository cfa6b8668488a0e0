//! What the integrity job mends by itself: Secure is right about certificates.

use clm_core_db::certificates::CertificateRow;
use clm_core_db::integrity::repairs::{self, LinkRepairRow, RequeuedRow, StatusRepairRow};
use clm_core_db::{DbError, certificates, records};
use clm_types::{CertificateId, CertificateRecord, CertificateStatus, RevocationReason, WorkflowStatus, ids};
use serde_json::Value;
use uuid::Uuid;

use crate::jobs::JobKind;
use crate::records::apply_issued_in;
use crate::validation::Notice;
use crate::{Core, CoreError};

impl Core {
    /// Puts back the metadata of a certificate that an operation of Core ordered, or that was imported; false when none was.
    pub(crate) async fn restore_metadata(
        &self,
        id: CertificateId,
        operation_id: Uuid,
    ) -> Result<bool, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let ordered = records::is_known(&mut conn, operation_id).await?;
        drop(conn);
        let Some(issued) = self.secure.find_certificate(id).await? else {
            return Ok(false);
        };
        if !ordered {
            return self.restore_imported(&issued.record).await;
        }
        let now = self.clock.now();
        let record = &issued.record;
        let restored = self.in_system("restore_metadata", |mut tx| async move {
            // The first one locks the operation, so that the second one finds what the first one saw.
            let restored = apply_issued_in(&mut tx, record, false, now, &self.entropy).await?
                || apply_issued_in(&mut tx, record, true, now, &self.entropy).await?;
            Ok((tx, restored))
        });
        restored.await
    }

    /// The certificate as Core has it now.
    pub(crate) async fn inventory_row(&self, id: Uuid) -> Result<Option<CertificateRow>, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(certificates::find(&mut conn, id).await?)
    }

    /// Takes over Secure's status, date and reason, unless Core's row is no longer the one of `from` and `version`.
    pub(crate) async fn repair_status(
        &self,
        from: CertificateStatus,
        version: i64,
        record: &CertificateRecord,
    ) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let notice = Notice::of_status(record.authority_id, &record.serial_number);
        let repair = StatusRepairRow {
            certificate_id: record.certificate_id.into(),
            from: from.as_str(),
            version,
            to: record.status.as_str(),
            revoked_at: record.revoked_at,
            reason: record.revocation_reason.map(RevocationReason::as_str),
            forget: notice.to_string(),
            audit_id: ids::new_uuid(now, &self.entropy),
            now,
        };
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let repaired = repairs::repair_status(&mut conn, &repair).await?;
        self.validation.forget(&notice);
        Ok(repaired)
    }

    /// Takes over Secure's links to the certificates before and after this one, unless Core's are no longer `from`.
    pub(crate) async fn repair_links(
        &self,
        certificate_id: Uuid,
        from: (Option<Uuid>, Option<Uuid>),
        to: (Option<Uuid>, Option<Uuid>),
    ) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let audit_id = ids::new_uuid(now, &self.entropy);
        let repair = LinkRepairRow { certificate_id, from, to, audit_id, now };
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(repairs::repair_links(&mut conn, &repair).await?)
    }

    /// Enqueues the job of an operation that has none though something is left to do; false when it has one.
    pub(crate) async fn requeue(
        &self,
        operation_id: Uuid,
        status: WorkflowStatus,
        kind: JobKind,
        payload: Value,
    ) -> Result<bool, CoreError> {
        let now = self.clock.now();
        let row = RequeuedRow {
            operation_id,
            status: status.to_string(),
            job_id: ids::new_uuid(now, &self.entropy),
            kind: kind.as_str(),
            payload,
            audit_id: ids::new_uuid(now, &self.entropy),
            now,
        };
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let requeued = repairs::requeue(&mut conn, &row).await?;
        if requeued {
            self.worker.wake.notify_one();
        }
        Ok(requeued)
    }
}
