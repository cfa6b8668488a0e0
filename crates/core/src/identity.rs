//! What a key or session stands for: who acts, in which organization, with which permissions.

use std::net::IpAddr;

use clm_core_db::api_keys::CredentialRow;
use clm_core_db::organizations::OrganizationRow;
use clm_core_db::role_assignments::HeldRoleRow;
use clm_core_db::sessions::SessionCredentialRow;
use clm_types::{ApiKeyId, OrganizationId, Refusal, RoleId, SessionId, Time, UserId, WorkloadRuleId};
use serde_json::Value;
use uuid::Uuid;

use crate::CoreError;
use crate::actor::{Actor, ActorKind, MissingFactor, PermissionSet, SessionProof};
use crate::api_keys::SHORTEST_USUAL_LIFETIME;
use crate::authentication::unauthenticated;
use crate::ip_range::{IpRange, admits};
use crate::sessions::missing_of;

/// What a key or session is in the cache by: the hash of its token and the organization asked for.
pub(crate) type IdentityKey = ([u8; 32], Option<OrganizationId>);

/// What a key or session stands for in one organization.
#[derive(Debug)]
pub(crate) struct Identity {
    pub(crate) actor: Actor,
    pub(crate) organization_id: OrganizationId,
    /// When the key, the session or one of the roles ends.
    pub(crate) valid_until: Option<Time>,
}

/// What was presented, whichever kind it is.
pub(crate) struct Credential {
    pub(crate) user_id: Uuid,
    pub(crate) presented: Presented,
    /// Where it works; none: wherever its user may.
    pub(crate) organization_id: Option<Uuid>,
    /// When it ends.
    pub(crate) ends: Option<Time>,
}

pub(crate) enum Presented {
    Key(CredentialRow),
    Session(SessionCredentialRow),
}

impl Identity {
    pub(crate) fn of(
        credential: &Credential,
        organization: &OrganizationRow,
        held: &[HeldRoleRow],
    ) -> Result<Self, CoreError> {
        let organization_id = OrganizationId(organization.id);
        let here = || held.iter().filter(|role| role.holds_in(organization_id.0));
        let everywhere = held.iter().filter(|role| role.organization_id.is_none());
        let whole = Actor {
            kind: ActorKind::User,
            user_id: Some(UserId(credential.user_id)),
            permissions: union(here()),
            global_permissions: union(everywhere),
            role_ids: here().filter(|role| role.assigned).map(|role| RoleId(role.role_id)).collect(),
            ..Actor::anonymous()
        };
        let actor = match &credential.presented {
            Presented::Key(key) => by_key(whole, key)?,
            Presented::Session(session) => {
                by_session(whole, session, missing_of(session, held, Some(organization)))
            }
        };
        let ends = here().filter_map(|role| role.valid_until).chain(credential.ends);
        Ok(Self { actor, organization_id, valid_until: ends.min() })
    }

    pub(crate) fn check_address(&self, address: Option<IpAddr>) -> Result<(), Refusal> {
        if admits(&self.actor.key_networks, address) {
            return Ok(());
        }
        Err(unauthenticated("this API key may not be used from this address"))
    }
}

/// What a key leaves of what its user may do.
fn by_key(whole: Actor, key: &CredentialRow) -> Result<Actor, CoreError> {
    let scopes = texts(&key.scopes);
    let limit = if scopes.is_empty() {
        PermissionSet::all()
    } else {
        PermissionSet::from_texts(scopes.iter().copied())
    };
    let bound = key.organization_id.is_some();
    let everywhere = if bound { PermissionSet::EMPTY } else { whole.global_permissions.intersection(limit) };
    let networks = ranges(&key.allowed_addresses)?;
    Ok(Actor {
        api_key_id: Some(ApiKeyId(key.id)),
        permissions: whole.permissions.intersection(limit),
        global_permissions: everywhere,
        restricted: bound || !scopes.is_empty() || !networks.is_empty() || is_short_lived(key),
        key_networks: networks,
        key_expires_at: key.expires_at,
        workload_rule_id: key.workload_rule_id.map(WorkloadRuleId),
        ..whole
    })
}

