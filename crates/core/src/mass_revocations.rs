//! Mass revocations: who selects many certificates, sees what that means, and has somebody else approve it.

use clm_core_db::mass_revocations::{self, ImpactRow, MassRevocationRow};
use clm_core_db::{DbError, audit, tenancy};
use clm_types::{
    AuthorityId, CertificateId, ErrorCode, MassRevocationId, Permission, Refusal, RevocationReason, Time,
    UserId, ids,
};
use serde::{Deserialize, Serialize};
use serde_json::json;

use crate::audit::AuditEntry;
use crate::certificates::CertificateQuery;
use crate::page::{Page, PageRequest};
use crate::request_context::check_comment;
use crate::revocations::check_invalidity_date;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::mass_revocations::ItemRow as MassRevocationItem;
pub use clm_core_db::mass_revocations::MassRevocationRow as MassRevocation;

/// Certificates that can be selected one by one.
const MOST_NAMED: usize = 10_000;

/// Which certificates to revoke: those that fit all of it, are active or on hold, and have not ended.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Selection {
    /// Only of this authority.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub authority_id: Option<AuthorityId>,
    /// Only of this profile.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub profile: Option<String>,
    /// Only of this owner.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub owner_user_id: Option<UserId>,
    /// Only those issued at this moment or after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_after: Option<Time>,
    /// Only those issued before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issued_before: Option<Time>,
    /// Only those that end before this moment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub expires_before: Option<Time>,
    /// Only with this name, typed or as a plain DNS name.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub san: Option<String>,
    /// Only with this tag: `name` or `name=value`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tag: Option<String>,
    /// Only those whose common name or serial number begins so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub text: Option<String>,
    /// Only this one and those with the same key.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub same_key_as: Option<CertificateId>,
    /// Only these.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub certificate_ids: Option<Vec<CertificateId>>,
    /// Really all of the organization, when nothing else is said.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub everything: bool,
}

/// A mass revocation that is asked for.
#[derive(Debug, Clone)]
pub struct NewMassRevocation {
    /// Of which certificates.
    pub selection: Selection,
    /// Why.
    pub reason: RevocationReason,
    /// Since when the keys are suspected.
    pub invalidity_date: Option<Time>,
    /// Why, in words.
    pub comment: Option<String>,
}

/// What a mass revocation means: how many certificates it names, and the 50 largest authorities, profiles and owners.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Impact {
    /// Certificates.
    pub certificates: u64,
    /// By the authority's id.
    pub authorities: Vec<Share>,
    /// By profile.
    pub profiles: Vec<Share>,
    /// By the owner's username.
    pub owners: Vec<Share>,
}

/// How many certificates are of one authority, profile or owner.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Share {
    /// Which; none when unknown.
    pub name: Option<String>,
    /// How many.
    pub certificates: u64,
}

impl Core {
    /// What a mass revocation would mean; nothing is written.
    ///
    /// # Errors
    /// As [`Self::create_mass_revocation`].
    pub async fn plan_mass_revocation(
        &self,
        ctx: &Ctx,
        new: &NewMassRevocation,
    ) -> Result<Impact, CoreError> {
        let selection = self.check_mass_revocation(ctx, new).await?;
        let mut tx = self.search_tx(ctx.organization_id).await?;
        Ok(impact(mass_revocations::count_selected(&mut tx, &selection).await?))
    }

