//! The groups of an organization, as its provisioning client makes, changes and ends them. It says who belongs to them, never
//! which roles they give.

use std::collections::HashMap;

use clm_core_db::{PgConnection, group_members, groups};
use clm_types::{ErrorCode, GroupId, Refusal, UserId};

use crate::group_members::{MOST_MEMBERS, MemberChange};
use crate::groups::{Group, GroupFilter, GroupNames, find_group, granted_by, lock_group};
use crate::provisioning::{Window, Windowed, held_by_client, require_client};
use crate::roles::check_withdrawal;
use crate::{Core, CoreError, Ctx};

/// A group with its members.
#[derive(Debug, Clone)]
pub struct ProvisionedGroup {
    /// The group.
    pub group: Group,
    /// Its members; none when they were not asked for.
    pub members: Vec<UserId>,
}

/// What is to change of a group; what is not given stays.
#[derive(Debug, Clone, Default)]
pub struct ProvisionedGroupChange {
    /// Name to show.
    pub display_name: Option<String>,
    /// What the client calls it, or that it calls it nothing.
    pub external_id: Option<Option<String>>,
    /// Who joins and leaves.
    pub members: MemberChange,
}

impl Core {
    /// Groups that fit, oldest first.
    ///
    /// # Errors
    /// `invalid_request` when they have too many members to be shown together.
    pub async fn list_provisioned_groups(
        &self,
        ctx: &Ctx,
        filter: &GroupFilter,
        window: Window,
        with_members: bool,
    ) -> Result<Windowed<ProvisionedGroup>, CoreError> {
        require_client(ctx)?;
        let (here, list) = (ctx.organization_id.0, format!("{filter:?}"));
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let (after, total) = if let Some(mark) = self.bookmarks.get(&window.key(ctx, &list)) {
            (Some(mark.after), mark.total)
        } else {
            let skipped = window.skipped()?;
            let total = groups::count_fitting(&mut tx, here, filter).await?;
            (groups::find_nth(&mut tx, here, filter, skipped).await?, total)
        };
        let found = groups::list_fitting(&mut tx, here, filter, after, i64::from(window.count)).await?;
        self.leave_bookmark(ctx, &list, window, (found.len(), found.last().map(|row| row.id), total));
        let items = if with_members { with_their_members(&mut tx, ctx, found).await? } else { bare(found) };
        Ok(Windowed { total, items })
    }

    /// A group with its members, or without.
    pub async fn show_provisioned_group(
        &self,
        ctx: &Ctx,
        id: GroupId,
        with_members: bool,
    ) -> Result<ProvisionedGroup, CoreError> {
        require_client(ctx)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        show(&mut tx, ctx, id, with_members).await
    }

    /// Makes a group of the caller's organization, without roles.
    ///
    /// # Errors
    /// `already_exists`; `invalid_request` for a member who does not belong to the organization.
    pub async fn create_provisioned_group(
        &self,
        ctx: &Ctx,
        names: &GroupNames,
        members: &MemberChange,
    ) -> Result<ProvisionedGroup, CoreError> {
        require_client(ctx)?;
        names.check()?;
        let made = self
            .in_system("create_provisioned_group", |mut tx| async move {
                let group = self.insert_group(&mut tx, ctx, names).await?;
                self.change_provisioned_members(&mut tx, ctx, &group, members).await?;
                let made = show(&mut tx, ctx, GroupId(group.id), true).await?;
                Ok((tx, made))
            })
            .await?;
        self.identities.clear();
        Ok(made)
    }

