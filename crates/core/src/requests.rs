//! Requests for certificates: checked, written down as a durable intent, and carried out.

use std::sync::Arc;
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_core_db::requests::{self, InstanceRow, RequestFilter};
use clm_core_db::{audit, jobs};
use clm_types::{
    AuthorityRecord, CertificateId, CertificateSpec, ErrorCode, IssuedCertificate, KeyAlgorithm, KeySource,
    Permission, Refusal, RequestId, UserId, WorkflowInstanceId, WorkflowKind, WorkflowStatus,
};
use clm_x509::{Csr, Profile, San, SubjectName};
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::authorities::{check_authority, choose_authority, succeeding};
use crate::intents::Draft;
use crate::jobs::{Closing, JobKind};
use crate::page::{Page, PageRequest};
use crate::policies::ReadPolicy;
use crate::policy_rules::key_field;
use crate::proposal::ProposedCertificate;
use crate::request_context::{Labels, RequestContext, check_comment};
use crate::request_view::{Request, stored};
use crate::{Core, CoreError, Ctx};

/// Most subject alternative names that are read.
const MOST_NAMES: usize = 100;

/// Asks for a certificate: from a certificate signing request, or with a key that Secure generates.
#[derive(Debug, Clone, Default)]
pub struct NewRequest {
    /// Id or code of the policy; the one named like the profile unless given.
    pub policy: Option<String>,
    /// Profile name.
    pub profile: String,
    /// Id or name of the authority; chosen unless given.
    pub authority: Option<String>,
    /// PKCS#10 in PEM. Without it, `key_algorithm` says which key is generated.
    pub csr_pem: Option<String>,
    /// Algorithm of the key to generate.
    pub key_algorithm: Option<KeyAlgorithm>,
    /// Subject, RFC 4514; taken from the CSR unless given.
    pub subject: Option<String>,
    /// Names; taken from the CSR when empty.
    pub sans: Vec<String>,
    /// Lifetime; the policy's default unless given.
    pub validity_seconds: Option<u64>,
    /// Who answers for the certificate; the caller unless given.
    pub owner_user_id: Option<UserId>,
    /// For finding it again.
    pub labels: Labels,
    /// A word to the approvers.
    pub comment: Option<String>,
}

/// A request that was taken, and its certificate if it was issued at once.
#[derive(Debug, Clone)]
pub struct Submitted {
    /// How far it is.
    pub request: Request,
    /// The certificate with its chain.
    pub certificate: Option<IssuedCertificate>,
}

/// Which requests to list.
#[derive(Debug, Clone, Default)]
pub struct RequestQuery {
    /// Only those that are this far.
    pub status: Option<WorkflowStatus>,
    /// Only of this kind.
    pub kind: Option<WorkflowKind>,
    /// Only of this requester.
    pub requester: Option<UserId>,
}

/// A request with everything it points to found.
pub(crate) struct Asked {
    pub(crate) kind: WorkflowKind,
    pub(crate) policy: Arc<ReadPolicy>,
    pub(crate) profile: Profile,
    /// The authority that was named: the policy decides on it.
    pub(crate) authority: AuthorityRecord,
    /// Who signs for it: itself, or its successor.
    pub(crate) signer: AuthorityRecord,
    pub(crate) key: AskedKey,
    pub(crate) subject: SubjectName,
    pub(crate) sans: Vec<San>,
    pub(crate) validity_seconds: u64,
    pub(crate) owner_user_id: UserId,
    pub(crate) labels: Labels,
    pub(crate) comment: Option<String>,
    pub(crate) renewal_of: Option<CertificateId>,
}

/// The key that shall be certified.
pub(crate) enum AskedKey {
    /// The requester holds it.
    Csr(Box<Csr>),
    /// Secure makes it.
    Generated(KeyAlgorithm),
    /// That of the certificate that is renewed.
    Reused(KeyAlgorithm),
}

impl AskedKey {
    /// Reads what a request says of its key.
    ///
    /// # Errors
    /// The `csr_*` and key codes; `invalid_request` when there is neither or both.
    pub(crate) fn read(
        csr_pem: Option<&str>,
        algorithm: Option<KeyAlgorithm>,
        profile: &Profile,
    ) -> Result<Option<Self>, Refusal> {
        match (csr_pem, algorithm) {
            (Some(_), Some(_)) => {
                Err(Refusal::new(ErrorCode::InvalidRequest, "give either csr_pem or key_algorithm, not both")
                    .hint("with a CSR the key is in it")
                    .field("/key_algorithm"))
            }
            (Some(pem), None) => {
                let read = || {
                    let parse = if profile.is_ca() { Csr::parse_for_authority } else { Csr::parse };
                    let csr = parse(pem.as_bytes())?;
                    csr.verify()?;
                    Ok(csr)
                };
                read()
                    .map(|csr| Some(Self::Csr(Box::new(csr))))
                    .map_err(|refusal: Refusal| refusal.field("/csr_pem"))
            }
            (None, Some(algorithm)) => Ok(Some(Self::Generated(algorithm))),
            (None, None) => Ok(None),
        }
    }