/// A session has all of what its user may do, or nothing of it while something is missing.
fn by_session(whole: Actor, session: &SessionCredentialRow, missing: Option<MissingFactor>) -> Actor {
    let proof = SessionProof { id: SessionId(session.id), factor_at: session.mfa_at, missing };
    if missing.is_none() {
        return Actor { session: Some(proof), ..whole };
    }
    Actor { user_id: whole.user_id, kind: whole.kind, session: Some(proof), ..Actor::anonymous() }
}

/// Whether the key was made to end early. Others may be followed by a key that lives longer: without, nobody
/// could ever stay signed in.
fn is_short_lived(credential: &CredentialRow) -> bool {
    credential.expires_at.is_some_and(|end| end - credential.created_at < SHORTEST_USUAL_LIFETIME)
}

/// Networks of a key or of a workload rule, as they are stored.
pub(crate) fn ranges(texts: &[String]) -> Result<Vec<IpRange>, CoreError> {
    texts
        .iter()
        .map(|text| {
            text.parse().map_err(|detail: String| CoreError::defect(format!("stored networks: {detail}")))
        })
        .collect()
}

/// The texts of a stored array.
pub(crate) fn texts(array: &Value) -> Vec<&str> {
    array.as_array().map(|items| items.iter().filter_map(Value::as_str).collect()).unwrap_or_default()
}

