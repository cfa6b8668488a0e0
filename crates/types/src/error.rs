//! The one error that crosses RPC, REST and the command line.

use crate::text_enum;
use serde::{Deserialize, Serialize};

text_enum! {
    /// A stable code. New ones are added, none is renamed or removed.
    pub enum ErrorCode {
        // The request itself.
        /// A body or parameter that cannot be read.
        InvalidRequest => "invalid_request",
        /// A body over the limit.
        BodyTooLarge => "body_too_large",
        /// A media type that the route does not take.
        UnsupportedMediaType => "unsupported_media_type",
        /// The route has no such method.
        MethodNotAllowed => "method_not_allowed",
        /// The route needs an `Idempotency-Key`.
        IdempotencyKeyRequired => "idempotency_key_required",
        /// The key was used with another body.
        IdempotencyKeyReused => "idempotency_key_reused",
        /// A request with this key is still running.
        IdempotencyKeyInFlight => "idempotency_key_in_flight",
        /// The route needs `If-Match`.
        PreconditionRequired => "precondition_required",
        /// The object has changed since it was read.
        PreconditionFailed => "precondition_failed",
        /// Too many requests.
        RateLimited => "rate_limited",

        // Who and may.
        /// No or wrong credentials.
        Unauthenticated => "unauthenticated",
        /// Not allowed, on something the caller may know of.
        PermissionDenied => "permission_denied",
        /// Name, password or code is wrong, or the user may not sign in.
        SignInFailed => "sign_in_failed",
        /// The session lacks a second factor.
        SecondFactorRequired => "second_factor_required",
        /// The session is older, or was unused for longer, than the organization lets sessions be. It works elsewhere.
        SessionTooOld => "session_too_old",
        /// A second factor must have been shown just now.
        StepUpRequired => "step_up_required",
        /// A password that is guessed early, or was used before.
        PasswordTooWeak => "password_too_weak",
        /// A one-time link is wrong, used, replaced or expired.
        LinkInvalid => "link_invalid",
        /// This installation sends no e-mail.
        MailNotConfigured => "mail_not_configured",
        /// What a browser brought of a new passkey does not hold.
        PasskeyRefused => "passkey_refused",
        /// A provider vouches for somebody who is no active user here.
        IdentityUnknown => "identity_unknown",
        /// A workload's token does not hold, or no rule takes it.
        WorkloadTokenRefused => "workload_token_refused",
        /// The bootstrap token is wrong, used or expired.
        BootstrapTokenInvalid => "bootstrap_token_invalid",

        // Things that are not there, or not visible to the caller.
        /// No such thing or route.
        NotFound => "not_found",
        /// No such user.
        UserNotFound => "user_not_found",
        /// No such policy.
        PolicyNotFound => "policy_not_found",
        /// No such organization.
        OrganizationNotFound => "organization_not_found",
        /// No such workflow.
        WorkflowNotFound => "workflow_not_found",
        /// No such certificate.
        CertificateNotFound => "certificate_not_found",
        /// No such request.
        RequestNotFound => "request_not_found",
        /// No such authority.
        AuthorityNotFound => "authority_not_found",
        /// No such profile.
        ProfileNotFound => "profile_not_found",
        /// No such role.
        RoleNotFound => "role_not_found",
        /// No such group.
        GroupNotFound => "group_not_found",
        /// No such workload rule.
        WorkloadRuleNotFound => "workload_rule_not_found",
        /// No such API key.
        ApiKeyNotFound => "api_key_not_found",
        /// No such open session.
        SessionNotFound => "session_not_found",
        /// The caller has no such passkey.
        PasskeyNotFound => "passkey_not_found",
        /// The caller has no such link to a provider.
        ExternalIdentityNotFound => "external_identity_not_found",

        // Certificate signing requests.
        /// Not a PKCS#10 request, or truncated.
        CsrMalformed => "csr_malformed",
        /// Octets after the request.
        CsrTrailingData => "csr_trailing_data",
        /// The self-signature is wrong.
        CsrSignatureInvalid => "csr_signature_invalid",
        /// The request is larger than the limit.
        CsrTooLarge => "csr_too_large",
        /// An extension that a requester may not ask for.
        CsrExtensionForbidden => "csr_extension_forbidden",
        /// The same extension twice.
        CsrDuplicateExtension => "csr_duplicate_extension",
        /// The same attribute twice, or with more than one value.
        CsrDuplicateAttribute => "csr_duplicate_attribute",
        /// An attribute that is not understood.
        CsrAttributeForbidden => "csr_attribute_forbidden",
        /// Signed with an algorithm that is not supported, or that does not fit the key.
        CsrSignatureAlgorithmUnsupported => "csr_signature_algorithm_unsupported",
        /// CA:TRUE in a request for an end entity.
        CsrCaTrue => "csr_ca_true",

        // Keys.
        /// An algorithm that is not supported at all.
        KeyAlgorithmUnsupported => "key_algorithm_unsupported",
        /// An algorithm that the policy, profile or authority does not allow.
        KeyAlgorithmNotAllowed => "key_algorithm_not_allowed",
        /// Too short.
        KeyTooWeak => "key_too_weak",
        /// Revoked as compromised, or known to others.
        KeyCompromised => "key_compromised",
        /// Not a key of the algorithm it names.
        KeyMalformed => "key_malformed",
        /// An RSA exponent that is even, below 65537 or too large.
        RsaExponentInvalid => "rsa_exponent_invalid",
        /// An RSA modulus that is even or has a small factor.
        RsaModulusWeak => "rsa_modulus_weak",
        /// An elliptic-curve point that is off the curve, at infinity or compressed.
        EcPointInvalid => "ec_point_invalid",

        // Names.
        /// A name that is no name.
        NameInvalid => "name_invalid",
        /// NUL or another control character.
        NameControlCharacter => "name_control_character",
        /// Octets that are not of the string type they are marked as, or a type that is not taken.
        NameEncodingInvalid => "name_encoding_invalid",
        /// Non-ASCII DNS name: send the A-label.
        NameNotAscii => "name_not_ascii",
        /// A name outside the policy.
        NameNotAllowed => "name_not_allowed",
        /// A kind of name (IP address, e-mail, URI) that the profile does not allow.
        NameKindNotAllowed => "name_kind_not_allowed",
        /// A wildcard that policy or profile do not allow.
        WildcardNotAllowed => "wildcard_not_allowed",
        /// A `*` that is not the whole left-most label, or stands over too few labels.
        WildcardMisplaced => "wildcard_misplaced",
        /// More names than allowed.
        TooManyNames => "too_many_names",
        /// No name at all.
        NameMissing => "name_missing",
        /// The common name is not among the subject alternative names.
        CommonNameNotInNames => "common_name_not_in_names",

        // Validity and policy.
        /// Longer than policy, profile or authority allow.
        ValidityTooLong => "validity_too_long",
        /// Not a period: empty, or in the past.
        ValidityInvalid => "validity_invalid",
        /// Would outlive the authority.
        ValidityBeyondAuthority => "validity_beyond_authority",
        /// The authority's path length leaves no room for another authority below it.
        PathLengthExceeded => "path_length_exceeded",
        /// A profile document that contradicts itself.
        ProfileInvalid => "profile_invalid",
        /// The profile is not allowed here.
        ProfileNotAllowed => "profile_not_allowed",
        /// The authority does not serve this.
        AuthorityNotAllowed => "authority_not_allowed",
        /// The policy is not in force.
        PolicyNotActive => "policy_not_active",
        /// A policy or workflow document that breaks its schema.
        PolicyInvalid => "policy_invalid",
        /// The organization or user is not active.
        OrganizationNotActive => "organization_not_active",
        /// The user is not active.
        UserNotActive => "user_not_active",
        /// The subscription's limit is reached.
        LicenseLimitReached => "license_limit_reached",
        /// The organization's subscription has ended: nothing new is made under it.
        SubscriptionEnded => "subscription_ended",
        /// The bytes to be signed failed the lint.
        LintFailed => "lint_failed",
        /// A signature that the signer's public key does not verify.
        SignatureInvalid => "signature_invalid",

        // Objects that are read back.
        /// Not an X.509 certificate.
        CertificateMalformed => "certificate_malformed",
        /// Not an X.509 revocation list.
        CrlMalformed => "crl_malformed",
        /// Not an OCSP request or response.
        OcspMalformed => "ocsp_malformed",

        // Authorities and mandates.
        /// The authority cannot sign now: suspended.
        AuthoritySuspended => "authority_suspended",
        /// The authority's key cannot be reached now.
        AuthorityLocked => "authority_locked",
        /// The mandate does not fit what it came with, or has expired.
        MandateInvalid => "mandate_invalid",
        /// The mandate is outside the authority's envelope.
        MandateOutsideEnvelope => "mandate_outside_envelope",
        /// The operation id was used for something else.
        OperationIdReused => "operation_id_reused",

        // Private keys.
        /// Secure holds no private key of the certificate, or it was erased.
        KeyNotFound => "key_not_found",
        /// The certificate has a private key in Secure already, or had one.
        KeyExists => "key_exists",
        /// The private key is not the certificate's.
        KeyMismatch => "key_mismatch",
        /// What was sent does not open under Secure's transport key.
        KeyUnsealable => "key_unsealable",
        /// The private key may not leave Secure.
        KeyNotExportable => "key_not_exportable",
        /// The time to fetch the private key is over, or has not come.
        KeyExportNotOpen => "key_export_not_open",

        // States.
        /// The request was decided before.
        RequestNotPending => "request_not_pending",
        /// The workflow was decided before.
        WorkflowNotPending => "workflow_not_pending",
        /// No certificate fits a selection.
        NothingSelected => "nothing_selected",
        /// One may not approve one's own request.
        SelfApproval => "self_approval",
        /// One has decided this step before.
        AlreadyDecided => "already_decided",
        /// One is not among the step's approvers.
        NotAnApprover => "not_an_approver",
        /// Revoked before.
        CertificateAlreadyRevoked => "certificate_already_revoked",
        /// Only a hold can be released.
        CertificateNotOnHold => "certificate_not_on_hold",
        /// Past its end.
        CertificateExpired => "certificate_expired",
        /// Not active, so it cannot be renewed.
        CertificateNotActive => "certificate_not_active",
        /// Replaced by another one, or about to be.
        CertificateAlreadyRenewed => "certificate_already_renewed",
        /// An unknown or unusable revocation reason.
        RevocationReasonInvalid => "revocation_reason_invalid",
        /// An invalidity date in the future.
        InvalidityDateInvalid => "invalidity_date_invalid",
        /// Something with this name or code exists.
        AlreadyExists => "already_exists",
        /// Somebody else changed it at the same time.
        Conflict => "conflict",

        // Trouble of ours.
        /// A part is not reachable now; try again.
        Unavailable => "unavailable",
        /// An error of ours; the log has more.
        Internal => "internal",
    }
}

impl ErrorCode {
    /// Whether the very same request may succeed later.
    pub const fn is_retryable(self) -> bool {
        matches!(
            self,
            Self::Unavailable | Self::AuthorityLocked | Self::RateLimited | Self::IdempotencyKeyInFlight
        )
    }
}

/// An operation that was not done: what, why, and how to mend it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize, thiserror::Error)]
#[error("{code}: {detail}")]
pub struct Refusal {
    /// The stable code.
    pub code: ErrorCode,
    /// What happened, in words for the caller; never a secret.
    pub detail: String,
    /// How to mend it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// The field it is about: a JSON Pointer (RFC 6901) into the request.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
}

impl Refusal {
    /// A refusal without hint or field.
    pub fn new(code: ErrorCode, detail: impl Into<String>) -> Self {
        Self { code, detail: detail.into(), hint: None, field: None }
    }

    /// Says how to mend it.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// Says which field it is about.
    #[must_use]
    pub fn field(mut self, pointer: impl Into<String>) -> Self {
        self.field = Some(pointer.into());
        self
    }
}
