//! Every certificate on both sides: a merge join of Secure's stream with batches of the inventory.

use std::collections::HashSet;

use clm_core_db::DbError;
use clm_core_db::integrity::certificates::{self, InventoryReferenceRow};
use clm_types::{CertificateCategory, CertificateReference, CertificateStatus};
use uuid::Uuid;

use super::differences::{
    Compared, MissingIds, both_sides, dangling, expired_too_early, forged, links_in_core, links_in_secure,
    organization_of, same_revocation, same_status, unsound,
};
use super::{BATCH, Found, GRACE, Run, Subject, created_at};
use crate::merge::{Side, pair_up};
use crate::request_view::stored;
use crate::{Core, CoreError};

impl Core {
    /// The merge join: Secure's stream against batches of the inventory.
    pub(super) async fn compare_certificates(&self, run: &mut Run) -> Result<(), CoreError> {
        let mut stream = self.secure.stream_references(None).await?;
        let mut core = Side::new(|row: &InventoryReferenceRow| row.certificate_id);
        let mut secure = Side::new(|row: &CertificateReference| row.certificate_id.0);
        loop {
            if core.needs_more() {
                core.push(self.inventory_after(core.last()).await?, BATCH);
            }
            if secure.needs_more() {
                match stream.next_batch().await? {
                    Some(batch) => secure.push_some(batch),
                    None => secure.end(),
                }
            }
            let pairs = pair_up(&mut core, &mut secure);
            if pairs.is_empty() && core.is_done() && secure.is_done() {
                return Ok(());
            }
            self.judge(run, pairs).await?;
        }
    }

    async fn inventory_after(&self, after: Option<Uuid>) -> Result<Vec<InventoryReferenceRow>, CoreError> {
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        Ok(certificates::list_references(&mut conn, after, BATCH).await?)
    }

    async fn judge(&self, run: &mut Run, pairs: Vec<Compared>) -> Result<(), CoreError> {
        let missing = self.find_missing(&pairs).await?;
        for pair in pairs {
            run.report.compared += 1;
            let within_secure = pair.right.as_ref().map(unsound).unwrap_or_default();
            let now = self.clock.now();
            let too_early =
                pair.right.as_ref().and_then(|row| expired_too_early(pair.left.as_ref(), row, now));
            for found in dangling(&pair, &missing).into_iter().chain(within_secure).chain(too_early) {
                self.note_pair(run, &pair, found).await?;
            }
            match (&pair.left, &pair.right) {
                (Some(core), Some(secure)) => self.judge_both(run, &pair, core, secure).await?,
                (Some(_), None) if !self.is_new(run, &pair) => {
                    self.judge_missing_certificate(run, &pair).await?;
                }
                (None, Some(secure)) if !self.is_new(run, &pair) => {
                    self.judge_missing_metadata(run, &pair, secure).await?;
                }
                _ => {}
            }
        }
        Ok(())
    }

    fn is_new(&self, run: &Run, pair: &Compared) -> bool {
        run.is_young(created_at(pair.key()), self.clock.now())
    }

    async fn note_pair(&self, run: &mut Run, pair: &Compared, found: Found) -> Result<(), CoreError> {
        let subject = Subject {
            object_type: "certificate",
            object_id: pair.key(),
            organization_id: organization_of(pair),
            detail: both_sides(pair),
        };
        self.note(run, found, subject).await
    }

    async fn judge_both(
        &self,
        run: &mut Run,
        pair: &Compared,
        core: &InventoryReferenceRow,
        secure: &CertificateReference,
    ) -> Result<(), CoreError> {
        for found in forged(core, secure) {
            self.note_pair(run, pair, found).await?;
        }
        if !same_status(stored(&core.status)?, secure.status) || !same_revocation(core, secure) {
            self.judge_status(run, pair).await?;
        }
        if links_in_core(core) != links_in_secure(secure) {
            self.judge_links(run, pair, core, secure).await?;
        }
        if secure.owner_user_id.map(Uuid::from) != core.owner_user_id {
            self.judge_owner(run, pair).await?;
        }
        Ok(())
    }

    /// What Secure lacks has no right answer. Secure is asked again, for it was listed apart.
    async fn judge_missing_certificate(&self, run: &mut Run, pair: &Compared) -> Result<(), CoreError> {
        if self.secure.find_certificate(pair.key().into()).await?.is_some() {
            return Ok(());
        }
        self.note_pair(run, pair, Found::alarm("metadata_without_certificate", "core")).await
    }