    pub(crate) fn algorithm(&self) -> KeyAlgorithm {
        match self {
            Self::Csr(csr) => csr.public_key().algorithm(),
            Self::Generated(algorithm) | Self::Reused(algorithm) => *algorithm,
        }
    }

    const fn source(&self) -> KeySource {
        match self {
            Self::Csr(_) => KeySource::Csr,
            Self::Generated(_) => KeySource::Generated,
            Self::Reused(_) => KeySource::Reused,
        }
    }
}

impl Core {
    /// Asks for a certificate. What no person need approve is issued at once, if it can be within
    /// `wait`; else the request waits for approval, or for its job.
    ///
    /// # Errors
    /// `permission_denied`; a code for each part that is wrong, unknown or not allowed; what Secure
    /// refuses when it is asked at once; `unavailable`.
    pub async fn submit_request(
        self: &Arc<Self>,
        ctx: &Ctx,
        new: NewRequest,
        wait: Duration,
    ) -> Result<Submitted, CoreError> {
        ctx.require(Permission::RequestCreate)?;
        let begin = Box::pin(async {
            let asked = self.read_request(ctx, new).await?;
            self.begin_certificate(ctx, asked, wait).await
        });
        self.once(ctx, begin).await
    }

    async fn read_request(&self, ctx: &Ctx, new: NewRequest) -> Result<Asked, CoreError> {
        let profile = find_profile(&new.profile)?;
        let key = AskedKey::read(new.csr_pem.as_deref(), new.key_algorithm, &profile)?.ok_or_else(|| {
            Refusal::new(ErrorCode::InvalidRequest, "neither csr_pem nor key_algorithm is given")
                .hint("send a CSR, or say which kind of key shall be generated and kept here")
                .field("/csr_pem")
        })?;
        let (subject, sans) = read_names(&key, new.subject.as_deref(), &new.sans)?;
        let named = new.policy.as_deref();
        let policy = self.policy_in_force(ctx, named.unwrap_or(&new.profile)).await;
        let policy = policy.map_err(|error| about_policy(error, named.is_none()))?;
        let authorities = self.authorities().await?;
        let authority =
            choose_authority(&authorities, new.authority.as_deref(), &new.profile, |authority| {
                takes_authority(&policy, authority)
            })?;
        let validity_seconds = new.validity_seconds.unwrap_or(policy.rules.default_validity_seconds);
        Ok(Asked {
            kind: WorkflowKind::Issuance,
            validity_seconds,
            owner_user_id: match new.owner_user_id {
                Some(owner) => owner,
                None => ctx.user_id()?,
            },
            policy,
            profile,
            authority: authority.clone(),
            signer: succeeding(&authorities, authority, validity_seconds, ctx.now).clone(),
            key,
            subject,
            sans,
            labels: new.labels,
            comment: new.comment,
            renewal_of: None,
        })
    }

    /// Checks what was asked for against profile, policy, authority and references, and begins the operation.
    pub(crate) async fn begin_certificate(
        self: &Arc<Self>,
        ctx: &Ctx,
        asked: Asked,
        wait: Duration,
    ) -> Result<Submitted, CoreError> {
        let requester = ctx.user_id()?;
        // Those of a renewal are the old certificate's, whatever was taken then.
        if asked.renewal_of.is_none() {
            asked.labels.check()?;
        }
        check_comment("/comment", asked.comment.as_deref())?;
        let proposed = asked.check(ctx)?;
        self.check_owner(ctx, asked.owner_user_id).await?;
        let plan = self.plan_workflow(ctx, asked.kind, &asked.policy, Some(&proposed)).await?;
        let instance_id = WorkflowInstanceId::generate(ctx.now, &self.entropy);
        let spec = asked.spec(ctx, requester, instance_id);
        let draft = Draft {
            kind: asked.kind,
            instance_id,
            operation_id: ctx.operation_id(&self.entropy),
            requester_user_id: requester,
            owner_user_id: Some(asked.owner_user_id),
            policy: Some(Arc::clone(&asked.policy)),
            certificate_id: None,
            context: RequestContext {
                authority_id: asked.signer.authority_id,
                key_algorithm: Some(asked.key.algorithm()),
                certificate: Some(spec),
                revocation: None,
                key_export: None,
                labels: asked.labels,
                comment: asked.comment,
                approval_reason: None,
                step_deadlines: Vec::new(),
            },
            plan,
        };
        self.begin(ctx, draft, wait).await
    }