/// All that these roles grant.
pub(crate) fn union<'a>(held: impl Iterator<Item = &'a HeldRoleRow>) -> PermissionSet {
    held.fold(PermissionSet::EMPTY, |set, role| {
        set.union(PermissionSet::from_texts(texts(&role.permissions)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use chrono::{DateTime, TimeDelta};
    use clm_types::Permission;
    use serde_json::json;

    fn key(organization_id: Option<Uuid>, scopes: Value) -> CredentialRow {
        CredentialRow {
            id: Uuid::from_u128(1),
            key_hash: vec![0; 32],
            user_id: Uuid::from_u128(2),
            organization_id,
            scopes,
            created_at: DateTime::UNIX_EPOCH,
            expires_at: None,
            replaced_at: None,
            revoked_at: None,
            user_status: "active".to_owned(),
            allowed_addresses: Vec::new(),
            workload_rule_id: None,
        }
    }

    fn presented(key: CredentialRow) -> Credential {
        Credential {
            user_id: key.user_id,
            organization_id: key.organization_id,
            ends: key.expires_at,
            presented: Presented::Key(key),
        }
    }

    fn credential(organization_id: Option<Uuid>, scopes: Value) -> Credential {
        presented(key(organization_id, scopes))
    }

    fn held(organization_id: Option<Uuid>, permissions: Value) -> HeldRoleRow {
        HeldRoleRow {
            role_id: Uuid::from_u128(9),
            role_code: "role".to_owned(),
            valid_from: DateTime::UNIX_EPOCH,
            organization_id,
            valid_until: None,
            permissions,
            assigned: true,
        }
    }

    fn here(settings: Value) -> OrganizationRow {
        OrganizationRow {
            id: HERE.0,
            org_code: "here".to_owned(),
            org_name: "Here".to_owned(),
            status: "active".to_owned(),
            subscription_plan: "standard".to_owned(),
            subscription_status: "active".to_owned(),
            subscription_expires_at: None,
            license_max_certificates: None,
            license_max_users: None,
            license_max_authorities: None,
            settings,
            created_at: DateTime::UNIX_EPOCH,
            updated_at: DateTime::UNIX_EPOCH,
            version: 1,
        }
    }

    #[test]
    fn an_organization_asks_everybody_who_works_for_it_for_a_factor() {
        let roles = [held(None, json!(["request:read"]))];
        let required = here(json!({"sign_in": {"second_factor": "required"}}));
        let identity = Identity::of(&session(None, false, false), &required, &roles).unwrap();
        assert_eq!(identity.actor.session.unwrap().missing, Some(MissingFactor::Enrolment));
        let identity = Identity::of(&session(None, false, false), &here(json!({})), &roles).unwrap();
        assert_eq!(identity.actor.session.unwrap().missing, None);
    }

    const HERE: OrganizationId = OrganizationId(Uuid::from_u128(3));

    #[test]
    fn roles_of_other_organizations_grant_nothing_here() {
        let roles =
            [held(Some(HERE.0), json!(["request:read"])), held(Some(Uuid::from_u128(4)), json!(["*"]))];
        let identity = Identity::of(&credential(None, json!([])), &here(json!({})), &roles).unwrap();
        assert_eq!(identity.actor.permissions.names(), "request:read");
        assert!(identity.actor.global_permissions.is_empty());
        assert!(!identity.actor.restricted);
    }

    #[test]
    fn a_key_bound_to_an_organization_has_no_power_everywhere() {
        let roles = [held(None, json!(["*"]))];
        let bound = Identity::of(&credential(Some(HERE.0), json!([])), &here(json!({})), &roles).unwrap();
        assert!(bound.actor.permissions.contains(Permission::UserWrite));
        assert!(bound.actor.global_permissions.is_empty() && bound.actor.restricted);
        let free = Identity::of(&credential(None, json!([])), &here(json!({})), &roles).unwrap();
        assert!(free.actor.global_permissions.contains(Permission::UserWrite));
    }

    #[test]
    fn scopes_cut_down_and_never_add() {
        let roles = [held(Some(HERE.0), json!(["request:read", "request:create"]))];
        let scopes = json!(["request:read", "user:write"]);
        let identity = Identity::of(&credential(None, scopes), &here(json!({})), &roles).unwrap();
        assert_eq!(identity.actor.permissions.names(), "request:read");
        assert!(identity.actor.restricted);
    }

    #[test]
    fn a_key_works_from_its_networks_only() {
        let bound =
            CredentialRow { allowed_addresses: vec!["10.0.0.0/8".to_owned()], ..key(None, json!([])) };
        let identity = Identity::of(&presented(bound), &here(json!({})), &[]).unwrap();
        assert!(identity.actor.restricted);
        assert!(identity.check_address(Some("10.1.2.3".parse().unwrap())).is_ok());
        assert!(identity.check_address(Some("::ffff:10.1.2.3".parse().unwrap())).is_ok());
        assert!(identity.check_address(Some("192.0.2.1".parse().unwrap())).is_err());
        assert!(identity.check_address(None).is_err());
    }

    #[test]
    fn a_key_that_ends_early_is_a_restricted_one() {
        let lives = |days| {
            let end = DateTime::UNIX_EPOCH + TimeDelta::days(days);
            let key = CredentialRow { expires_at: Some(end), ..key(None, json!([])) };
            Identity::of(&presented(key), &here(json!({})), &[]).unwrap().actor.restricted
        };
        assert!(lives(1) && lives(80));
        assert!(!lives(90) && !lives(365));
    }

    fn session(mfa_at: Option<Time>, mfa_enabled: bool, factor_required: bool) -> Credential {
        let row = SessionCredentialRow {
            id: Uuid::from_u128(5),
            user_id: Uuid::from_u128(2),
            mfa_at,
            last_seen_at: DateTime::UNIX_EPOCH,
            expires_at: DateTime::UNIX_EPOCH,
            created_at: DateTime::UNIX_EPOCH,
            revoked_at: None,
            user_status: "active".to_owned(),
            mfa_enabled,
            factor_required,
        };
        Credential {
            user_id: row.user_id,
            organization_id: None,
            ends: None,
            presented: Presented::Session(row),
        }
    }

    #[test]
    fn a_session_may_nothing_while_a_factor_is_missing() {
        let (clerk, administrator) = (json!(["request:read"]), json!(["*"]));
        let shown = Some(DateTime::UNIX_EPOCH);
        for (mfa_at, enabled, required, permissions, missing) in [
            (None, false, false, &clerk, None),
            (None, true, false, &clerk, Some(MissingFactor::Code)),
            (None, false, true, &clerk, Some(MissingFactor::Enrolment)),
            (None, false, false, &administrator, Some(MissingFactor::Enrolment)),
            (None, true, true, &administrator, Some(MissingFactor::Code)),
            (shown, true, true, &administrator, None),
        ] {
            let roles = [held(Some(HERE.0), permissions.clone())];
            let identity =
                Identity::of(&session(mfa_at, enabled, required), &here(json!({})), &roles).unwrap();
            assert_eq!(
                identity.actor.session.unwrap().missing,
                missing,
                "{permissions} {enabled} {required}"
            );
            assert_eq!(identity.actor.permissions.is_empty(), missing.is_some());
            assert_eq!(identity.actor.role_ids.is_empty(), missing.is_some());
        }
    }
}
