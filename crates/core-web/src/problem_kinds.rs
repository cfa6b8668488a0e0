//! What each error code means over HTTP: status, title and how to mend it. The match is exhaustive on purpose.

use axum::http::StatusCode;
use clm_types::ErrorCode;

/// One kind of problem, as `/problems/<code>` explains it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ProblemKind {
    /// HTTP status.
    pub status: StatusCode,
    /// What happened, in one sentence without the particulars.
    pub title: &'static str,
    /// How to mend it.
    pub fix: &'static str,
}

/// The kind of problem that `code` is.
pub const fn problem_kind(code: ErrorCode) -> ProblemKind {
    let (title, fix) = texts(code);
    ProblemKind { status: status(code), title, fix }
}

#[expect(clippy::too_many_lines, reason = "a line for each code")]
const fn status(code: ErrorCode) -> StatusCode {
    use ErrorCode as C;
    match code {
        C::InvalidRequest | C::IdempotencyKeyRequired | C::WorkloadTokenRefused => StatusCode::BAD_REQUEST,
        C::Unauthenticated | C::SignInFailed => StatusCode::UNAUTHORIZED,
        C::PermissionDenied
        | C::SecondFactorRequired
        | C::SessionTooOld
        | C::StepUpRequired
        | C::LinkInvalid
        | C::PasskeyRefused
        | C::IdentityUnknown
        | C::BootstrapTokenInvalid
        | C::SelfApproval
        | C::NotAnApprover
        | C::OrganizationNotActive
        | C::UserNotActive
        | C::LicenseLimitReached
        | C::SubscriptionEnded => StatusCode::FORBIDDEN,
        C::NotFound
        | C::KeyNotFound
        | C::UserNotFound
        | C::PolicyNotFound
        | C::OrganizationNotFound
        | C::WorkflowNotFound
        | C::CertificateNotFound
        | C::RequestNotFound
        | C::AuthorityNotFound
        | C::ProfileNotFound
        | C::RoleNotFound
        | C::GroupNotFound
        | C::WorkloadRuleNotFound
        | C::ApiKeyNotFound
        | C::SessionNotFound
        | C::PasskeyNotFound
        | C::ExternalIdentityNotFound => StatusCode::NOT_FOUND,
        C::MethodNotAllowed => StatusCode::METHOD_NOT_ALLOWED,
        C::IdempotencyKeyInFlight
        | C::KeyExists
        | C::KeyNotExportable
        | C::KeyExportNotOpen
        | C::AuthoritySuspended
        | C::OperationIdReused
        | C::RequestNotPending
        | C::WorkflowNotPending
        | C::AlreadyDecided
        | C::CertificateAlreadyRevoked
        | C::CertificateNotOnHold
        | C::CertificateExpired
        | C::CertificateNotActive
        | C::CertificateAlreadyRenewed
        | C::AlreadyExists
        | C::MailNotConfigured
        | C::Conflict => StatusCode::CONFLICT,
        C::PreconditionFailed => StatusCode::PRECONDITION_FAILED,
        C::BodyTooLarge | C::CsrTooLarge => StatusCode::PAYLOAD_TOO_LARGE,
        C::UnsupportedMediaType => StatusCode::UNSUPPORTED_MEDIA_TYPE,
        C::PreconditionRequired => StatusCode::PRECONDITION_REQUIRED,
        C::RateLimited => StatusCode::TOO_MANY_REQUESTS,
        C::Unavailable | C::AuthorityLocked => StatusCode::SERVICE_UNAVAILABLE,
        C::Internal | C::LintFailed | C::MandateInvalid | C::SignatureInvalid => {
            StatusCode::INTERNAL_SERVER_ERROR
        }
        C::IdempotencyKeyReused
        | C::KeyMismatch
        | C::KeyUnsealable
        | C::CsrMalformed
        | C::CsrTrailingData
        | C::CsrSignatureInvalid
        | C::CsrExtensionForbidden
        | C::CsrDuplicateExtension
        | C::CsrDuplicateAttribute
        | C::CsrAttributeForbidden
        | C::CsrSignatureAlgorithmUnsupported
        | C::CsrCaTrue
        | C::KeyAlgorithmUnsupported
        | C::KeyAlgorithmNotAllowed
        | C::KeyTooWeak
        | C::KeyCompromised
        | C::KeyMalformed
        | C::RsaExponentInvalid
        | C::RsaModulusWeak
        | C::EcPointInvalid
        | C::NameInvalid
        | C::NameControlCharacter
        | C::NameEncodingInvalid
        | C::NameNotAscii
        | C::NameNotAllowed
        | C::NameKindNotAllowed
        | C::WildcardNotAllowed
        | C::WildcardMisplaced
        | C::TooManyNames
        | C::NameMissing
        | C::CommonNameNotInNames
        | C::ValidityTooLong
        | C::ValidityInvalid
        | C::ValidityBeyondAuthority
        | C::PathLengthExceeded
        | C::ProfileInvalid
        | C::ProfileNotAllowed
        | C::AuthorityNotAllowed
        | C::PolicyNotActive
        | C::PolicyInvalid
        | C::CertificateMalformed
        | C::CrlMalformed
        | C::OcspMalformed
        | C::MandateOutsideEnvelope
        | C::RevocationReasonInvalid
        | C::NothingSelected
        | C::InvalidityDateInvalid
        | C::PasswordTooWeak => StatusCode::UNPROCESSABLE_ENTITY,
    }
}

