//! Every route of the API with what it needs of its caller. The gate obeys this table, the API description is
//! completed from it, and a test fails on a route that is missing here.

use clm_types::Permission;

/// Who may use a route.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Access {
    /// Anybody: nothing but public facts, or a route that checks a token of its own.
    Public,
    /// Whoever has a session or key, be it a session that lacks a second factor.
    Session,
    /// Whoever has valid credentials.
    SignedIn,
    /// Whoever holds this permission in the organization.
    Permission(Permission),
}

/// Whether a POST takes an `Idempotency-Key`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Idempotency {
    /// No: the method is idempotent by itself, or the route guards itself.
    None,
    /// If there is one.
    Accepted,
    /// It must be there.
    Required,
}

/// Whether a change takes the version that was read, as `If-Match`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// No.
    None,
    /// If it is there.
    Accepted,
    /// It must be there.
    Required,
}

/// One route.
#[derive(Debug, Clone, Copy)]
pub struct Route {
    /// HTTP method.
    pub method: &'static str,
    /// As matched, with `{parameters}`.
    pub path: &'static str,
    /// Who may use it.
    pub access: Access,
    /// Whether a repeat is answered from the first answer.
    pub idempotency: Idempotency,
    /// Whether it changes only what the caller has seen.
    pub condition: Condition,
    /// Whether a session must have shown a second factor just now.
    pub fresh: bool,
}

/// The route that a request matched.
pub(crate) fn find(method: &str, path: &str) -> Option<&'static Route> {
    // HEAD is answered by the handler of GET.
    let method = if method == "HEAD" { "GET" } else { method };
    ROUTES.iter().find(|route| route.method == method && route.path == path)
}

/// The methods that a path takes.
pub(crate) fn methods(path: &str) -> Vec<&'static str> {
    let routes = ROUTES.iter().filter(|route| route.path == path);
    let methods = routes.map(|route| route.method);
    methods.flat_map(|method| if method == "GET" { vec!["GET", "HEAD"] } else { vec![method] }).collect()
}

const fn get(path: &'static str, access: Access) -> Route {
    route("GET", path, access)
}

const fn post(path: &'static str, access: Access) -> Route {
    Route { idempotency: Idempotency::Accepted, ..route("POST", path, access) }
}

const fn once(path: &'static str, access: Access) -> Route {
    Route { idempotency: Idempotency::Required, ..route("POST", path, access) }
}

/// An action on something that has a version.
const fn act(path: &'static str, access: Access) -> Route {
    Route { condition: Condition::Accepted, ..post(path, access) }
}

const fn change(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { condition: Condition::Required, ..route(method, path, access) }
}

/// A change that takes the version that was read, if the caller sends it.
const fn if_read(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { condition: Condition::Accepted, ..route(method, path, access) }
}

const fn route(method: &'static str, path: &'static str, access: Access) -> Route {
    Route { method, path, access, idempotency: Idempotency::None, condition: Condition::None, fresh: false }
}

/// What is most worth protecting from whoever finds a session open.
const fn fresh(route: Route) -> Route {
    Route { fresh: true, ..route }
}

const fn may(permission: Permission) -> Access {
    Access::Permission(permission)
}

