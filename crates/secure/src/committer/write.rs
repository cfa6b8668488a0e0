//! What one operation writes.

use clm_secure_db::audit_checkpoints::CheckpointRow;
use clm_secure_db::audit_keys::AuditKeyRow;
use clm_secure_db::authorities::{ActivationRow, NewAuthority};
use clm_secure_db::blocked_keys::BlockedKeyRow;
use clm_secure_db::ceremonies::CeremonyRow;
use clm_secure_db::certificates::{CertificateRow, StatusChange};
use clm_secure_db::crls::CrlRow;
use clm_secure_db::encryption_keys::{EncryptionKeyRow, RewrappedKey};
use clm_secure_db::intents::IntentRow;
use clm_secure_db::operations::{Completion, OperationRow};
use clm_secure_db::owners::OwnerChangeRow;
use clm_secure_db::private_keys::{AccessRow, ImportedKeyRow, NewPrivateKeyRow, TokenKeyRow};
use clm_secure_db::requests::RequestRow;
use clm_secure_db::revocations::{HoldEnd, RevocationRow};
use clm_secure_db::rotations::{BatchRow, EndRow, RotationRow};
use clm_types::{CertificateId, OperationId, OrganizationId, SecureEvent, Time};
use uuid::Uuid;

use crate::audit::AuditDraft;
use crate::rotation::Rewrap;

/// What one operation writes, all or nothing. Fields are rows by table; an empty one costs nothing.
#[derive(Debug, Clone, Default)]
pub(crate) struct Write {
    pub(crate) new_authorities: Vec<NewAuthority>,
    pub(crate) activations: Vec<ActivationRow>,
    pub(crate) authority_renewals: Vec<AuthorityRenewal>,
    pub(crate) authority_changes: Vec<AuthorityChange>,
    /// Authority, and the one that takes over.
    pub(crate) successors: Vec<(Uuid, Uuid)>,
    /// Authority, and a certificate of its key by another one.
    pub(crate) cross_certificates: Vec<(Uuid, Uuid)>,
    pub(crate) ceremonies: Vec<CeremonyRow>,
    /// Authority and its new envelope.
    pub(crate) envelopes: Vec<(Uuid, serde_json::Value)>,
    pub(crate) new_encryption_keys: Vec<EncryptionKeyRow>,
    pub(crate) pending_requests: Vec<RequestRow>,
    pub(crate) issuing_requests: Vec<RequestRow>,
    pub(crate) rejections: Vec<Rejection>,
    pub(crate) intents: Vec<IntentRow>,
    pub(crate) certificates: Vec<CertificateRow>,
    /// Signed elsewhere: no intent of ours goes before them.
    pub(crate) imported_certificates: Vec<CertificateRow>,
    /// Certificate of an issuer elsewhere, and the authority that this is now.
    pub(crate) adopted_certificates: Vec<(Uuid, Uuid)>,
    /// Revocation without a certificate, and the certificate that came.
    pub(crate) adopted_revocations: Vec<(Uuid, Uuid)>,
    pub(crate) private_keys: Vec<NewPrivateKeyRow>,
    pub(crate) token_keys: Vec<TokenKeyRow>,
    pub(crate) imported_keys: Vec<ImportedKeyRow>,
    pub(crate) key_changes: Vec<AccessRow>,
    pub(crate) erased_keys: Vec<Uuid>,
    pub(crate) key_accesses: Vec<Uuid>,
    pub(crate) owner_changes: Vec<OwnerChangeRow>,
    pub(crate) status_changes: Vec<StatusChange>,
    pub(crate) hold_ends: Vec<HoldEnd>,
    pub(crate) revocations: Vec<RevocationRow>,
    pub(crate) blocked_keys: Vec<BlockedKeyRow>,
    pub(crate) crls: Vec<CrlRow>,
    /// Authority, and number and date of the list that its lists go on from.
    pub(crate) continued_crls: Vec<(Uuid, (i64, Time))>,
    pub(crate) operations: Vec<OperationRow>,
    pub(crate) completions: Vec<Completion>,
    pub(crate) retired_encryption_keys: Vec<Uuid>,
    pub(crate) activated_encryption_keys: Vec<Uuid>,
    pub(crate) compromised_encryption_keys: Vec<Uuid>,
    /// Erased, if nothing is under them any more.
    pub(crate) destroyed_encryption_keys: Vec<Uuid>,
    pub(crate) rewrapped_encryption_keys: Vec<RewrappedKey>,
    pub(crate) audit_keys: Vec<AuditKeyRow>,
    pub(crate) checkpoints: Vec<CheckpointRow>,
    pub(crate) rewraps: Vec<Rewrap>,
    pub(crate) rotations: Vec<RotationRow>,
    pub(crate) rotation_batches: Vec<BatchRow>,
    pub(crate) rotation_ends: Vec<EndRow>,
    pub(crate) audit: Vec<AuditDraft>,
    pub(crate) events: Vec<EventDraft>,
}

