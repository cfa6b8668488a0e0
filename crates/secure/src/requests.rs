//! Requests that wait for Core's decision.

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_secure_db::operations::OperationRow;
use clm_secure_db::requests::{RequestRow, RequestState};
use clm_types::ids::new_uuid;
use clm_types::{
    CertificateSpec, ErrorCode, KeyAlgorithm, KeySource, OperationId, OrganizationId, Refusal, RequestId,
    RequestStatus, Time, UserId,
};
use clm_x509::{Csr, PublicKey, SubjectName};
use fail::fail_point;
use serde_json::json;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::{Rejection, Write};
use crate::mandates::request_digest;
use crate::order::{lifetime, names_of, read, requestable};
use crate::recall::reused;
use crate::{Secure, SecureError};

/// What a request's row is made of, besides its spec.
pub(crate) struct Arrival<'a> {
    pub(crate) operation_id: OperationId,
    pub(crate) request_sha256: &'a [u8],
    pub(crate) now: Time,
}

/// The row of a request.
pub(crate) fn row(
    spec: &CertificateSpec,
    csr: Option<&Csr>,
    key: Option<&PublicKey>,
    arrival: &Arrival<'_>,
) -> RequestRow {
    let algorithm = key.map(PublicKey::algorithm).or(spec.key_algorithm).unwrap_or(KeyAlgorithm::EcdsaP256);
    let subject = spec.subject.parse::<SubjectName>().ok();
    RequestRow {
        id: spec.request_id.into(),
        operation_id: arrival.operation_id.into(),
        organization_id: spec.organization_id.into(),
        requester_user_id: spec.requester_user_id.into(),
        owner_user_id: spec.owner_user_id.into(),
        policy_id: spec.policy_id.into(),
        policy_version: spec.policy_version,
        workflow_instance_id: spec.workflow_instance_id.into(),
        authority_id: spec.authority_id.into(),
        profile: spec.profile.clone(),
        csr_pem: csr.map(Csr::pem),
        csr_der: csr.map(|csr| csr.der().to_vec()),
        key_source: spec.key_source.as_str().into(),
        key_algorithm: algorithm.as_str().into(),
        public_key_sha256: key.map(|key| key.fingerprint().to_vec()),
        subject: spec.subject.clone(),
        common_name: subject.and_then(|subject| subject.common_name().map(str::to_owned)),
        sans: spec.sans.clone().into(),
        validity_seconds: i64::try_from(spec.validity_seconds).unwrap_or(i64::MAX),
        request_sha256: arrival.request_sha256.to_vec(),
        renewal_of_certificate_id: spec.renewal_of.map(Into::into),
        submitted_at: arrival.now,
    }
}

/// Why a request that is there already cannot go on.
pub(crate) fn refuse_repeat(state: &RequestState, request_sha256: &[u8]) -> SecureError {
    if state.request_sha256.as_deref() != Some(request_sha256) {
        return Refusal::new(ErrorCode::OperationIdReused, "this request id was used for another request")
            .into();
    }
    match state.status.parse::<RequestStatus>().map(RequestStatus::begin_issuing) {
        Ok(Err(refusal)) => refusal.into(),
        _ => Refusal::new(ErrorCode::Conflict, "the request is being worked on").into(),
    }
}

/// The CSR in a spec, parsed and its self-signature checked.
pub(crate) fn check_csr(spec: &CertificateSpec) -> Result<Option<Csr>, Refusal> {
    let Some(text) = &spec.csr else { return Ok(None) };
    let der = STANDARD
        .decode(text)
        .map_err(|_| Refusal::new(ErrorCode::CsrMalformed, "the request is no base64"))?;
    let csr =
        if spec.profile == "intermediate-ca" { Csr::parse_for_authority(&der)? } else { Csr::parse(&der)? };
    csr.verify()?;
    Ok(Some(csr))
}