/// The table.
pub const ROUTES: &[Route] = {
    use Access::{Public, Session, SignedIn};
    use Permission as P;
    &[
        get("/openapi.json", Public),
        get("/problems", Public),
        get("/problems/{code}", Public),
        route("POST", "/api/v1/bootstrap", Public),
        get("/api/v1/me", Session),
        route("POST", "/api/v1/sessions", Public),
        get("/api/v1/sessions", SignedIn),
        route("POST", "/api/v1/sessions/revoke", SignedIn),
        route("POST", "/api/v1/sessions/{id}/revoke", Session),
        route("POST", "/api/v1/sessions/current/factor", Session),
        route("POST", "/api/v1/sessions/current/passkey-options", Session),
        route("POST", "/api/v1/sessions/passkey/options", Public),
        route("POST", "/api/v1/sessions/passkey", Public),
        get("/api/v1/identity-providers", Public),
        get("/api/v1/identity-providers/{name}/callback", Public),
        // A signed token of the provider is checked.
        route("POST", "/api/v1/identity-providers/{name}/logout", Public),
        route("POST", "/api/v1/sessions/oidc/start", Public),
        route("POST", "/api/v1/sessions/oidc", Public),
        route("POST", "/api/v1/links/use", Public),
        route("POST", "/api/v1/password-resets", Public),
        // With the present password.
        route("POST", "/api/v1/me/password", SignedIn),
        route("POST", "/api/v1/me/totp", Session),
        route("POST", "/api/v1/me/totp/confirm", Session),
        fresh(route("DELETE", "/api/v1/me/totp", SignedIn)),
        fresh(route("POST", "/api/v1/me/recovery-codes", SignedIn)),
        // With the present password, or a fresh factor.
        route("POST", "/api/v1/me/passkeys/options", Session),
        route("POST", "/api/v1/me/passkeys", Session),
        get("/api/v1/me/passkeys", SignedIn),
        fresh(route("DELETE", "/api/v1/me/passkeys/{id}", SignedIn)),
        fresh(route("POST", "/api/v1/me/identities/start", SignedIn)),
        fresh(route("POST", "/api/v1/me/identities", SignedIn)),
        get("/api/v1/me/identities", SignedIn),
        fresh(route("DELETE", "/api/v1/me/identities/{id}", SignedIn)),
        once("/api/v1/requests", may(P::RequestCreate)),
        get("/api/v1/requests", may(P::RequestRead)),
        get("/api/v1/requests/{id}", may(P::RequestRead)),
        fresh(post("/api/v1/requests/{id}/approve", may(P::RequestApprove))),
        post("/api/v1/requests/{id}/reject", may(P::RequestApprove)),
        // Only the requester may; the rule checks it.
        post("/api/v1/requests/{id}/cancel", may(P::RequestRead)),
        get("/api/v1/approvals", may(P::RequestApprove)),
        get("/api/v1/certificates", may(P::CertificateRead)),
        get("/api/v1/certificates/lookup", may(P::CertificateRead)),
        get("/api/v1/certificates/{id}", may(P::CertificateRead)),
        change("PATCH", "/api/v1/certificates/{id}", may(P::CertificateUpdate)),
        get("/api/v1/transport-key", may(P::KeyImport)),
        get("/api/v1/certificates/{id}/key", may(P::KeyRead)),
        route("PUT", "/api/v1/certificates/{id}/key", may(P::KeyImport)),
        fresh(route("PATCH", "/api/v1/certificates/{id}/key", may(P::KeyManage))),
        route("DELETE", "/api/v1/certificates/{id}/key", may(P::KeyManage)),
        post("/api/v1/certificates/{id}/key/restore", may(P::KeyManage)),
        get("/api/v1/certificates/{id}/key/accesses", may(P::KeyRead)),
        // Export or recovery: the rule checks which.
        fresh(once("/api/v1/certificates/{id}/key/exports", SignedIn)),
        // Only the requester may; the answer is kept nowhere.
        fresh(route("POST", "/api/v1/requests/{id}/key", SignedIn)),
        once("/api/v1/certificates/{id}/revoke", may(P::CertificateRevoke)),
        once("/api/v1/certificates/{id}/release", may(P::CertificateRevoke)),
        once("/api/v1/certificates/{id}/renew", may(P::CertificateRenew)),
        once("/api/v1/mass-revocations", may(P::CertificateRevoke)),
        get("/api/v1/mass-revocations", may(P::CertificateRead)),
        // Writes nothing.
        route("POST", "/api/v1/mass-revocations/plan", may(P::CertificateRevoke)),
        get("/api/v1/mass-revocations/{id}", may(P::CertificateRead)),
        get("/api/v1/mass-revocations/{id}/certificates", may(P::CertificateRead)),
        fresh(post("/api/v1/mass-revocations/{id}/approve", may(P::RequestApprove))),
        post("/api/v1/mass-revocations/{id}/cancel", may(P::CertificateRevoke)),
        get("/api/v1/authorities", may(P::AuthorityRead)),
        get("/api/v1/authorities/{id}", may(P::AuthorityRead)),
        fresh(post("/api/v1/policies", may(P::PolicyWrite))),
        get("/api/v1/policies", may(P::PolicyRead)),
        get("/api/v1/policies/{id}", may(P::PolicyRead)),
        fresh(change("PUT", "/api/v1/policies/{id}", may(P::PolicyWrite))),
        fresh(post("/api/v1/workflows", may(P::WorkflowWrite))),
        get("/api/v1/workflows", may(P::WorkflowRead)),
        get("/api/v1/workflows/{id}", may(P::WorkflowRead)),
        fresh(change("PUT", "/api/v1/workflows/{id}", may(P::WorkflowWrite))),
        fresh(post("/api/v1/organizations", may(P::OrganizationWrite))),
        get("/api/v1/organizations", may(P::OrganizationRead)),
        get("/api/v1/organizations/{id}", may(P::OrganizationRead)),
        fresh(change("PUT", "/api/v1/organizations/{id}", may(P::OrganizationWrite))),
        fresh(change("PUT", "/api/v1/organizations/{id}/subscription", may(P::OrganizationWrite))),
        act("/api/v1/organizations/{id}/suspend", may(P::OrganizationWrite)),
        fresh(act("/api/v1/organizations/{id}/close", may(P::OrganizationWrite))),
        act("/api/v1/organizations/{id}/resume", may(P::OrganizationWrite)),
        fresh(post("/api/v1/members", may(P::UserWrite))),
        post("/api/v1/members/{id}/suspend", may(P::UserWrite)),
        post("/api/v1/members/{id}/resume", may(P::UserWrite)),
        post("/api/v1/members/{id}/remove", may(P::UserWrite)),
        get("/api/v1/me/memberships", SignedIn),
        post("/api/v1/me/memberships/{id}/accept", SignedIn),
        post("/api/v1/me/memberships/{id}/leave", SignedIn),
        post("/api/v1/me/memberships/{id}/prefer", SignedIn),
        post("/api/v1/users", may(P::UserWrite)),
        get("/api/v1/users", may(P::UserRead)),
        // Everybody may see themselves.
        get("/api/v1/users/{id}", SignedIn),
        get("/api/v1/users/{id}/access", SignedIn),
        // The address may be what an identity provider finds a user by.
        fresh(change("PUT", "/api/v1/users/{id}", may(P::UserWrite))),
        act("/api/v1/users/{id}/disable", may(P::UserWrite)),
        act("/api/v1/users/{id}/enable", may(P::UserWrite)),
        change("DELETE", "/api/v1/users/{id}", may(P::UserWrite)),
        post("/api/v1/users/{id}/unlock", may(P::UserWrite)),
        fresh(post("/api/v1/users/{id}/links", may(P::UserWrite))),
        fresh(route("DELETE", "/api/v1/users/{id}/factors", may(P::UserWrite))),
        fresh(post("/api/v1/roles", may(P::RoleAssign))),
        get("/api/v1/roles", may(P::UserRead)),
        get("/api/v1/roles/{id}", may(P::UserRead)),
        fresh(change("PUT", "/api/v1/roles/{id}", may(P::RoleAssign))),
        fresh(post("/api/v1/role-assignments", may(P::RoleAssign))),
        get("/api/v1/role-assignments", may(P::UserRead)),
        fresh(act("/api/v1/role-assignments/{id}/revoke", may(P::RoleAssign))),
        post("/api/v1/groups", may(P::GroupWrite)),
        get("/api/v1/groups", may(P::UserRead)),
        get("/api/v1/groups/{id}", may(P::UserRead)),
        fresh(change("PUT", "/api/v1/groups/{id}", may(P::GroupWrite))),
        fresh(change("DELETE", "/api/v1/groups/{id}", may(P::GroupWrite))),
        get("/api/v1/groups/{id}/members", may(P::UserRead)),
        // Who joins a group holds its roles.
        fresh(post("/api/v1/groups/{id}/members", may(P::GroupWrite))),
        fresh(post("/api/v1/groups/{id}/members/remove", may(P::GroupWrite))),
        get("/api/v1/groups/{id}/roles", may(P::UserRead)),
        fresh(post("/api/v1/groups/{id}/roles", may(P::RoleAssign))),
        fresh(post("/api/v1/groups/{id}/roles/take", may(P::RoleAssign))),
        // Everybody has keys of their own; the rules ask for api_key:read and api_key:write beyond that.
        fresh(post("/api/v1/api-keys", SignedIn)),
        get("/api/v1/api-keys", SignedIn),
        get("/api/v1/api-keys/{id}", SignedIn),
        act("/api/v1/api-keys/{id}/revoke", SignedIn),
        fresh(post("/api/v1/api-keys/{id}/rotate", SignedIn)),
        // A signed token of a workload's provider is checked.
        route("POST", "/api/v1/token", Public),
        fresh(post("/api/v1/workload-rules", may(P::ApiKeyWrite))),
        get("/api/v1/workload-rules", may(P::ApiKeyRead)),
        get("/api/v1/workload-rules/{id}", may(P::ApiKeyRead)),
        fresh(change("PUT", "/api/v1/workload-rules/{id}", may(P::ApiKeyWrite))),
        act("/api/v1/workload-rules/{id}/disable", may(P::ApiKeyWrite)),
        fresh(change("DELETE", "/api/v1/workload-rules/{id}", may(P::ApiKeyWrite))),
        get("/scim/v2/ServiceProviderConfig", may(P::UserProvision)),
        get("/scim/v2/ResourceTypes", may(P::UserProvision)),
        get("/scim/v2/ResourceTypes/{name}", may(P::UserProvision)),
        get("/scim/v2/Schemas", may(P::UserProvision)),
        get("/scim/v2/Schemas/{name}", may(P::UserProvision)),
        route("POST", "/scim/v2/.search", may(P::UserProvision)),
        route("POST", "/scim/v2/Users", may(P::UserProvision)),
        get("/scim/v2/Users", may(P::UserProvision)),
        get("/scim/v2/Users/{id}", may(P::UserProvision)),
        if_read("PUT", "/scim/v2/Users/{id}", may(P::UserProvision)),
        if_read("PATCH", "/scim/v2/Users/{id}", may(P::UserProvision)),
        if_read("DELETE", "/scim/v2/Users/{id}", may(P::UserProvision)),
        route("POST", "/scim/v2/Groups", may(P::UserProvision)),
        get("/scim/v2/Groups", may(P::UserProvision)),
        get("/scim/v2/Groups/{id}", may(P::UserProvision)),
        if_read("PUT", "/scim/v2/Groups/{id}", may(P::UserProvision)),
        if_read("PATCH", "/scim/v2/Groups/{id}", may(P::UserProvision)),
        if_read("DELETE", "/scim/v2/Groups/{id}", may(P::UserProvision)),
        get("/api/v1/notifications", may(P::NotificationRead)),
        post("/api/v1/notifications/{id}/read", may(P::NotificationRead)),
        get("/api/v1/audit", may(P::AuditRead)),
        get("/api/v1/audit/export", may(P::AuditRead)),
        // For all organizations: the rule checks it.
        get("/api/v1/audit/checkpoints", may(P::AuditRead)),
        post("/api/v1/integrity/runs", may(P::IntegrityRun)),
        get("/api/v1/integrity/runs/{id}", may(P::IntegrityRun)),
        get("/api/v1/integrity/findings", may(P::IntegrityRun)),
    ]
};