/// An authority's certificate is replaced by a newer one of the same key.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityRenewal {
    pub(crate) authority: Uuid,
    pub(crate) old: Uuid,
    pub(crate) new: Uuid,
    /// PEM of the certificates above, when they are not of this installation.
    pub(crate) issuer_chain_pem: Option<String>,
}

/// An authority moves from one state to another.
#[derive(Debug, Clone)]
pub(crate) struct AuthorityChange {
    pub(crate) authority: Uuid,
    pub(crate) from: &'static str,
    pub(crate) to: &'static str,
}

/// A pending request is refused.
#[derive(Debug, Clone)]
pub(crate) struct Rejection {
    pub(crate) request_id: Uuid,
    pub(crate) reason: String,
}

/// An event before it has its place in the outbox.
#[derive(Debug, Clone)]
pub(crate) struct EventDraft {
    pub(crate) operation_id: OperationId,
    pub(crate) certificate_id: Option<CertificateId>,
    pub(crate) organization_id: Option<OrganizationId>,
    pub(crate) event: SecureEvent,
}

impl Write {
    /// Adds what `other` writes.
    pub(super) fn append(&mut self, other: &Self) {
        self.new_authorities.extend_from_slice(&other.new_authorities);
        self.activations.extend_from_slice(&other.activations);
        self.authority_renewals.extend_from_slice(&other.authority_renewals);
        self.authority_changes.extend_from_slice(&other.authority_changes);
        self.successors.extend_from_slice(&other.successors);
        self.cross_certificates.extend_from_slice(&other.cross_certificates);
        self.ceremonies.extend_from_slice(&other.ceremonies);
        self.envelopes.extend_from_slice(&other.envelopes);
        self.new_encryption_keys.extend_from_slice(&other.new_encryption_keys);
        self.pending_requests.extend_from_slice(&other.pending_requests);
        self.issuing_requests.extend_from_slice(&other.issuing_requests);
        self.rejections.extend_from_slice(&other.rejections);
        self.intents.extend_from_slice(&other.intents);
        self.certificates.extend_from_slice(&other.certificates);
        self.imported_certificates.extend_from_slice(&other.imported_certificates);
        self.adopted_certificates.extend_from_slice(&other.adopted_certificates);
        self.adopted_revocations.extend_from_slice(&other.adopted_revocations);
        self.private_keys.extend_from_slice(&other.private_keys);
        self.token_keys.extend_from_slice(&other.token_keys);
        self.imported_keys.extend_from_slice(&other.imported_keys);
        self.key_changes.extend_from_slice(&other.key_changes);
        self.erased_keys.extend_from_slice(&other.erased_keys);
        self.key_accesses.extend_from_slice(&other.key_accesses);
        self.owner_changes.extend_from_slice(&other.owner_changes);
        self.status_changes.extend_from_slice(&other.status_changes);
        self.hold_ends.extend_from_slice(&other.hold_ends);
        self.revocations.extend_from_slice(&other.revocations);
        self.blocked_keys.extend_from_slice(&other.blocked_keys);
        self.crls.extend_from_slice(&other.crls);
        self.continued_crls.extend_from_slice(&other.continued_crls);
        self.operations.extend_from_slice(&other.operations);
        self.completions.extend_from_slice(&other.completions);
        self.retired_encryption_keys.extend_from_slice(&other.retired_encryption_keys);
        self.activated_encryption_keys.extend_from_slice(&other.activated_encryption_keys);
        self.compromised_encryption_keys.extend_from_slice(&other.compromised_encryption_keys);
        self.destroyed_encryption_keys.extend_from_slice(&other.destroyed_encryption_keys);
        self.rewrapped_encryption_keys.extend_from_slice(&other.rewrapped_encryption_keys);
        self.checkpoints.extend_from_slice(&other.checkpoints);
        self.audit_keys.extend_from_slice(&other.audit_keys);
        self.rewraps.extend_from_slice(&other.rewraps);
        self.rotations.extend_from_slice(&other.rotations);
        self.rotation_batches.extend_from_slice(&other.rotation_batches);
        self.rotation_ends.extend_from_slice(&other.rotation_ends);
        self.audit.extend_from_slice(&other.audit);
        self.events.extend_from_slice(&other.events);
    }
}
