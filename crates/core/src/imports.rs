//! Certificates that came with an imported authority: Secure tells of each, and the inventory takes it over.

use clm_core_db::imports::{self, ImportedRow};
use clm_core_db::{DbError, PgConnection};
use clm_rpc::client::SequencedEvent;
use clm_types::{CertificateRecord, Entropy, SecureEvent, Time, ids};
use uuid::Uuid;

use crate::records::issued_effect;
use crate::{Core, CoreError};

/// Puts into the inventory what was imported, of events among others; one of an unknown organization is reported.
pub(crate) async fn apply_imported(
    conn: &mut PgConnection,
    events: &[SequencedEvent],
    now: Time,
    entropy: &Entropy,
) -> Result<(), CoreError> {
    let imported = events.iter().filter_map(|event| match &event.event {
        SecureEvent::CertificateImported(record) => Some(imported_row(record, now, entropy)),
        _ => None,
    });
    let rows = imported.collect::<Result<Vec<_>, _>>()?;
    if rows.is_empty() {
        return Ok(());
    }
    let applied = imports::apply_imported(conn, &rows, now).await?;
    let organizations = imports::list_unknown_organizations(conn, &organizations_of(&rows)).await?;
    for organization_id in organizations {
        tracing::error!(%organization_id, "certificates were imported for an organization that there is not");
    }
    tracing::info!(certificates = applied.len(), "took over imported certificates");
    Ok(())
}

fn imported_row(record: &CertificateRecord, now: Time, entropy: &Entropy) -> Result<ImportedRow, CoreError> {
    Ok(ImportedRow {
        issued: issued_effect(record, now, entropy)?.issued,
        owner_user_id: record.owner_user_id.map(Into::into),
        audit_id: ids::new_uuid(now, entropy),
    })
}

fn organizations_of(rows: &[ImportedRow]) -> Vec<Uuid> {
    let mut ids: Vec<_> = rows.iter().map(|row| row.issued.organization_id).collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

impl Core {
    /// Puts an imported certificate back into the inventory, if it was there once. True if this call did it.
    pub(crate) async fn restore_imported(&self, record: &CertificateRecord) -> Result<bool, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        if !imports::is_import(&mut conn, record.operation_id.into()).await? {
            return Ok(false);
        }
        let now = self.clock.now();
        let row = imported_row(record, now, &self.entropy)?;
        Ok(!imports::apply_imported(&mut conn, &[row], now).await?.is_empty())
    }
}