    /// A page of the organization's requests, newest first.
    ///
    /// # Errors
    /// `permission_denied`.
    pub async fn list_requests(
        &self,
        ctx: &Ctx,
        query: &RequestQuery,
        page: PageRequest,
    ) -> Result<Page<Request>, CoreError> {
        ctx.require(Permission::RequestRead)?;
        let filter = RequestFilter {
            status: query.status.map(WorkflowStatus::as_str),
            instance_type: query.kind.map(WorkflowKind::as_str),
            requester_user_id: query.requester.map(Into::into),
            before: page.before,
            limit: page.fetch_limit(),
        };
        let mut tx = self.search_tx(ctx.organization_id).await?;
        let rows = Page::cut(requests::list(&mut tx, &filter).await?, page, |row| row.id);
        let ids: Vec<Uuid> = rows.items.iter().map(|row| row.id).collect();
        let mut steps = requests::list_steps(&mut tx, &ids).await?;
        let mut items = Vec::with_capacity(rows.items.len());
        for row in rows.items {
            let of_row = |step: &mut requests::StepRow| step.workflow_instance_id == row.id;
            let own = steps.extract_if(.., of_row).collect();
            items.push(Request::read(row, own)?);
        }
        Ok(Page { items, next: rows.next })
    }

    /// One request.
    ///
    /// # Errors
    /// `permission_denied`, `request_not_found`.
    pub async fn show_request(&self, ctx: &Ctx, id: RequestId) -> Result<Request, CoreError> {
        ctx.require(Permission::RequestRead)?;
        self.read_stored_request(ctx, id).await
    }

    pub(crate) async fn read_stored_request(&self, ctx: &Ctx, id: RequestId) -> Result<Request, CoreError> {
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let row = requests::find(&mut tx, id.into()).await?.ok_or_else(request_not_found)?;
        let steps = requests::list_steps(&mut tx, &[row.id]).await?;
        Request::read(row, steps)
    }

    /// Takes a request back that waits for approval: its requester may, and whoever writes workflows.
    ///
    /// # Errors
    /// `permission_denied`, `request_not_found`, `workflow_not_pending`.
    pub async fn cancel_request(
        &self,
        ctx: &Ctx,
        id: RequestId,
        comment: Option<&str>,
    ) -> Result<Request, CoreError> {
        ctx.require(Permission::RequestRead)?;
        check_comment("/comment", comment)?;
        self.in_tenant(ctx.organization_id, "cancel_request", |mut tx| async move {
            let row = requests::find_for_update(&mut tx, id.into()).await?.ok_or_else(request_not_found)?;
            if ctx.actor.user_id != Some(row.requester_user_id.into()) {
                ctx.require(Permission::WorkflowWrite)?;
            }
            let status = stored::<WorkflowStatus>(&row.status)?.cancel()?;
            requests::close(&mut tx, row.id, status.as_str(), None, ctx.now).await?;
            let reason = comment.unwrap_or("withdrawn");
            let entry = AuditEntry::of(ctx, &self.entropy, "request.cancel", "request")
                .object(row.id)
                .operation(row.operation_id.into())
                .detail(reason);
            audit::insert(&mut tx, entry.row()).await?;
            self.enqueue_closing(&mut tx, ctx, &row, reason).await?;
            Ok((tx, ()))
        })
        .await?;
        self.worker.wake.notify_one();
        self.read_stored_request(ctx, id).await
    }

    /// Has Secure record that a request ended without a certificate; nothing where none was to be made.
    pub(crate) async fn enqueue_closing(
        &self,
        conn: &mut clm_core_db::PgConnection,
        ctx: &Ctx,
        row: &InstanceRow,
        reason: &str,
    ) -> Result<(), CoreError> {
        if !row.instance_type.parse().is_ok_and(WorkflowKind::makes_certificate) {
            return Ok(());
        }
        let closing = Closing {
            decided_by: ctx.actor.user_id.unwrap_or(UserId(Uuid::nil())),
            reason: reason.to_owned(),
        };
        let job = self.queued_job(JobKind::Reject, closing.to_json(), ctx.now);
        Ok(jobs::insert(conn, &job, row.operation_id, row.organization_id, ctx.now).await?)
    }
}

