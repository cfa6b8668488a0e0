//! SQL statements of the product's specification, word for word but for the placeholders.

/// Sign-in.
pub const USER_AUTHENTICATION: &str = "\
SELECT id, username, password_hash, password_salt, status, mfa_enabled
FROM users
WHERE username = 'user@example.com' AND deleted_at IS NULL;";

/// Permissions of a user.
pub const USER_PERMISSIONS: &str = "\
SELECT r.role_code, r.permissions
FROM users u
JOIN user_roles ur ON u.id = ur.user_id
JOIN roles r ON ur.role_id = r.id
WHERE u.id = 'user-uuid' AND ur.revoked_at IS NULL;";

/// The inventory with owners.
pub const METADATA_WITH_OWNER: &str = "\
SELECT cm.*, u.username, u.email, o.org_name
FROM certificate_metadata cm
JOIN users u ON cm.owner_user_id = u.id
LEFT JOIN organizations o ON cm.organization_id = o.id
WHERE cm.deleted_at IS NULL;";

/// What waits for a user.
pub const PENDING_APPROVALS: &str = "\
SELECT * FROM pending_approvals -- View
WHERE assigned_to_user_id = 'user-uuid';";

/// Is there such a user?
pub const VALIDATE_USER: &str = "SELECT id FROM users WHERE id = $1";

/// Is there such a policy?
pub const VALIDATE_POLICY: &str = "SELECT id FROM policies WHERE id = $1";

/// A certificate without its key.
pub const CERTIFICATE: &str = "\
SELECT id, certificate_id, common_name, pem_encoded_cert, 
       not_before, not_after, status
FROM certificates
WHERE certificate_id = 'cert-uuid' AND deleted_at IS NULL;";

/// The wrapped key of a certificate.
pub const PRIVATE_KEY: &str = "\
SELECT encrypted_key_material, encryption_key_id, encryption_algorithm
FROM private_keys
WHERE certificate_id = 'cert-uuid' AND deleted_at IS NULL;";

/// What ends soon.
pub const EXPIRING: &str = "SELECT * FROM expiring_certificates; -- View";