    /// Changes a group that is still at `version`, if that is given.
    ///
    /// # Errors
    /// `group_not_found`, `already_exists`; `invalid_request` for a member who does not belong to the organization;
    /// `permission_denied` for names and members of a group whose roles grant more than the client's user holds.
    pub async fn change_provisioned_group(
        &self,
        ctx: &Ctx,
        id: GroupId,
        version: Option<i64>,
        change: &ProvisionedGroupChange,
    ) -> Result<ProvisionedGroup, CoreError> {
        require_client(ctx)?;
        let changed = self
            .in_system("change_provisioned_group", |mut tx| async move {
                let old = lock_group(&mut tx, ctx, id, version).await?;
                let names = GroupNames {
                    display_name: change.display_name.clone().unwrap_or_else(|| old.display_name.clone()),
                    external_id: change.external_id.clone().unwrap_or_else(|| old.external_id.clone()),
                };
                let group = if names.display_name == old.display_name && names.external_id == old.external_id
                {
                    old
                } else {
                    names.check()?;
                    let held = held_by_client(&mut tx, ctx).await?;
                    check_withdrawal(granted_by(&mut tx, old.id).await?, held)?;
                    self.rename_group(&mut tx, ctx, &old, &names).await?
                };
                self.change_provisioned_members(&mut tx, ctx, &group, &change.members).await?;
                let shown = show(&mut tx, ctx, id, true).await?;
                Ok((tx, shown))
            })
            .await?;
        self.identities.clear();
        Ok(changed)
    }

    /// Deletes a group: what its members held by it ends at once.
    ///
    /// # Errors
    /// `group_not_found`; `permission_denied` for a group whose roles grant more than the client's user holds.
    pub async fn delete_provisioned_group(
        &self,
        ctx: &Ctx,
        id: GroupId,
        version: Option<i64>,
    ) -> Result<(), CoreError> {
        require_client(ctx)?;
        self.in_system("delete_provisioned_group", |mut tx| async move {
            let group = lock_group(&mut tx, ctx, id, version).await?;
            let held = held_by_client(&mut tx, ctx).await?;
            check_withdrawal(granted_by(&mut tx, group.id).await?, held)?;
            self.end_group(&mut tx, ctx, &group).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    async fn change_provisioned_members(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        group: &Group,
        members: &MemberChange,
    ) -> Result<(), CoreError> {
        if members.is_empty() {
            return Ok(());
        }
        let held = held_by_client(conn, ctx).await?;
        self.change_members(conn, ctx, group, members, held).await.map_err(of_members)?;
        Ok(())
    }
}

/// The group is there: what is missing is a member.
fn of_members(error: CoreError) -> CoreError {
    match error {
        CoreError::Refused(refusal) if refusal.code == ErrorCode::UserNotFound => {
            Refusal { code: ErrorCode::InvalidRequest, ..refusal }.field("/members").into()
        }
        other => other,
    }
}

async fn show(
    conn: &mut PgConnection,
    ctx: &Ctx,
    id: GroupId,
    with_members: bool,
) -> Result<ProvisionedGroup, CoreError> {
    let group = find_group(conn, ctx, id).await?;
    let members = if with_members {
        let limit = i64::try_from(MOST_MEMBERS).unwrap_or(i64::MAX);
        let members = group_members::list_of(conn, ctx.organization_id.0, &[id.0], limit).await?;
        members.into_iter().map(|(_, user)| UserId(user)).collect()
    } else {
        Vec::new()
    };
    Ok(ProvisionedGroup { group, members })
}

fn bare(groups: Vec<Group>) -> Vec<ProvisionedGroup> {
    groups.into_iter().map(|group| ProvisionedGroup { group, members: Vec::new() }).collect()
}

/// The members of all groups of a page by one query; not of so many that the page could not be sent.
async fn with_their_members(
    conn: &mut PgConnection,
    ctx: &Ctx,
    found: Vec<Group>,
) -> Result<Vec<ProvisionedGroup>, CoreError> {
    let ids: Vec<_> = found.iter().map(|group| group.id).collect();
    let limit = i64::try_from(MOST_MEMBERS + 1).unwrap_or(i64::MAX);
    let all = group_members::list_of(conn, ctx.organization_id.0, &ids, limit).await?;
    if all.len() > MOST_MEMBERS {
        let detail = format!("these groups have more than {MOST_MEMBERS} members together");
        return Err(Refusal::new(ErrorCode::InvalidRequest, detail)
            .field("/count")
            .hint("ask for fewer groups, or with excludedAttributes=members")
            .into());
    }
    let mut members: HashMap<_, Vec<UserId>> = HashMap::new();
    for (group, user) in all {
        members.entry(group).or_default().push(UserId(user));
    }
    let shown =
        |group: Group| ProvisionedGroup { members: members.remove(&group.id).unwrap_or_default(), group };
    Ok(found.into_iter().map(shown).collect())
}
