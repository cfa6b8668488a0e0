//! Who acts, and what they may do.

use clm_types::{ApiKeyId, Permission, RoleId, SessionId, Time, UserId, WorkloadRuleId};

use crate::ip_range::IpRange;

/// What stands for every permission in `roles.permissions` and in scopes.
pub const ALL_PERMISSIONS: &str = "*";

/// A set of permissions.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct PermissionSet(u64);

impl PermissionSet {
    /// None.
    pub const EMPTY: Self = Self(0);

    /// All there are.
    pub fn all() -> Self {
        Permission::ALL.iter().copied().collect()
    }

    /// Reads stored texts. Unknown texts are skipped: a newer program may have written them.
    pub fn from_texts<'a>(texts: impl IntoIterator<Item = &'a str>) -> Self {
        let mut set = Self::EMPTY;
        for text in texts {
            if text == ALL_PERMISSIONS {
                return Self::all();
            }
            if let Ok(permission) = text.parse() {
                set.insert(permission);
            }
        }
        set
    }

    const fn bit(permission: Permission) -> u64 {
        1 << permission as u64
    }

    /// Adds one.
    pub const fn insert(&mut self, permission: Permission) {
        self.0 |= Self::bit(permission);
    }

    /// Whether it has this one.
    pub const fn contains(self, permission: Permission) -> bool {
        self.0 & Self::bit(permission) != 0
    }

    /// What is in either.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// What is in both.
    #[must_use]
    pub const fn intersection(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    /// What is in this one and not in the other.
    #[must_use]
    pub const fn difference(self, other: Self) -> Self {
        Self(self.0 & !other.0)
    }

    /// Whether there is none.
    pub const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// Its members, in the order of declaration.
    pub fn iter(self) -> impl Iterator<Item = Permission> {
        Permission::ALL.iter().copied().filter(move |p| self.contains(*p))
    }

    /// Its members' names, comma separated.
    pub fn names(self) -> String {
        self.iter().map(Permission::as_str).collect::<Vec<_>>().join(", ")
    }
}

impl FromIterator<Permission> for PermissionSet {
    fn from_iter<I: IntoIterator<Item = Permission>>(permissions: I) -> Self {
        let mut set = Self::EMPTY;
        permissions.into_iter().for_each(|p| set.insert(p));
        set
    }
}

/// What kind of actor.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ActorKind {
    /// A person or a program, known by its session or API key.
    User,
    /// Somebody who has shown nothing.
    Anonymous,
    /// The service itself: jobs, follower, integrity.
    System,
    /// An operator at the machine, through a command of the server program.
    Operator,
}

/// What a session lacks before anything else can be done in it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MissingFactor {
    /// The user has a second factor and has not shown it.
    Code,
    /// The user must have a second factor and has none.
    Enrolment,
}

impl MissingFactor {
    /// The text that the API gives.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Code => "code",
            Self::Enrolment => "enrolment",
        }
    }
}

/// The session in use.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SessionProof {
    /// The session.
    pub id: SessionId,
    /// When a second factor was last shown.
    pub factor_at: Option<Time>,
    /// What it lacks; its permissions are none until then.
    pub missing: Option<MissingFactor>,
}

/// Who acts, with what they may do in the organization of the [`crate::Ctx`].
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Actor {
    /// What kind.
    pub kind: ActorKind,
    /// The user.
    pub user_id: Option<UserId>,
    /// The API key used.
    pub api_key_id: Option<ApiKeyId>,
    /// The session used.
    pub session: Option<SessionProof>,
    /// What they may do here: roles valid now, cut down to the key's scopes.
    pub permissions: PermissionSet,
    /// What of it they may do in every organization.
    pub global_permissions: PermissionSet,
    /// The roles that are valid now in this organization.
    pub role_ids: Vec<RoleId>,
    /// Whether the API key used cuts down what its user may do: by scopes, to one organization, to networks, or to
    /// a short time.
    pub restricted: bool,
    /// The networks that the API key used works from; empty: any.
    pub key_networks: Vec<IpRange>,
    /// When the API key used ends.
    pub key_expires_at: Option<Time>,
    /// The rule by which a workload got the API key used.
    pub workload_rule_id: Option<WorkloadRuleId>,
}

impl Actor {
    /// The service itself: may do everything.
    pub fn system() -> Self {
        Self::trusted(ActorKind::System)
    }

    /// An operator at the machine: may do everything.
    pub fn operator() -> Self {
        Self::trusted(ActorKind::Operator)
    }

    /// Somebody who has shown nothing: may do nothing.
    pub(crate) fn anonymous() -> Self {
        Self::unnamed(ActorKind::Anonymous, PermissionSet::EMPTY)
    }

    fn trusted(kind: ActorKind) -> Self {
        Self::unnamed(kind, PermissionSet::all())
    }

    const fn unnamed(kind: ActorKind, permissions: PermissionSet) -> Self {
        Self {
            kind,
            user_id: None,
            api_key_id: None,
            session: None,
            permissions,
            global_permissions: permissions,
            role_ids: Vec::new(),
            restricted: false,
            key_networks: Vec::new(),
            key_expires_at: None,
            workload_rule_id: None,
        }
    }

    /// `audit_log.actor_type`.
    pub const fn audit_type(&self) -> &'static str {
        match (self.kind, self.api_key_id) {
            (ActorKind::Anonymous, _) => "anonymous",
            (ActorKind::System, _) => "system",
            (ActorKind::Operator, _) => "operator",
            (ActorKind::User, Some(_)) => "api_key",
            (ActorKind::User, None) => "user",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_stands_for_every_permission() {
        let set = PermissionSet::from_texts(["*"]);
        assert!(Permission::ALL.iter().all(|p| set.contains(*p)));
        assert!(Permission::ALL.len() <= 64);
    }

    #[test]
    fn unknown_permissions_grant_nothing() {
        assert!(PermissionSet::from_texts(["moon:land", ""]).is_empty());
    }

    #[test]
    fn scopes_only_cut_down() {
        let role = PermissionSet::from_texts(["request:create", "request:read"]);
        let scopes = PermissionSet::from_texts(["request:read", "user:write"]);
        assert_eq!(role.intersection(scopes).names(), "request:read");
    }
}