    /// A certificate that Core ordered goes back into the inventory; one that nobody ordered is an incident.
    async fn judge_missing_metadata(
        &self,
        run: &mut Run,
        pair: &Compared,
        secure: &CertificateReference,
    ) -> Result<(), CoreError> {
        // One of an authority belongs to Secure alone, and one of nobody is an alarm already.
        if secure.category != CertificateCategory::Leaf || secure.organization_id.is_none() {
            return Ok(());
        }
        let kind = "certificate_without_metadata";
        let mut found = Found::alarm(kind, "secure");
        if let Some(operation_id) = secure.operation_id {
            match self.restore_metadata(secure.certificate_id, operation_id.into()).await {
                Ok(true) => found = Found::repaired(kind, "secure"),
                // Its own operation was faster.
                Ok(false) if self.inventory_row(pair.key()).await?.is_some() => return Ok(()),
                Ok(false) => {}
                Err(error) if error.is_retryable() => return Err(error),
                // What cannot be put back must not hide what comes after it.
                Err(error) => tracing::error!(certificate_id = %secure.certificate_id,
                    error = &error as &dyn std::error::Error, "a certificate cannot be put back into the inventory"),
            }
        }
        self.note_pair(run, pair, found).await
    }

    /// Secure is right about the status, and since when and why. Both sides are read again, for they may have changed
    /// since they were listed: Core first, so that what Secure says is never older than what it replaces.
    async fn judge_status(&self, run: &mut Run, pair: &Compared) -> Result<(), CoreError> {
        let id = pair.key();
        let Some(listed) = self.inventory_row(id).await? else {
            return Ok(());
        };
        let Some(issued) = self.secure.find_certificate(id.into()).await? else {
            return Ok(());
        };
        let (record, status) = (&issued.record, stored(&listed.status)?);
        let reason = record.revocation_reason.map(clm_types::RevocationReason::as_str);
        let same_since =
            (listed.revoked_at, listed.revocation_reason.as_deref()) == (record.revoked_at, reason);
        let same_status = same_status(status, record.status);
        if same_status && same_since {
            return Ok(());
        }
        let kind = if same_status { "revocation_differs" } else { "status_differs" };
        let found = if status == CertificateStatus::Revoked && !same_status {
            // Nothing is taken back.
            Found::alarm(kind, "core")
        } else if self.repair_status(status, listed.version, record).await? {
            Found::repaired(kind, "core")
        } else {
            // Changed meanwhile: the next run will see what it is then.
            return Ok(());
        };
        self.note_pair(run, pair, found).await
    }

    /// Secure is right about which certificate replaced which: it was told so in the mandate.
    async fn judge_links(
        &self,
        run: &mut Run,
        pair: &Compared,
        core: &InventoryReferenceRow,
        secure: &CertificateReference,
    ) -> Result<(), CoreError> {
        let (before, after) = (links_in_core(core), links_in_secure(secure));
        // A renewal on its way: Secure has the new one already.
        let renewed = after.1.and_then(created_at);
        if run.is_young(renewed, self.clock.now()) || self.is_new(run, pair) {
            return Ok(());
        }
        let Some(issued) = self.secure.find_certificate(pair.key().into()).await? else {
            return Ok(());
        };
        let now_in_secure =
            (issued.record.renewal_of.map(Into::into), issued.record.renewed_by.map(Into::into));
        if now_in_secure != before && self.repair_links(pair.key(), before, now_in_secure).await? {
            self.note_pair(run, pair, Found::repaired("renewal_differs", "core")).await?;
        }
        Ok(())
    }

    /// Core is right about the owner: people decide it there.
    async fn judge_owner(&self, run: &mut Run, pair: &Compared) -> Result<(), CoreError> {
        let found = match self.repair_owner(pair.key().into(), run.report.started_at - GRACE).await? {
            None => return Ok(()),
            Some(true) => Found::repaired("owner_differs", "secure"),
            Some(false) => Found::open("owner_differs", "core"),
        };
        self.note_pair(run, pair, found).await
    }

    async fn find_missing(&self, pairs: &[Compared]) -> Result<MissingIds, CoreError> {
        let of_secure = || pairs.iter().filter_map(|pair| pair.right.as_ref());
        let users = distinct(of_secure().filter_map(|row| row.owner_user_id.map(Into::into)));
        let policies = distinct(of_secure().filter_map(|row| row.policy_id.map(Into::into)));
        let organizations = distinct(of_secure().filter_map(|row| row.organization_id.map(Into::into)));
        if users.is_empty() && policies.is_empty() && organizations.is_empty() {
            return Ok(MissingIds::default());
        }
        let mut conn = self.system.acquire().await.map_err(DbError::from)?;
        let missing = certificates::list_missing(&mut conn, &users, &policies, &organizations).await?;
        Ok(MissingIds::of(missing))
    }
}

fn distinct(ids: impl Iterator<Item = Uuid>) -> Vec<Uuid> {
    ids.collect::<HashSet<_>>().into_iter().collect()
}
