//! Organizations: the tenants.

use chrono::TimeDelta;
use clm_core_db::organizations::{self, NewOrganizationRow};
use clm_core_db::{PgConnection, audit, notices, references};
use clm_types::{ErrorCode, OrganizationId, Permission, Refusal, Time};
use serde_json::{Value, json};

use crate::audit::AuditEntry;
use crate::error::{exists_already, has_changed};
use crate::fields::{check_code, check_name};
use crate::organization_settings::OrganizationSettings;
use crate::page::{Page, PageRequest};
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::organizations::OrganizationRow as Organization;

/// An organization is suspended for so long before it is closed: what somebody was let in for before that is under way by
/// then, and is seen.
const SUSPENDED_BEFORE: TimeDelta = TimeDelta::minutes(1);

/// A new organization.
#[derive(Debug, Clone)]
pub struct NewOrganization {
    /// Unique short name.
    pub code: String,
    /// Name to show.
    pub name: String,
}

/// What an organization can change of itself.
#[derive(Debug, Clone)]
pub struct OrganizationChange {
    /// Name to show.
    pub name: String,
    /// Its settings: [`OrganizationSettings`].
    pub settings: Value,
}

pub(crate) fn organization_not_found(id: OrganizationId) -> Refusal {
    Refusal::new(ErrorCode::OrganizationNotFound, format!("there is no organization {id}"))
}

impl Core {
    /// Makes an organization with the default workflows and policies. Needs the permission everywhere.
    pub async fn create_organization(
        &self,
        ctx: &Ctx,
        new: &NewOrganization,
    ) -> Result<Organization, CoreError> {
        ctx.require_global(Permission::OrganizationWrite)?;
        check_code(&new.code, "/code")?;
        check_name(&new.name, "/name")?;
        self.in_system("create_organization", |mut tx| async move {
            let organization = insert_organization(self, &mut tx, ctx, new).await?;
            let inside = Ctx { organization_id: OrganizationId(organization.id), ..ctx.clone() };
            crate::defaults::insert_defaults(self, &mut tx, &inside).await?;
            Ok((tx, organization))
        })
        .await
    }

    /// The caller's own organization, or any for those who may read everywhere.
    pub async fn show_organization(&self, ctx: &Ctx, id: OrganizationId) -> Result<Organization, CoreError> {
        ctx.require(Permission::OrganizationRead)?;
        if id != ctx.organization_id && ctx.require_global(Permission::OrganizationRead).is_err() {
            return Err(organization_not_found(id).into());
        }
        let mut tx = clm_pg::begin(&self.system).await?;
        find_organization(&mut tx, id).await
    }

    /// Every organization for those who may read everywhere, else the caller's own.
    pub async fn list_organizations(
        &self,
        ctx: &Ctx,
        page: PageRequest,
    ) -> Result<Page<Organization>, CoreError> {
        ctx.require(Permission::OrganizationRead)?;
        let mut tx = if ctx.require_global(Permission::OrganizationRead).is_ok() {
            clm_pg::begin(&self.system).await?
        } else {
            self.tenant_tx(ctx.organization_id).await?
        };
        let rows = organizations::list(&mut tx, page.before, page.fetch_limit()).await?;
        Ok(Page::cut(rows, page, |row| row.id))
    }

    /// Changes name and settings of the caller's organization, or of any for those who may do so everywhere.
    pub async fn update_organization(
        &self,
        ctx: &Ctx,
        id: OrganizationId,
        version: i64,
        change: &OrganizationChange,
    ) -> Result<Organization, CoreError> {
        ctx.require(Permission::OrganizationWrite)?;
        if id != ctx.organization_id && ctx.require_global(Permission::OrganizationWrite).is_err() {
            return Err(organization_not_found(id).into());
        }
        check_name(&change.name, "/name")?;
        // Noted where it is changed.
        let inside = &Ctx { organization_id: id, ..ctx.clone() };
        let organization = self
            .in_tenant(id, "update_organization", |mut tx| async move {
                let old = find_organization(&mut tx, id).await?;
                OrganizationSettings::check(&change.settings, &old.settings)?;
                organizations::update(&mut tx, id.0, version, &change.name, &change.settings, ctx.now)
                    .await
                    .map_err(has_changed)?;
                let entry = AuditEntry::of(inside, &self.entropy, "organization.update", "organization")
                    .object(id)
                    .before(json!({"name": old.org_name, "settings": old.settings}))
                    .after(json!({"name": change.name, "settings": change.settings}));
                audit::insert(&mut tx, entry.row()).await?;
                // Whether a second factor is asked for stands in the settings.
                notices::send(&mut tx, notices::IDENTITY).await?;
                let organization = find_organization(&mut tx, id).await?;
                Ok((tx, organization))
            })
            .await?;
        self.identities.clear();
        Ok(organization)
    }

    /// Suspends an organization: nobody works in it any more. Validation services go on.
    pub async fn suspend_organization(
        &self,
        ctx: &Ctx,
        id: OrganizationId,
        version: i64,
    ) -> Result<Organization, CoreError> {
        check_elsewhere(ctx, id)?;
        self.set_organization_status(ctx, id, version, "suspended").await
    }

