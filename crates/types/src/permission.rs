//! Permissions, named `noun:verb`.

use crate::text_enum;

text_enum! {
    /// What an actor may do. Roles hold these texts in `roles.permissions`; `*` stands for all.
    pub enum Permission {
        /// Ask for certificates.
        RequestCreate => "request:create",
        /// See requests.
        RequestRead => "request:read",
        /// Decide on requests.
        RequestApprove => "request:approve",
        /// See certificates.
        CertificateRead => "certificate:read",
        /// Revoke, hold, release.
        CertificateRevoke => "certificate:revoke",
        /// Renew.
        CertificateRenew => "certificate:renew",
        /// Change metadata.
        CertificateUpdate => "certificate:update",
        /// See what is known of private keys, and who accessed them.
        KeyRead => "key:read",
        /// Store private keys made elsewhere.
        KeyImport => "key:import",
        /// Ask for private keys to use them.
        KeyExport => "key:export",
        /// Ask for private keys of others, or deleted ones.
        KeyRecover => "key:recover",
        /// Say who may export private keys; delete and restore them.
        KeyManage => "key:manage",
        /// See authorities.
        AuthorityRead => "authority:read",
        /// See policies.
        PolicyRead => "policy:read",
        /// Change policies.
        PolicyWrite => "policy:write",
        /// See workflows.
        WorkflowRead => "workflow:read",
        /// Change workflows.
        WorkflowWrite => "workflow:write",
        /// See organizations.
        OrganizationRead => "organization:read",
        /// Change organizations.
        OrganizationWrite => "organization:write",
        /// See users.
        UserRead => "user:read",
        /// Change users.
        UserWrite => "user:write",
        /// Provision an organization's users and groups (SCIM).
        UserProvision => "user:provision",
        /// Assign roles.
        RoleAssign => "role:assign",
        /// Make groups, and say who belongs to them.
        GroupWrite => "group:write",
        /// See API keys.
        ApiKeyRead => "api_key:read",
        /// Make and revoke API keys.
        ApiKeyWrite => "api_key:write",
        /// Read both audit logs.
        AuditRead => "audit:read",
        /// Read one's notifications.
        NotificationRead => "notification:read",
        /// Run the integrity job and read its findings.
        IntegrityRun => "integrity:run",
    }
}
