//! What the integrity job reads: rows of Secure on the wire, and the streams that bring them.

use clm_types::{CertificateReference, OperationReference, Orphan, Refusal, Time};
use tonic::Streaming;

use crate::client::{broken_answer, refusal};
use crate::codec::{id, id_bytes, optional_id, optional_id_bytes};
use crate::v1;

/// A row that crosses the wire.
trait Row<Batch>: Sized {
    fn read(batch: &Batch) -> Result<Vec<Self>, Refusal>;
}

/// Rows as they arrive, a batch at a time: constant memory.
pub struct RowStream<Batch, T> {
    batches: Streaming<Batch>,
    read: fn(&Batch) -> Result<Vec<T>, Refusal>,
}

/// Certificates.
pub type ReferenceStream = RowStream<v1::ReferenceBatch, CertificateReference>;
/// What operations left behind.
pub type OperationStream = RowStream<v1::OperationBatch, OperationReference>;
/// Rows without their certificate.
pub type OrphanStream = RowStream<v1::OrphanBatch, Orphan>;

impl<Batch, T> RowStream<Batch, T> {
    #[expect(private_bounds, reason = "the rows there are, no others")]
    pub(crate) fn new(batches: Streaming<Batch>) -> Self
    where
        T: Row<Batch>,
    {
        Self { batches, read: T::read }
    }

    /// The next batch; none at the end.
    ///
    /// # Errors
    /// `unavailable` when the stream breaks.
    pub async fn next_batch(&mut self) -> Result<Option<Vec<T>>, Refusal> {
        let Some(batch) = self.batches.message().await.map_err(refusal)? else {
            return Ok(None);
        };
        (self.read)(&batch).map(Some)
    }
}

impl Row<v1::ReferenceBatch> for CertificateReference {
    fn read(batch: &v1::ReferenceBatch) -> Result<Vec<Self>, Refusal> {
        batch.references.iter().map(read_reference).collect()
    }
}

impl Row<v1::OperationBatch> for OperationReference {
    fn read(batch: &v1::OperationBatch) -> Result<Vec<Self>, Refusal> {
        batch.operations.iter().map(read_operation).collect()
    }
}

impl Row<v1::OrphanBatch> for Orphan {
    fn read(batch: &v1::OrphanBatch) -> Result<Vec<Self>, Refusal> {
        batch.orphans.iter().map(read_orphan).collect()
    }
}

fn read_reference(row: &v1::Reference) -> Result<CertificateReference, Refusal> {
    Ok(CertificateReference {
        certificate_id: id(&row.certificate_id, "certificate_id")?,
        organization_id: optional_id(&row.organization_id, "organization_id")?,
        owner_user_id: optional_id(&row.owner_user_id, "owner_user_id")?,
        policy_id: optional_id(&row.policy_id, "policy_id")?,
        operation_id: optional_id(&row.operation_id, "operation_id")?,
        status: row.status.parse().map_err(|_| broken_answer())?,
        not_after: read_time(row.not_after)?,
        category: row.category.parse().map_err(|_| broken_answer())?,
        revoked_at: row.revoked_at.map(read_time).transpose()?,
        revocation_reason: text(&row.revocation_reason)
            .map(str::parse)
            .transpose()
            .map_err(|_| broken_answer())?,
        renewal_of: optional_id(&row.renewal_of, "renewal_of")?,
        renewed_by: optional_id(&row.renewed_by, "renewed_by")?,
        explained: row.explained,
        revocation_recorded: row.revocation_recorded,
        key_fits: row.key_fits,
    })
}

/// A certificate's references for the wire.
pub fn write_reference(row: &CertificateReference) -> v1::Reference {
    v1::Reference {
        certificate_id: id_bytes(row.certificate_id).into(),
        organization_id: optional_id_bytes(row.organization_id).into(),
        owner_user_id: optional_id_bytes(row.owner_user_id).into(),
        policy_id: optional_id_bytes(row.policy_id).into(),
        operation_id: optional_id_bytes(row.operation_id).into(),
        status: row.status.as_str().to_owned(),
        category: row.category.as_str().to_owned(),
        revoked_at: row.revoked_at.map(|time| time.timestamp_micros()),
        revocation_reason: row.revocation_reason.map_or("", |reason| reason.as_str()).to_owned(),
        renewal_of: optional_id_bytes(row.renewal_of).into(),
        renewed_by: optional_id_bytes(row.renewed_by).into(),
        explained: row.explained,
        revocation_recorded: row.revocation_recorded,
        key_fits: row.key_fits,
        not_after: row.not_after.timestamp_micros(),
    }
}

pub(crate) fn read_operation(row: &v1::Operation) -> Result<OperationReference, Refusal> {
    Ok(OperationReference {
        operation_id: id(&row.operation_id, "operation_id")?,
        trace: row.trace.parse().map_err(|_| broken_answer())?,
        object_id: id(&row.object_id, "object_id")?,
        workflow_instance_id: optional_id(&row.workflow_instance_id, "workflow_instance_id")?,
        organization_id: optional_id(&row.organization_id, "organization_id")?,
        owner_user_id: optional_id(&row.owner_user_id, "owner_user_id")?,
        policy_id: optional_id(&row.policy_id, "policy_id")?,
        certificate_id: optional_id(&row.certificate_id, "certificate_id")?,
        status: text(&row.status).map(str::to_owned),
        reason: text(&row.reason).map(str::to_owned),
        recorded_at: read_time(row.recorded_at)?,
    })
}

/// What an operation left behind, for the wire.
pub fn write_operation(row: &OperationReference) -> v1::Operation {
    v1::Operation {
        operation_id: id_bytes(row.operation_id).into(),
        trace: row.trace.as_str().to_owned(),
        object_id: id_bytes(row.object_id).into(),
        workflow_instance_id: optional_id_bytes(row.workflow_instance_id).into(),
        organization_id: optional_id_bytes(row.organization_id).into(),
        owner_user_id: optional_id_bytes(row.owner_user_id).into(),
        policy_id: optional_id_bytes(row.policy_id).into(),
        certificate_id: optional_id_bytes(row.certificate_id).into(),
        status: row.status.clone().unwrap_or_default(),
        reason: row.reason.clone().unwrap_or_default(),
        recorded_at: row.recorded_at.timestamp_micros(),
    }
}

fn read_orphan(row: &v1::Orphan) -> Result<Orphan, Refusal> {
    Ok(Orphan {
        kind: row.kind.parse().map_err(|_| broken_answer())?,
        object_id: id(&row.object_id, "object_id")?,
        certificate_id: id(&row.certificate_id, "certificate_id")?,
    })
}

/// A row without its certificate, for the wire.
pub fn write_orphan(row: &Orphan) -> v1::Orphan {
    v1::Orphan {
        kind: row.kind.as_str().to_owned(),
        object_id: id_bytes(row.object_id).into(),
        certificate_id: id_bytes(row.certificate_id).into(),
    }
}

fn text(text: &str) -> Option<&str> {
    (!text.is_empty()).then_some(text)
}

fn read_time(microseconds: i64) -> Result<Time, Refusal> {
    Time::from_timestamp_micros(microseconds).ok_or_else(broken_answer)
}