#[expect(clippy::too_many_lines, reason = "a table")]
const fn texts(code: ErrorCode) -> (&'static str, &'static str) {
    use ErrorCode as C;
    match code {
        C::InvalidRequest => (
            "The body or a parameter cannot be read",
            "Compare it with the API description at /openapi.json.",
        ),
        C::BodyTooLarge => ("The body is larger than this server takes", "Send less than 1 MiB."),
        C::UnsupportedMediaType => (
            "The route does not take this media type",
            "Send application/json, or the type that /openapi.json names for the route.",
        ),
        C::MethodNotAllowed => {
            ("The route has no such method", "Use one of the methods in the Allow header.")
        }
        C::IdempotencyKeyRequired => (
            "The route needs the header Idempotency-Key",
            "Send a fresh random value, and the same one when you repeat the same request.",
        ),
        C::IdempotencyKeyReused => (
            "The Idempotency-Key was used with another body",
            "Use a new key for a new request; repeat a request with its very same body.",
        ),
        C::IdempotencyKeyInFlight => (
            "A request with this Idempotency-Key is still running",
            "Wait as long as Retry-After says, then send the same request again.",
        ),
        C::PreconditionRequired => {
            ("The route needs the header If-Match", "Read the object first and send its ETag as If-Match.")
        }
        C::PreconditionFailed => (
            "The object has changed since it was read",
            "Read it again, look at the difference, and send the change with the new ETag.",
        ),
        C::RateLimited => ("Too many requests", "Wait as long as Retry-After says."),
        C::Unauthenticated => (
            "No credentials, or wrong ones",
            "Send `Authorization: Bearer <API key>`; make a new key if this one has ended or was revoked.",
        ),
        C::PermissionDenied => (
            "The caller may not do this",
            "Ask an administrator for a role with the permission that the detail names.",
        ),
        C::SignInFailed => (
            "This did not sign you in",
            "Check name, password and code. Five failures in five minutes lock a user for 15 minutes; an administrator can unlock it.",
        ),
        C::SecondFactorRequired => (
            "The session lacks a second factor",
            "Show it at /api/v1/sessions/current/factor, or set one up at /api/v1/me/totp.",
        ),
        C::SessionTooOld => (
            "The session is older, or was unused for longer, than the organization lets sessions be",
            "Sign in again, or work in another organization.",
        ),
        C::StepUpRequired => (
            "A second factor must have been shown within the last five minutes",
            "Show it again at /api/v1/sessions/current/factor, and send the request with the new token.",
        ),
        C::PasswordTooWeak => (
            "The password is guessed early, or was used before",
            "Take several words that have nothing to do with each other, or let a password manager make one.",
        ),
        C::LinkInvalid => (
            "The one-time link is wrong, used, replaced by a newer one, or its time is over",
            "Ask an administrator for a new one.",
        ),
        C::MailNotConfigured => (
            "This installation sends no e-mail",
            "Ask an administrator for a one-time link; an operator sets up [mail] in core.toml.",
        ),
        C::IdentityUnknown => (
            "The provider vouches for somebody who is no active user here",
            "Sign in by another way and link the provider, or ask an administrator to let you in.",
        ),
        C::PasskeyRefused => (
            "What the browser brought of a new passkey does not hold",
            "Begin again: a challenge is good for five minutes, in its session, at the address of this service.",
        ),
        C::BootstrapTokenInvalid => (
            "The bootstrap token is wrong, used or expired",
            "Let an operator make a new one with `clm-core bootstrap-token`.",
        ),
        C::NotFound => (
            "No such thing or address, or not visible to the caller",
            "Check the address and the organization you work in.",
        ),
        C::UserNotFound => ("No such user in this organization", "List the users, and use the id of one."),
        C::PolicyNotFound => {
            ("No such policy in this organization", "List the policies, and use the code or id of one.")
        }
        C::OrganizationNotFound => (
            "No such organization, or none that the caller belongs to",
            "Use the id of an organization that you hold a role in.",
        ),
        C::WorkflowNotFound => {
            ("No such workflow in this organization", "List the workflows, and use the code of one.")
        }
        C::CertificateNotFound => (
            "No such certificate in this organization",
            "List the certificates, or look one up by fingerprint or serial number.",
        ),
        C::RequestNotFound => {
            ("No such request in this organization", "List the requests, and use the id of one.")
        }
        C::AuthorityNotFound => {
            ("No such certificate authority", "List the authorities, and use the name or id of one.")
        }
        C::ProfileNotFound => {
            ("No such certificate profile", "Use a profile that the policy and the authority name.")
        }
        C::WorkloadTokenRefused => (
            "The token of the workload was not exchanged for a key",
            "Check the rule's id, and the provider, audience and claims that it asks for; the audit log of its organization says what was wrong. The answer to the same token stays the same for a minute.",
        ),
        C::WorkloadRuleNotFound => {
            ("No such workload rule in this organization", "List the rules, and use the id of one.")
        }
        C::GroupNotFound => ("No such group in this organization", "List the groups, and use the id of one."),
        C::RoleNotFound => ("No such role in this organization", "List the roles, and use the id of one."),
        C::SessionNotFound => ("No such open session", "List the sessions, and use the id of one."),
        C::ExternalIdentityNotFound => {
            ("No such link of the caller to a provider", "List your links, and use the id of one.")
        }
        C::PasskeyNotFound => ("No such passkey of the caller", "List your passkeys, and use the id of one."),
        C::ApiKeyNotFound => {
            ("No such API key in this organization", "List the API keys, and use the id of one.")
        }
        C::CsrMalformed => (
            "The certificate signing request cannot be read",
            "Make it again, for example with `openssl req -new`, and send the whole PEM block.",
        ),
        C::CsrTrailingData => {
            ("There are octets after the certificate signing request", "Send the request alone.")
        }
        C::CsrSignatureInvalid => (
            "The certificate signing request is not signed by its own key",
            "Make it again with the private key that belongs to it.",
        ),
        C::CsrTooLarge => {
            ("The certificate signing request is larger than the limit", "Ask for fewer names.")
        }
        C::CsrExtensionForbidden => (
            "The certificate signing request asks for an extension that a requester may not set",
            "Make it again with subjectAltName only; the profile adds the rest.",
        ),
        C::CsrDuplicateExtension => (
            "The certificate signing request holds an extension twice",
            "Make it again with each extension once.",
        ),
        C::CsrDuplicateAttribute => (
            "The certificate signing request holds an attribute twice",
            "Make it again with each attribute once.",
        ),
        C::CsrAttributeForbidden => (
            "The certificate signing request holds an attribute that is not taken",
            "Make it again without the attribute.",
        ),
        C::CsrSignatureAlgorithmUnsupported => (
            "The certificate signing request is signed with an algorithm that is not taken",
            "Sign it with SHA-256 or better and the algorithm of its key.",
        ),
        C::CsrCaTrue => (
            "The certificate signing request asks for an authority where an end entity is meant",
            "Make it again without basicConstraints.",
        ),
        C::KeyAlgorithmUnsupported => (
            "The key's algorithm is not supported",
            "Use ECDSA P-256 or P-384, RSA 2048, 3072 or 4096, Ed25519 or ML-DSA-65.",
        ),
        C::KeyAlgorithmNotAllowed => (
            "Policy, profile or authority do not allow the key's algorithm",
            "Use one of the algorithms that the policy lists.",
        ),
        C::KeyTooWeak => ("The key is too short", "Make an RSA key of 2048 bits or more, or an ECDSA key."),
        C::KeyCompromised => ("The key is known to be compromised", "Make a new key."),
        C::KeyMalformed => ("The key is not what its algorithm says", "Make a new key."),
        C::RsaExponentInvalid => (
            "The RSA key's exponent is even, too small or too large",
            "Make a new key with the exponent 65537.",
        ),
        C::RsaModulusWeak => (
            "The RSA key's modulus is even or has a small factor",
            "Make a new key with a maintained program.",
        ),
        C::EcPointInvalid => {
            ("The key is no valid point on its curve", "Make a new key, in uncompressed form.")
        }
        C::NameInvalid => ("A name is not valid", "Correct the name that the detail shows."),
        C::NameControlCharacter => ("A name holds NUL or another control character", "Remove the character."),
        C::NameEncodingInvalid => {
            ("A name is not encoded as its string type says", "Make the request again with UTF-8 names.")
        }
        C::NameNotAscii => ("A DNS name is not ASCII", "Send the A-label (`xn--…`)."),
        C::NameNotAllowed => (
            "The policy does not allow a name",
            "Ask for names below the suffixes that the policy lists, or under another policy.",
        ),
        C::NameKindNotAllowed => (
            "The policy or profile does not allow this kind of name",
            "Leave out IP address, e-mail or URI names, or use another profile.",
        ),
        C::WildcardNotAllowed => {
            ("The policy or profile does not allow wildcards", "Ask for the full names.")
        }
        C::WildcardMisplaced => (
            "The `*` is not the whole left-most label, or stands over too few labels",
            "Use `*.` in front of a name of two labels or more.",
        ),
        C::TooManyNames => ("There are more names than allowed", "Split the request."),
        C::NameMissing => ("There is no name", "Give at least one subject alternative name."),
        C::CommonNameNotInNames => (
            "The common name is not among the subject alternative names",
            "Add it there, or leave the common name out.",
        ),
        C::ValidityTooLong => (
            "The lifetime is longer than policy, profile or authority allow",
            "Ask for a shorter one, or leave it out for the policy's default.",
        ),
        C::ValidityInvalid => {
            ("The lifetime is empty or in the past", "Ask for a positive number of seconds.")
        }
        C::ValidityBeyondAuthority => (
            "The certificate would outlive its authority",
            "Ask for a shorter lifetime, or another authority.",
        ),
        C::PathLengthExceeded => {
            ("The authority leaves no room for another authority below it", "Use an authority higher up.")
        }
        C::ProfileInvalid => ("The profile's document contradicts itself", "Correct the profile."),
        C::ProfileNotAllowed => (
            "The policy or authority does not allow this profile",
            "Use one of the profiles that the policy lists.",
        ),
        C::AuthorityNotAllowed => (
            "The policy does not allow this authority, or it does not serve this",
            "Use one of the authorities that the policy lists.",
        ),
        C::PolicyNotActive => ("The policy is not in force", "Use its active version."),
        C::PolicyInvalid => {
            ("The policy or workflow document breaks its schema", "Correct the field that the detail names.")
        }
        C::OrganizationNotActive => {
            ("The organization is not active", "Ask the operator of the installation.")
        }
        C::UserNotActive => ("The user is not active", "Ask an administrator to activate the user."),
        C::LicenseLimitReached => {
            ("The subscription's limit is reached", "Revoke what is not needed, or raise the limit.")
        }
        C::SubscriptionEnded => (
            "The organization's subscription has ended",
            "Renew the subscription; revoking, reading, CRL and OCSP go on without it.",
        ),
        C::LintFailed => (
            "What was to be signed failed the check before signing",
            "Give the request id to whoever runs the service; nothing was signed.",
        ),
        C::SignatureInvalid => (
            "A signature does not verify with its signer's key",
            "Give the request id to whoever runs the service.",
        ),
        C::CertificateMalformed => ("The certificate cannot be read", "Send the whole PEM block."),
        C::CrlMalformed => ("The revocation list cannot be read", "Send the whole file."),
        C::OcspMalformed => {
            ("The OCSP request or response cannot be read", "Send a DER OCSPRequest of RFC 6960.")
        }
        C::AuthoritySuspended => {
            ("The authority does not sign now", "Use another authority, or ask the operator to resume it.")
        }
        C::KeyNotFound => (
            "Secure holds no such private key",
            "Ask who made the certificate's key, or renew with a new key.",
        ),
        C::KeyExists => (
            "The certificate has a private key already",
            "Nothing need be done; `clm cert key show` tells of it.",
        ),
        C::KeyMismatch => {
            ("The private key is another certificate's", "Send the key that the certificate was made for.")
        }
        C::KeyUnsealable => {
            ("The private key was sealed for somebody else", "Fetch the transport key again and seal to it.")
        }
        C::KeyNotExportable => (
            "The private key may not leave",
            "Let whoever manages keys allow it first: `clm cert key set-access`.",
        ),
        C::KeyExportNotOpen => (
            "The private key cannot be fetched now",
            "Wait for the approvals; when its time is over, ask again.",
        ),
        C::AuthorityLocked => (
            "The authority's key cannot be reached now",
            "Try again later; the operator may have to unlock the key.",
        ),
        C::MandateInvalid => (
            "Core's order does not fit what it came with",
            "Give the request id to whoever runs the service.",
        ),
        C::MandateOutsideEnvelope => (
            "The order is outside what the authority may do",
            "Ask for less, or let the operator widen the authority's envelope.",
        ),
        C::OperationIdReused => {
            ("The operation was used for something else", "Send the request with a new Idempotency-Key.")
        }
        C::RequestNotPending | C::WorkflowNotPending => {
            ("The request was decided before", "Look at the request's state.")
        }
        C::SelfApproval => ("Nobody decides on a request of their own", "Let somebody else approve it."),
        C::AlreadyDecided => ("The caller has decided this step before", "Wait for the other approvers."),
        C::NotAnApprover => (
            "The caller is not among the approvers of this step",
            "Let one of them decide; the request lists them.",
        ),
        C::CertificateAlreadyRevoked => ("The certificate was revoked before", "Nothing is left to do."),
        C::CertificateNotOnHold => {
            ("Only a certificate on hold can be released", "Look at the certificate's state.")
        }
        C::CertificateExpired => ("The certificate has expired", "Ask for a new one."),
        C::CertificateNotActive => ("The certificate is not active", "Ask for a new one."),
        C::CertificateAlreadyRenewed => (
            "The certificate was renewed before, or its renewal is open",
            "Use or renew the certificate that has replaced it; wait for an open renewal, or cancel it.",
        ),
        C::RevocationReasonInvalid => (
            "The revocation reason is unknown or cannot be used here",
            "Use one of the reasons in the API description; release a hold by its own route.",
        ),
        C::NothingSelected => (
            "No certificate fits the selection",
            "Select less narrowly; what is revoked or has ended is never selected.",
        ),
        C::InvalidityDateInvalid => {
            ("The invalidity date is in the future", "Send the moment since which the key is suspected.")
        }
        C::AlreadyExists => {
            ("Something with this name or code exists", "Choose another name, or change what exists.")
        }
        C::Conflict => ("Somebody else changed it at the same time", "Read it again and repeat the change."),
        C::Unavailable => (
            "A part of the service is not reachable now",
            "Try the same request again after Retry-After, with the same Idempotency-Key.",
        ),
        C::Internal => (
            "An error of the service itself",
            "Give the request id to whoever runs the service; its log has the cause.",
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_is_an_error_with_a_title_and_a_fix() {
        for code in ErrorCode::ALL {
            let kind = problem_kind(*code);
            assert!(kind.status.is_client_error() || kind.status.is_server_error(), "{code}");
            assert!(!kind.title.ends_with('.') && kind.fix.ends_with('.'), "{code}");
        }
    }

    #[test]
    fn what_may_be_repeated_says_so_by_its_status() {
        for code in ErrorCode::ALL.iter().filter(|code| code.is_retryable()) {
            let status = problem_kind(*code).status.as_u16();
            assert!(matches!(status, 409 | 429 | 503), "{code}");
        }
    }
}
