//! Why somebody may do something, or may not: the same roles and checks that decide, in words.

use clm_core_db::role_assignments::{self, HeldRoleRow};
use clm_core_db::{certificates, requests, users};
use clm_types::{ErrorCode, Permission, Refusal, Time, UserId};
use uuid::Uuid;

use crate::actor::PermissionSet;
use crate::approvals::check_decision;
use crate::identity::texts;
use crate::users::{User, find_user};
use crate::{Core, CoreError, Ctx};

/// Whether a user may do something, and why.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Access {
    /// Whether all reasons hold.
    pub allowed: bool,
    /// In the order in which they are looked at.
    pub reasons: Vec<Reason>,
}

/// One reason.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Reason {
    /// Whether it is for or against.
    pub holds: bool,
    /// In words.
    pub text: String,
}

fn reason(holds: bool, text: impl Into<String>) -> Reason {
    Reason { holds, text: text.into() }
}

impl Core {
    /// Whether a user of the caller's organization may do something there now, on an object if one is named, and why. An API
    /// key may allow less: its scopes cut the roles down.
    ///
    /// # Errors
    /// `user_not_found`; `not_found` for an object that is not in the organization; `invalid_request` for an object of a
    /// kind that has no rules of its own.
    pub async fn explain_access(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        permission: Permission,
        object: Option<Uuid>,
    ) -> Result<Access, CoreError> {
        if ctx.actor.user_id != Some(user_id) {
            ctx.require(Permission::UserRead)?;
        }
        let mut tx = clm_pg::begin(&self.system).await?;
        let user = find_user(&mut tx, ctx, user_id).await?;
        let here = ctx.organization_id.0;
        let membership = users::find_membership_status(&mut tx, user_id.0, here).await?;
        let mut held = role_assignments::list_held_from(&mut tx, user_id.0, ctx.now).await?;
        drop(tx);
        held.retain(|role| role.holds_in(here));
        let everywhere = held.iter().any(|role| role.organization_id.is_none() && role.valid_from <= ctx.now);
        let mut reasons = vec![of_status(&user), of_membership(membership.as_deref(), everywhere)];
        reasons.extend(of_roles(permission, &held, ctx.now));
        if let Some(object) = object {
            reasons.push(self.of_object(ctx, user_id, permission, object).await?);
        }
        Ok(Access { allowed: reasons.iter().all(|reason| reason.holds), reasons })
    }

    async fn of_object(
        &self,
        ctx: &Ctx,
        user_id: UserId,
        permission: Permission,
        object: Uuid,
    ) -> Result<Reason, CoreError> {
        let missing = || Refusal::new(ErrorCode::NotFound, "there is no such object in this organization");
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let noun = permission.as_str().split(':').next().unwrap_or_default();
        match noun {
            "request" => {
                ctx.require(Permission::RequestRead)?;
                let row = requests::find(&mut tx, object).await?.ok_or_else(missing)?;
                if permission != Permission::RequestApprove {
                    return Ok(reason(true, "the request is one of this organization"));
                }
                match check_decision(&mut tx, &row, user_id, ctx.now).await {
                    Ok(step) => {
                        Ok(reason(true, format!("the step `{}` waits for this user", step.step_name)))
                    }
                    Err(CoreError::Refused(refusal)) => {
                        Ok(reason(false, format!("told who tries: {}", refusal.detail)))
                    }
                    Err(error) => Err(error),
                }
            }
            "certificate" | "key" => {
                ctx.require(Permission::CertificateRead)?;
                certificates::find(&mut tx, object).await?.ok_or_else(missing)?;
                Ok(reason(true, "the certificate is one of this organization"))
            }
            _ => {
                let detail = format!("{permission} is not looked at for one object");
                Err(Refusal::new(ErrorCode::InvalidRequest, detail)
                    .field("/object")
                    .hint("leave the object out; requests and certificates can be named")
                    .into())
            }
        }
    }
}

fn of_status(user: &User) -> Reason {
    reason(user.status == "active", format!("the user is {}", user.status))
}

fn of_membership(status: Option<&str>, everywhere: bool) -> Reason {
    if everywhere {
        return reason(true, "a role held in all organizations lets the user in here");
    }
    match status {
        Some("active") => reason(true, "the user is a member of this organization"),
        Some(other) => reason(false, format!("the membership in this organization is {other}")),
        None => reason(false, "the user is no member of this organization"),
    }
}

/// The roles that grant it now; else those that will, or that there are none.
fn of_roles(permission: Permission, held: &[HeldRoleRow], now: Time) -> Vec<Reason> {
    let grants =
        |role: &&HeldRoleRow| PermissionSet::from_texts(texts(&role.permissions)).contains(permission);
    let (now_held, later): (Vec<_>, Vec<_>) = held.iter().partition(|role| role.valid_from <= now);
    let granting: Vec<Reason> = now_held
        .iter()
        .copied()
        .filter(grants)
        .map(|role| reason(true, in_words(role, permission)))
        .collect();
    if !granting.is_empty() {
        return granting;
    }
    let names: Vec<&str> = now_held.iter().map(|role| role.role_code.as_str()).collect();
    let none = match names.as_slice() {
        [] => format!("no role is held here now, so nothing grants {permission}"),
        names => format!("none of the roles held here grants {permission}: {}", names.join(", ")),
    };
    let later = later.into_iter().filter(grants);
    let later = later
        .map(|role| reason(false, format!("from {} on, {}", role.valid_from, in_words(role, permission))));
    std::iter::once(reason(false, none)).chain(later).collect()
}

fn in_words(role: &HeldRoleRow, permission: Permission) -> String {
    let place = if role.organization_id.is_none() { "in all organizations" } else { "in this organization" };
    let way = if role.assigned { "held" } else { "the parent of a role held" };
    let end = role.valid_until.map(|end| format!(" until {end}")).unwrap_or_default();
    format!("the role {}, {way} {place}{end}, grants {permission}", role.role_code)
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use serde_json::json;

    fn role(code: &str, permissions: serde_json::Value, begins_in: i64) -> HeldRoleRow {
        HeldRoleRow {
            role_id: Uuid::from_u128(1),
            role_code: code.to_owned(),
            organization_id: Some(Uuid::from_u128(2)),
            valid_from: DateTime::UNIX_EPOCH + TimeDelta::days(begins_in),
            valid_until: None,
            permissions,
            assigned: true,
        }
    }

    fn told(held: &[HeldRoleRow]) -> Vec<(bool, String)> {
        let reasons = of_roles(Permission::RequestApprove, held, DateTime::UNIX_EPOCH);
        reasons.into_iter().map(|reason| (reason.holds, reason.text)).collect()
    }

    #[test]
    fn the_roles_that_grant_are_named_and_otherwise_those_that_do_not() {
        let (requester, approver) = (json!(["request:create"]), json!(["request:approve"]));
        let granted = told(&[role("requester", requester.clone(), 0), role("approver", approver.clone(), 0)]);
        let text = "the role approver, held in this organization, grants request:approve";
        assert_eq!(granted, [(true, text.to_owned())]);
        let refused = told(&[role("requester", requester, 0), role("approver", approver, 1)]);
        assert_eq!(refused.len(), 2);
        assert!(refused.iter().all(|(holds, _)| !holds));
        assert_eq!(refused[0].1, "none of the roles held here grants request:approve: requester");
        assert!(refused[1].1.starts_with("from 1970-01-02"), "{}", refused[1].1);
        assert!(told(&[])[0].1.starts_with("no role is held here now"));
    }
}