    /// Writes down exactly which certificates are to be revoked; another person must approve it.
    ///
    /// # Errors
    /// `permission_denied`, `invalid_request`, `revocation_reason_invalid`, `invalidity_date_invalid`, `nothing_selected`;
    /// `certificate_not_found` for one whose key is asked after.
    pub async fn create_mass_revocation(
        &self,
        ctx: &Ctx,
        new: &NewMassRevocation,
    ) -> Result<MassRevocation, CoreError> {
        let selection = self.check_mass_revocation(ctx, new).await?;
        let requester = ctx.user_id()?;
        let id = ids::new_uuid(ctx.now, &self.entropy);
        // What is counted is what is written down, whatever is issued meanwhile.
        let mut tx = clm_pg::begin_repeatable_read(&self.app).await?;
        tenancy::enter(&mut tx, ctx.organization_id).await?;
        // A million certificates take longer than a statement usually may.
        clm_pg::lift_time_limits(&mut tx).await?;
        let impact = impact(mass_revocations::count_selected(&mut tx, &selection).await?);
        if impact.certificates == 0 {
            let detail = "no certificate that could be revoked fits the selection";
            return Err(Refusal::new(ErrorCode::NothingSelected, detail).field("/selection").into());
        }
        let row = row(ctx, new, id, requester, &impact)?;
        mass_revocations::insert(&mut tx, &row).await?;
        mass_revocations::insert_items(&mut tx, id, &selection).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, "mass_revocation.create", "mass_revocation")
            .object(id)
            .after(json!({
                "reason": row.reason, "certificates": impact.certificates, "selection": row.selection,
                "comment": row.comment,
            }));
        audit::insert(&mut tx, entry.row()).await?;
        clm_pg::commit(tx).await?;
        Ok(row)
    }

    /// One mass revocation.
    ///
    /// # Errors
    /// `permission_denied`, `not_found`.
    pub async fn show_mass_revocation(
        &self,
        ctx: &Ctx,
        id: MassRevocationId,
    ) -> Result<MassRevocation, CoreError> {
        ctx.require(Permission::CertificateRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        Ok(mass_revocations::find(&mut tx, id.into()).await?.ok_or_else(|| unknown(id))?)
    }

    /// A page of mass revocations, newest first.
    ///
    /// # Errors
    /// `permission_denied`.
    pub async fn list_mass_revocations(
        &self,
        ctx: &Ctx,
        page: PageRequest,
    ) -> Result<Page<MassRevocation>, CoreError> {
        ctx.require(Permission::CertificateRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let rows = mass_revocations::list(&mut tx, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// A page of the certificates of a mass revocation.
    ///
    /// # Errors
    /// `permission_denied`, `not_found`.
    pub async fn list_mass_revocation_items(
        &self,
        ctx: &Ctx,
        id: MassRevocationId,
        status: Option<&str>,
        page: PageRequest,
    ) -> Result<Page<MassRevocationItem>, CoreError> {
        self.show_mass_revocation(ctx, id).await?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let limit = page.fetch_limit();
        let rows = mass_revocations::list_items(&mut tx, id.into(), status, page.before, limit).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// Lets a mass revocation be carried out: by another person than who asked for it.
    ///
    /// # Errors
    /// `permission_denied`, `not_found`, `self_approval`, `workflow_not_pending`.
    pub async fn approve_mass_revocation(
        &self,
        ctx: &Ctx,
        id: MassRevocationId,
    ) -> Result<MassRevocation, CoreError> {
        ctx.require(Permission::RequestApprove)?;
        let approver = ctx.user_id()?;
        let row = self.show_mass_revocation(ctx, id).await?;
        if row.requester_user_id == approver.0 {
            let detail = "nobody approves a mass revocation of their own";
            return Err(Refusal::new(ErrorCode::SelfApproval, detail).hint("ask somebody else").into());
        }
        let row = &row;
        self.in_tenant(ctx.organization_id, "approve_mass_revocation", |mut tx| async move {
            let outcome = mass_revocations::approve(&mut tx, id.into(), approver.into(), ctx.now).await;
            outcome.map_err(|error| ended(error, "wait for approval"))?;
            let entry = AuditEntry::of(ctx, &self.entropy, "mass_revocation.approve", "mass_revocation")
                .object(id)
                .after(json!({ "certificates": row.certificate_count, "reason": row.reason }));
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        self.mass_revocation_due.notify_one();
        self.show_mass_revocation(ctx, id).await
    }

    /// Stops a mass revocation; what it has revoked stays revoked.
    ///
    /// # Errors
    /// `permission_denied`, `not_found`, `workflow_not_pending`.
    pub async fn cancel_mass_revocation(
        &self,
        ctx: &Ctx,
        id: MassRevocationId,
    ) -> Result<MassRevocation, CoreError> {
        ctx.require(Permission::CertificateRevoke)?;
        self.show_mass_revocation(ctx, id).await?;
        self.in_tenant(ctx.organization_id, "cancel_mass_revocation", |mut tx| async move {
            let cancelled = mass_revocations::cancel(&mut tx, id.into(), ctx.now).await;
            cancelled.map_err(|error| ended(error, "wait or run"))?;
            let entry =
                AuditEntry::of(ctx, &self.entropy, "mass_revocation.cancel", "mass_revocation").object(id);
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        self.show_mass_revocation(ctx, id).await
    }

    async fn check_mass_revocation(
        &self,
        ctx: &Ctx,
        new: &NewMassRevocation,
    ) -> Result<mass_revocations::Selection, CoreError> {
        ctx.require(Permission::CertificateRevoke)?;
        check_comment("/comment", new.comment.as_deref())?;
        check_invalidity_date(new.invalidity_date, ctx.now)?;
        if new.reason == RevocationReason::RemoveFromCrl {
            let detail = "removeFromCRL is no reason to revoke";
            return Err(Refusal::new(ErrorCode::RevocationReasonInvalid, detail).field("/reason").into());
        }
        let selection = &new.selection;
        selection.require_sound()?;
        let of_key = match selection.same_key_as {
            Some(id) => {
                self.find_certificate(ctx, id).await?;
                let mut same = self.secure.list_same_key(id, ctx.organization_id).await?;
                same.push(id);
                Some(same)
            }
            None => None,
        };
        let named = match (of_key, selection.certificate_ids.clone()) {
            (Some(same), Some(named)) => Some(named.into_iter().filter(|id| same.contains(id)).collect()),
            (same, named) => same.or(named),
        };
        let search = CertificateQuery {
            san: selection.san.clone(),
            tag: selection.tag.clone(),
            text: selection.text.clone(),
            ..CertificateQuery::default()
        };
        let search = search.filter()?;
        Ok(mass_revocations::Selection {
            authority_id: selection.authority_id.map(Into::into),
            profile: selection.profile.clone(),
            owner_user_id: selection.owner_user_id.map(Into::into),
            issued_after: selection.issued_after,
            issued_before: selection.issued_before,
            expires_before: selection.expires_before,
            san: search.san,
            tags: search.tags,
            tag_name: search.tag_name,
            prefix: search.prefix,
            certificate_ids: named.map(|ids: Vec<CertificateId>| ids.into_iter().map(Into::into).collect()),
            now: ctx.now,
        })
    }
}

impl Selection {
    /// Refuses one that says nothing, or names too many.
    fn require_sound(&self) -> Result<(), Refusal> {
        let says_nothing = self.authority_id.is_none()
            && self.profile.is_none()
            && self.owner_user_id.is_none()
            && self.issued_after.is_none()
            && self.issued_before.is_none()
            && self.expires_before.is_none()
            && self.san.is_none()
            && self.tag.is_none()
            && self.text.is_none()
            && self.same_key_as.is_none()
            && self.certificate_ids.is_none();
        let invalid = |detail: String| Refusal::new(ErrorCode::InvalidRequest, detail).field("/selection");
        if says_nothing != self.everything {
            return Err(invalid("a selection says by what certificates are selected".into())
                .hint("for really all certificates of the organization say `everything`, and nothing else"));
        }
        let long =
            |text: &Option<String>| text.as_ref().is_some_and(|text| text.len() > 255 || text.contains('\0'));
        if long(&self.profile) {
            return Err(invalid("a profile has a short name".into()));
        }
        if self.certificate_ids.as_ref().is_some_and(|ids| ids.len() > MOST_NAMED) {
            return Err(invalid(format!("at most {MOST_NAMED} certificates can be named one by one")));
        }
        Ok(())
    }
}

fn row(
    ctx: &Ctx,
    new: &NewMassRevocation,
    id: uuid::Uuid,
    requester: UserId,
    impact: &Impact,
) -> Result<MassRevocationRow, CoreError> {
    let unwritable = |error| CoreError::defect_of("a selection has no JSON form", error);
    Ok(MassRevocationRow {
        id,
        organization_id: ctx.organization_id.into(),
        requester_user_id: requester.into(),
        approver_user_id: None,
        selection: serde_json::to_value(&new.selection).map_err(unwritable)?,
        impact: serde_json::to_value(impact).map_err(unwritable)?,
        reason: new.reason.as_str().to_owned(),
        invalidity_date: new.invalidity_date,
        comment: new.comment.clone(),
        status: "pending".to_owned(),
        certificate_count: i64::try_from(impact.certificates).unwrap_or(i64::MAX),
        revoked_count: 0,
        refused_count: 0,
        failure_code: None,
        failure_detail: None,
        decided_at: None,
        completed_at: None,
        created_at: ctx.now,
        version: 1,
    })
}

fn impact(rows: Vec<ImpactRow>) -> Impact {
    let mut impact = Impact::default();
    for row in rows {
        let certificates = row.certificates.unsigned_abs();
        let share = Share { name: row.name, certificates };
        match row.by.as_str() {
            "authority" => impact.authorities.push(share),
            "profile" => impact.profiles.push(share),
            "owner" => impact.owners.push(share),
            _ => impact.certificates = certificates,
        }
    }
    impact
}

fn unknown(id: MassRevocationId) -> Refusal {
    Refusal::new(ErrorCode::NotFound, format!("there is no mass revocation {id}"))
}

fn ended(error: DbError, expected: &str) -> CoreError {
    match error {
        DbError::RowCount { .. } => {
            let detail = format!("the mass revocation does not {expected} any more");
            Refusal::new(ErrorCode::WorkflowNotPending, detail).into()
        }
        error => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_selection_says_something_or_that_it_means_everything() {
        let of_profile = Selection { profile: Some("tls-server".into()), ..Selection::default() };
        let everything = Selection { everything: true, ..Selection::default() };
        assert!(of_profile.require_sound().is_ok() && everything.require_sound().is_ok());
        let both = Selection { everything: true, ..of_profile };
        for unsound in [Selection::default(), both] {
            assert_eq!(unsound.require_sound().unwrap_err().code, ErrorCode::InvalidRequest);
        }
    }
}