    /// Closes a suspended organization for good: nobody resumes it. None of its certificates may be good, for nobody
    /// could revoke it.
    ///
    /// # Errors
    /// `conflict` while there is such a certificate, and unless it has been suspended for a minute.
    pub async fn close_organization(
        &self,
        ctx: &Ctx,
        id: OrganizationId,
        version: i64,
    ) -> Result<Organization, CoreError> {
        check_elsewhere(ctx, id)?;
        self.set_organization_status(ctx, id, version, "closed").await
    }

    /// Lets people work in a suspended organization again.
    pub async fn resume_organization(
        &self,
        ctx: &Ctx,
        id: OrganizationId,
        version: i64,
    ) -> Result<Organization, CoreError> {
        self.set_organization_status(ctx, id, version, "active").await
    }

    async fn set_organization_status(
        &self,
        ctx: &Ctx,
        id: OrganizationId,
        version: i64,
        status: &'static str,
    ) -> Result<Organization, CoreError> {
        ctx.require_global(Permission::OrganizationWrite)?;
        // Noted where it counts.
        let inside = &Ctx { organization_id: id, ..ctx.clone() };
        let organization = self
            .in_system("set_organization_status", |mut tx| async move {
                let old = find_organization(&mut tx, id).await?;
                if old.status == "closed" {
                    return Err(
                        Refusal::new(ErrorCode::Conflict, "the organization is closed, for good").into()
                    );
                }
                if status == "closed" {
                    check_suspended(&old, ctx.now)?;
                    check_ended(&mut tx, id, ctx.now).await?;
                }
                organizations::set_status(&mut tx, id.0, version, status, ctx.now)
                    .await
                    .map_err(has_changed)?;
                let entry = AuditEntry::of(inside, &self.entropy, "organization.set_status", "organization")
                    .object(id)
                    .before(json!({"status": old.status}))
                    .after(json!({"status": status}));
                audit::insert(&mut tx, entry.row()).await?;
                notices::send(&mut tx, notices::IDENTITY).await?;
                let organization = find_organization(&mut tx, id).await?;
                Ok((tx, organization))
            })
            .await?;
        self.identities.clear();
        self.references.clear();
        Ok(organization)
    }
}

/// Fails unless the organization is suspended, and has been for longer than anybody may still believe that it is active.
fn check_suspended(organization: &Organization, now: Time) -> Result<(), Refusal> {
    if organization.status != "suspended" {
        return Err(Refusal::new(ErrorCode::Conflict, "only a suspended organization is closed")
            .hint("suspend it, and close it a minute later: clm org suspend"));
    }
    if now < organization.updated_at + SUSPENDED_BEFORE {
        return Err(Refusal::new(
            ErrorCode::Conflict,
            "the organization was suspended or changed less than a minute ago",
        )
        .hint("close it a minute after that: what was asked for until then is to be seen"));
    }
    Ok(())
}

/// Fails while a certificate is good, on hold or being issued.
async fn check_ended(conn: &mut PgConnection, id: OrganizationId, now: Time) -> Result<(), CoreError> {
    organizations::lock(conn, id.0).await?;
    if references::count_licensed(conn, id.0, None, now, 1).await? == 0 {
        return Ok(());
    }
    let detail = "the organization has certificates that are active, on hold or being issued: nobody could revoke them";
    Err(Refusal::new(ErrorCode::Conflict, detail)
        .hint("revoke them, or suspend the organization until they have ended")
        .into())
}

/// Nobody shuts the organization that they work in.
fn check_elsewhere(ctx: &Ctx, id: OrganizationId) -> Result<(), Refusal> {
    if id != ctx.organization_id {
        return Ok(());
    }
    let detail = "you work in this organization right now; suspend or close it from another one";
    Err(Refusal::new(ErrorCode::Conflict, detail))
}

pub(crate) async fn find_organization(
    conn: &mut PgConnection,
    id: OrganizationId,
) -> Result<Organization, CoreError> {
    let found = organizations::find(conn, id.0).await?;
    found.ok_or_else(|| organization_not_found(id).into())
}

/// Adds an organization with its audit entry, in an open transaction; asks nothing.
pub(crate) async fn insert_organization(
    core: &Core,
    conn: &mut PgConnection,
    ctx: &Ctx,
    new: &NewOrganization,
) -> Result<Organization, CoreError> {
    let id = OrganizationId::generate(ctx.now, &core.entropy);
    let row = NewOrganizationRow { id: id.0, org_code: &new.code, org_name: &new.name, created_at: ctx.now };
    organizations::insert(conn, &row).await.map_err(|error| {
        exists_already(error, format!("there is an organization `{}` already", new.code), "/code")
    })?;
    let inside = Ctx { organization_id: id, ..ctx.clone() };
    let entry = AuditEntry::of(&inside, &core.entropy, "organization.create", "organization")
        .object(id)
        .after(json!({"code": new.code, "name": new.name}));
    audit::insert(conn, entry.row()).await?;
    find_organization(conn, id).await
}