impl Asked {
    /// Everything that can be refused without asking the database or Secure.
    fn check(&self, ctx: &Ctx) -> Result<ProposedCertificate, CoreError> {
        let algorithm = self.key.algorithm();
        let seconds = i64::try_from(self.validity_seconds).unwrap_or(i64::MAX);
        self.profile
            .check(&self.subject, &self.sans, algorithm, seconds)
            .map_err(|refusal| self.point(refusal))?;
        let proposed = ProposedCertificate {
            profile: self.profile.name.clone(),
            authority_id: self.authority.authority_id,
            authority_name: self.authority.name.clone(),
            key_algorithm: algorithm,
            key_source: self.key.source(),
            subject: self.subject.clone(),
            sans: self.sans.clone(),
            validity_seconds: self.validity_seconds,
            requester_role_ids: ctx.actor.role_ids.clone(),
        };
        self.policy.rules.check(&proposed)?;
        check_authority(&self.signer, &self.profile.name, self.validity_seconds, ctx.now)?;
        Ok(proposed)
    }

    /// Says which field a refusal of the profile is about.
    fn point(&self, refusal: Refusal) -> Refusal {
        let field = match refusal.code {
            ErrorCode::KeyAlgorithmNotAllowed => key_field(self.key.source()),
            ErrorCode::ValidityInvalid | ErrorCode::ValidityTooLong => "/validity_seconds",
            _ => "/sans",
        };
        refusal.field(field)
    }

    fn spec(&self, ctx: &Ctx, requester: UserId, instance_id: WorkflowInstanceId) -> CertificateSpec {
        CertificateSpec {
            request_id: RequestId(instance_id.0),
            organization_id: ctx.organization_id,
            requester_user_id: requester,
            owner_user_id: self.owner_user_id,
            policy_id: self.policy.id(),
            policy_version: self.policy.policy.policy_version,
            workflow_instance_id: instance_id,
            authority_id: self.signer.authority_id,
            profile: self.profile.name.clone(),
            key_source: self.key.source(),
            csr: match &self.key {
                AskedKey::Csr(csr) => Some(STANDARD.encode(csr.der())),
                _ => None,
            },
            key_algorithm: match &self.key {
                AskedKey::Generated(algorithm) => Some(*algorithm),
                _ => None,
            },
            subject: self.subject.to_string(),
            sans: self.sans.iter().map(ToString::to_string).collect(),
            validity_seconds: self.validity_seconds,
            renewal_of: self.renewal_of,
        }
    }
}

/// The built-in profile that a request may ask for.
pub(crate) fn find_profile(name: &str) -> Result<Profile, Refusal> {
    let requestable = clm_x509::profile::REQUESTABLE;
    let found = requestable.contains(&name).then(|| Profile::built_in(name)).flatten();
    found.ok_or_else(|| {
        let shown: String = name.chars().take(80).collect();
        Refusal::new(ErrorCode::ProfileNotFound, format!("there is no profile `{shown}`"))
            .hint(format!("there are {}", requestable.join(", ")))
            .field("/profile")
    })
}

/// Subject and names as given, or as in the CSR.
fn read_names(
    key: &AskedKey,
    subject: Option<&str>,
    sans: &[String],
) -> Result<(SubjectName, Vec<San>), Refusal> {
    let csr = match key {
        AskedKey::Csr(csr) => Some(csr),
        _ => None,
    };
    let subject = match subject {
        Some(text) => text.parse().map_err(|refusal: Refusal| refusal.field("/subject"))?,
        None => csr.map_or_else(SubjectName::empty, |csr| csr.subject().clone()),
    };
    if sans.len() > MOST_NAMES {
        return Err(Refusal::new(
            ErrorCode::TooManyNames,
            format!("these are {} names, {MOST_NAMES} are the most", sans.len()),
        )
        .field("/sans"));
    }
    if sans.is_empty() {
        return Ok((subject, csr.map_or_else(Vec::new, |csr| csr.names().to_vec())));
    }
    let mut names = Vec::with_capacity(sans.len());
    for (index, text) in sans.iter().enumerate() {
        let name: San = text.parse().map_err(|refusal: Refusal| refusal.field(format!("/sans/{index}")))?;
        if !names.contains(&name) {
            names.push(name);
        }
    }
    Ok((subject, names))
}

fn takes_authority(policy: &ReadPolicy, authority: &AuthorityRecord) -> bool {
    let taken = &policy.rules.authorities;
    let id = authority.authority_id.to_string();
    taken.is_empty() || taken.iter().any(|entry| *entry == authority.name || *entry == id)
}

fn about_policy(error: CoreError, assumed: bool) -> CoreError {
    match error {
        CoreError::Refused(refusal) if refusal.code == ErrorCode::PolicyNotFound => {
            let refusal = Refusal {
                detail: if assumed {
                    format!("Policy not found: {} (named after the profile)", refusal.detail)
                } else {
                    format!("Policy not found: {}", refusal.detail)
                },
                ..refusal
            };
            refusal.field("/policy").into()
        }
        error => error,
    }
}

/// `request_not_found`.
pub(crate) fn request_not_found() -> Refusal {
    Refusal::new(ErrorCode::RequestNotFound, "there is no such request")
}