impl Secure {
    /// Records a request that waits for approval; the same request again changes nothing.
    ///
    /// # Errors
    /// A refusal of the request itself, `operation_id_reused`, or trouble of ours.
    pub async fn submit_request(
        &self,
        operation_id: OperationId,
        spec_octets: &[u8],
    ) -> Result<(), SecureError> {
        let now = self.parts.clock.now();
        let spec: CertificateSpec = read("the request", spec_octets)?;
        let request_sha256 = request_digest(spec_octets);
        self.authority(spec.authority_id).await?;
        let (subject, names) = names_of(&spec)?;
        requestable(&spec.profile)?.check_names(&subject, &names)?;
        lifetime(&spec)?;
        if let Some(old) = spec.renewal_of {
            self.certificate_of(old, spec.organization_id).await?;
        }
        let csr = check_csr(&spec)?;
        if (spec.key_source == KeySource::Csr) != csr.is_some() {
            return Err(
                Refusal::new(ErrorCode::InvalidRequest, "the key source does not fit what was sent").into()
            );
        }
        let arrival = Arrival { operation_id, request_sha256: &request_sha256, now };
        let key = csr.as_ref().map(Csr::public_key);
        if let Some(key) = key {
            self.require_unblocked(key).await?;
        }
        let write = Write {
            pending_requests: vec![row(&spec, csr.as_ref(), key, &arrival)],
            audit: vec![submitted(&spec, operation_id, &request_sha256, now)],
            ..Write::default()
        };
        match self.commit(write).await {
            Err(error) if error.is_conflict() => self.known_request(spec.request_id, &request_sha256).await,
            outcome => {
                fail_point!("secure_request_after_store");
                outcome
            }
        }
    }

    /// After a conflict: fine if the very same request is recorded already.
    async fn known_request(&self, id: RequestId, request_sha256: &[u8]) -> Result<(), SecureError> {
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        match clm_secure_db::requests::find_state(&mut conn, id.into()).await? {
            Some(state) if state.request_sha256.as_deref() == Some(request_sha256) => Ok(()),
            Some(state) => Err(refuse_repeat(&state, request_sha256)),
            None => Err(reused().into()),
        }
    }

    /// Records that a waiting request was refused or withdrawn; once per operation id.
    ///
    /// # Errors
    /// `request_not_found`, `request_not_pending`, `operation_id_reused`, or trouble of ours.
    pub async fn reject_request(
        &self,
        operation_id: OperationId,
        request_id: RequestId,
        organization_id: OrganizationId,
        decided_by: UserId,
        reason: &str,
    ) -> Result<(), SecureError> {
        let now = self.parts.clock.now();
        check_text("reason", reason)?;
        let request_sha256 = request_digest(format!("reject/{request_id}").as_bytes());
        if self.done_before(operation_id, "reject", &request_sha256).await? {
            return Ok(());
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let state = clm_secure_db::requests::find_state(&mut conn, request_id.into()).await?;
        drop(conn);
        let state = state.filter(|state| state.organization_id == Some(organization_id.into()));
        let state =
            state.ok_or_else(|| Refusal::new(ErrorCode::RequestNotFound, "there is no such request"))?;
        let damaged = |_| SecureError::Damaged(format!("the status of request {request_id}"));
        state.status.parse::<RequestStatus>().map_err(damaged)?.reject()?;
        let write = Write {
            rejections: vec![Rejection { request_id: request_id.into(), reason: reason.to_owned() }],
            operations: vec![OperationRow {
                id: new_uuid(now, &self.parts.entropy),
                operation_id: operation_id.into(),
                kind: "reject".into(),
                request_sha256: request_sha256.clone(),
                mandate: None,
                outcome: Some(json!("rejected")),
                created_at: now,
            }],
            audit: vec![AuditDraft {
                occurred_at: now,
                actor: Actor::User(decided_by),
                organization_id: Some(organization_id),
                operation_id: Some(operation_id),
                action: "request.reject",
                object_type: "request",
                object_id: Some(request_id.into()),
                outcome: Outcome::Allowed,
                reason: Some(reason.to_owned()),
                detail: json!({}),
            }],
            ..Write::default()
        };
        match self.commit(write).await {
            Err(error)
                if error.is_conflict()
                    && self.done_before(operation_id, "reject", &request_sha256).await? =>
            {
                Ok(())
            }
            outcome => outcome,
        }
    }
}

/// Words of people are kept as they are, but must be words: PostgreSQL stores no NUL.
pub(crate) fn check_text(what: &str, text: &str) -> Result<(), Refusal> {
    if text.len() <= 4096 && !text.chars().any(|c| c.is_control() && c != '\n' && c != '\t') {
        return Ok(());
    }
    let detail = format!("the {what} is longer than 4096 octets or holds control characters");
    Err(Refusal::new(ErrorCode::InvalidRequest, detail).field(format!("/{what}")))
}

fn submitted(
    spec: &CertificateSpec,
    operation_id: OperationId,
    request_sha256: &[u8],
    now: Time,
) -> AuditDraft {
    AuditDraft {
        occurred_at: now,
        actor: Actor::User(spec.requester_user_id),
        organization_id: Some(spec.organization_id),
        operation_id: Some(operation_id),
        action: "request.submit",
        object_type: "request",
        object_id: Some(spec.request_id.into()),
        outcome: Outcome::Allowed,
        reason: None,
        detail: json!({ "request_sha256": hex::encode(request_sha256), "profile": spec.profile, "subject": spec.subject }),
    }
}
