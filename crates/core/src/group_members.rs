//! Who belongs to a group. Members hold the group's roles by ordinary assignments that name the group; what was given by
//! hand is never touched.

use std::collections::BTreeSet;

use clm_core_db::group_members::{self, Change};
use clm_core_db::{PgConnection, audit, groups, notices, one_time_links};
use clm_types::{ErrorCode, GroupId, Permission, Refusal, RoleId, UserId, ids};
use serde_json::json;
use uuid::Uuid;

use crate::actor::PermissionSet;
use crate::audit::AuditEntry;
use crate::groups::{Group, change, find_group, granted_by, lock_group, reason};
use crate::page::{Page, PageRequest};
use crate::roles::{check_grant, check_withdrawal};
use crate::users::user_not_found;
use crate::{Core, CoreError, Ctx};

pub use clm_core_db::group_members::GroupMemberRow as GroupMember;

/// Members of one group at most.
pub const MOST_MEMBERS: usize = 10_000;
/// Members whose names are put on record with a change; of more, their number.
const MOST_RECORDED: usize = 100;

/// What becomes of the members of a group: `removed` leave or, where `others_leave`, all who are not added; `added` join.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MemberChange {
    /// Whether everybody leaves who is not added.
    pub others_leave: bool,
    /// Who joins or stays.
    pub added: BTreeSet<UserId>,
    /// Who leaves.
    pub removed: BTreeSet<UserId>,
}

impl MemberChange {
    /// Whether nothing is asked for.
    pub fn is_empty(&self) -> bool {
        !self.others_leave && self.added.is_empty() && self.removed.is_empty()
    }
}

impl Core {
    /// Members of a group, newest first.
    pub async fn list_group_members(
        &self,
        ctx: &Ctx,
        id: GroupId,
        page: PageRequest,
    ) -> Result<Page<GroupMember>, CoreError> {
        ctx.require(Permission::UserRead)?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        find_group(&mut tx, ctx, id).await?;
        let rows = group_members::list(&mut tx, ctx.organization_id.0, id.0, page.before, page.fetch_limit());
        Ok(Page::cut(rows.await?, page, |row| row.id))
    }

    /// Lets users of the organization join a group and leave it, all at once. Who is a member already stays one, and who is
    /// none need not leave.
    ///
    /// # Errors
    /// `user_not_found` for somebody who does not belong to the organization; `permission_denied` for a group whose roles
    /// grant more than the caller holds.
    pub async fn change_group_members(
        &self,
        ctx: &Ctx,
        id: GroupId,
        wanted: &MemberChange,
    ) -> Result<(), CoreError> {
        ctx.require(Permission::GroupWrite)?;
        self.in_system("change_group_members", |mut tx| async move {
            let group = lock_group(&mut tx, ctx, id, None).await?;
            self.change_members(&mut tx, ctx, &group, wanted, ctx.actor.permissions).await?;
            Ok((tx, ()))
        })
        .await?;
        self.identities.clear();
        Ok(())
    }

    /// Changes the members of a locked group, by somebody who holds `held`, in an open transaction. Nobody hands out by a
    /// group what they do not hold. Whether anything changed.
    pub(crate) async fn change_members(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        group: &Group,
        wanted: &MemberChange,
        held: PermissionSet,
    ) -> Result<bool, CoreError> {
        let granted = granted_by(conn, group.id).await?;
        if !wanted.added.is_empty() {
            check_grant(granted, held)?;
        }
        if wanted.others_leave || !wanted.removed.is_empty() {
            check_withdrawal(granted, held)?;
        }
        let left = self.take_out(conn, ctx, group, wanted).await?;
        let joined = self.take_in(conn, ctx, group, wanted).await?;
        if left.is_empty() && joined.is_empty() {
            return Ok(false);
        }
        groups::update(conn, group, ctx.now).await?;
        let entry =
            AuditEntry::of(ctx, &self.entropy, "group.change_members", "group").object(group.id).after(
                json!({"display_name": group.display_name, "joined": shown(&joined), "left": shown(&left)}),
            );
        audit::insert(conn, entry.row()).await?;
        notices::send(conn, notices::IDENTITY).await?;
        Ok(true)
    }

    async fn take_out(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        group: &Group,
        wanted: &MemberChange,
    ) -> Result<Vec<Uuid>, CoreError> {
        let reason = format!("left the group {}", group.display_name);
        let change = change(ctx, group, &reason);
        let left = if wanted.others_leave {
            group_members::remove_others(conn, change, &uuids(&wanted.added)).await?
        } else if wanted.removed.is_empty() {
            Vec::new()
        } else {
            group_members::remove(conn, change, &uuids(&wanted.removed)).await?
        };
        if !left.is_empty() {
            group_members::end_assignments(conn, change, Some(&left), None).await?;
        }
        Ok(left)
    }

    async fn take_in(
        &self,
        conn: &mut PgConnection,
        ctx: &Ctx,
        group: &Group,
        wanted: &MemberChange,
    ) -> Result<Vec<Uuid>, CoreError> {
        if wanted.added.is_empty() {
            return Ok(Vec::new());
        }
        check_belonging(conn, ctx, &wanted.added).await?;
        let reason = reason(group);
        let change = change(ctx, group, &reason);
        let added = uuids(&wanted.added);
        check_room(conn, group, &added).await?;
        let rows: Vec<Uuid> = added.iter().map(|_| ids::new_uuid(ctx.now, &self.entropy)).collect();
        let joined = group_members::add(conn, change, &rows, &added).await?;
        if !joined.is_empty() {
            self.assign_by_group(conn, change, Some(&joined), None).await?;
        }
        Ok(joined)
    }

    /// Assigns what members of a group do not hold by it yet, in an open transaction.
    pub(crate) async fn assign_by_group(
        &self,
        conn: &mut PgConnection,
        change: Change<'_>,
        users: Option<&[Uuid]>,
        role: Option<RoleId>,
    ) -> Result<(), CoreError> {
        let mut given = group_members::assign(conn, change, users, role.map(Into::into)).await?;
        given.sort_unstable();
        given.dedup();
        // Whoever made them may not make one for somebody who may do this.
        Ok(one_time_links::revoke_all_of(conn, &given, change.now).await?)
    }
}

/// Fails unless all of them belong to the organization; then none leaves it meanwhile.
async fn check_belonging(
    conn: &mut PgConnection,
    ctx: &Ctx,
    users: &BTreeSet<UserId>,
) -> Result<(), CoreError> {
    let there = group_members::lock_belonging(conn, ctx.organization_id.0, &uuids(users)).await?;
    let there: BTreeSet<UserId> = there.into_iter().map(UserId).collect();
    match users.difference(&there).next() {
        Some(&missing) => Err(user_not_found(missing).into()),
        None => Ok(()),
    }
}

/// Fails when a locked group would have too many members with these.
async fn check_room(conn: &mut PgConnection, group: &Group, added: &[Uuid]) -> Result<(), CoreError> {
    let members = group_members::count_with(conn, group.id, added).await?;
    if usize::try_from(members).unwrap_or(usize::MAX) <= MOST_MEMBERS {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::Conflict, format!("a group has {MOST_MEMBERS} members at most"))
        .hint("make several groups, and give each the same roles")
        .into())
}

fn uuids(users: &BTreeSet<UserId>) -> Vec<Uuid> {
    users.iter().map(|id| id.0).collect()
}

fn shown(users: &[Uuid]) -> serde_json::Value {
    if users.len() > MOST_RECORDED { json!({"count": users.len()}) } else { json!(users) }
}
