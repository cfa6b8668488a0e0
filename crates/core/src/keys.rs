//! The private keys of certificates, which Secure holds. Core passes them on sealed, and asks for approvals before one leaves.

use std::sync::Arc;
use std::time::Duration;

use base64::{Engine, engine::general_purpose::STANDARD};
use clm_core_db::{audit, references, requests};
use clm_types::{
    CertificateId, ErrorCode, ExportedKey, KeyChange, KeyExportPurpose, KeyExportSpec, KeyOrder, KeyRecord,
    Permission, Refusal, RequestId, SecureAuditEntry, TransportKey, UserId, WorkflowInstanceId, WorkflowKind,
};
use serde_json::json;

use crate::audit::AuditEntry;
use crate::certificates::Certificate;
use crate::intents::Draft;
use crate::page::{Page, PageRequest};
use crate::request_context::{Labels, RequestContext, check_comment};
use crate::request_view::Request;
use crate::requests::{Submitted, request_not_found};
use crate::roles::APPROVER;
use crate::users::user_not_found;
use crate::workflows::{Approver, Decision, PlannedStep, WorkflowPlan};
use crate::{Core, CoreError, Ctx};

/// Approvals that a private key needs where no workflow says otherwise.
const APPROVALS: u32 = 2;
/// Users that are named for one key.
const MOST_KEY_USERS: usize = 100;
/// How long they may take.
const DEADLINE_SECONDS: u64 = 14 * 86_400;

/// Which private key is asked for.
#[derive(Debug, Clone)]
pub struct NewKeyExport {
    /// The public key that it shall be sealed to: uncompressed P-256 point, base64.
    pub recipient: String,
    /// Why it shall leave Secure.
    pub purpose: KeyExportPurpose,
    /// The same in words; the approvers read it.
    pub reason: String,
}

impl Core {
    /// The public key that private keys are sealed to on their way to Secure.
    ///
    /// # Errors
    /// `permission_denied`, or Secure cannot be reached.
    pub async fn find_transport_key(&self, ctx: &Ctx) -> Result<TransportKey, CoreError> {
        ctx.require(Permission::KeyImport)?;
        Ok(self.secure.find_transport_key().await?)
    }

    /// What is known of a certificate's private key.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `key_not_found`.
    pub async fn show_key(&self, ctx: &Ctx, id: CertificateId) -> Result<KeyRecord, CoreError> {
        ctx.require(Permission::KeyRead)?;
        self.find_certificate(ctx, id).await?;
        Ok(self.secure.find_key(id, ctx.organization_id).await?)
    }

    /// Brings a private key in, sets who may export it, deletes or restores it.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `key_not_found`, `key_exists`, `key_mismatch`, `key_unsealable`,
    /// `key_not_exportable`, `user_not_found`.
    pub async fn change_key(
        &self,
        ctx: &Ctx,
        id: CertificateId,
        change: KeyChange,
        reason: Option<String>,
    ) -> Result<KeyRecord, CoreError> {
        let (permission, action) = match &change {
            KeyChange::Import { .. } => (Permission::KeyImport, "key.import"),
            KeyChange::SetAccess { .. } => (Permission::KeyManage, "key.set_access"),
            KeyChange::Delete => (Permission::KeyManage, "key.delete"),
            KeyChange::Restore => (Permission::KeyManage, "key.restore"),
        };
        ctx.require(permission)?;
        check_comment("/reason", reason.as_deref())?;
        self.find_certificate(ctx, id).await?;
        if let KeyChange::SetAccess { users, .. } = &change {
            self.check_key_users(ctx, id, users).await?;
        }
        let operation_id = ctx.operation_id(&self.entropy);
        let order = KeyOrder {
            certificate_id: id,
            organization_id: ctx.organization_id,
            ordered_by: ctx.user_id()?,
            reason,
            change,
        };
        let record = self.secure.change_key(operation_id, &order).await?;
        let state = json!({ "exportable": record.exportable, "users": record.users, "deleted_at": record.deleted_at });
        let entry = AuditEntry::of(ctx, &self.entropy, action, "certificate")
            .object(id)
            .operation(operation_id)
            .after(state);
        let entry = &entry;
        self.in_tenant(ctx.organization_id, "change_key", |mut tx| async move {
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        Ok(record)
    }

    /// Fails for too many, and unless all that are not named yet are active users of the organization.
    async fn check_key_users(&self, ctx: &Ctx, id: CertificateId, users: &[UserId]) -> Result<(), CoreError> {
        if users.len() > MOST_KEY_USERS {
            let detail = format!("{MOST_KEY_USERS} users at most are named for a key");
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/users").into());
        }
        let named = self.secure.find_key(id, ctx.organization_id).await?.users;
        let new: Vec<_> = users.iter().filter(|user| !named.contains(user)).map(|user| user.0).collect();
        if new.is_empty() {
            return Ok(());
        }
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let active = references::list_active_users(&mut tx, ctx.organization_id.0, &new, ctx.now).await?;
        match new.into_iter().find(|user| !active.contains(user)) {
            Some(unknown) => Err(user_not_found(UserId(unknown)).field("/users").into()),
            None => Ok(()),
        }
    }

    /// Asks for a private key; it can be fetched once it is approved.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `key_malformed` for the recipient; what Secure refuses when nobody need
    /// approve.
    pub async fn request_key_export(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        new: NewKeyExport,
        wait: Duration,
    ) -> Result<Request, CoreError> {
        let begin = Box::pin(self.begin_key_export(ctx, id, new, wait));
        Ok(self.once(ctx, begin).await?.request)
    }

    /// The private key of a completed request, sealed to the recipient that it names.
    ///
    /// # Errors
    /// `request_not_found`, `key_export_not_open`, `key_not_found`.
    pub async fn fetch_key(&self, ctx: &Ctx, id: RequestId) -> Result<ExportedKey, CoreError> {
        let user = ctx.user_id()?;
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let row = requests::find(&mut tx, id.into()).await?.ok_or_else(request_not_found)?;
        drop(tx);
        if row.requester_user_id != user.0 || row.instance_type != WorkflowKind::KeyExport.as_str() {
            return Err(request_not_found().into());
        }
        let fetched = self.secure.fetch_key(row.operation_id.into(), ctx.organization_id, user).await?;
        let entry = AuditEntry::of(ctx, &self.entropy, "key.fetch", "certificate")
            .object(fetched.certificate_id)
            .operation(row.operation_id.into());
        let entry = &entry;
        self.in_tenant(ctx.organization_id, "fetch_key", |mut tx| async move {
            audit::insert(&mut tx, entry.row()).await?;
            Ok((tx, ()))
        })
        .await?;
        Ok(fetched)
    }

    /// A page of what was done, or refused, with a certificate's private key, newest first.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`.
    pub async fn list_key_accesses(
        &self,
        ctx: &Ctx,
        id: CertificateId,
        page: PageRequest,
    ) -> Result<Page<SecureAuditEntry>, CoreError> {
        ctx.require(Permission::KeyRead)?;
        self.find_certificate(ctx, id).await?;
        let limit = u32::try_from(page.fetch_limit()).unwrap_or(u32::MAX);
        let listed = self.secure.list_key_accesses(id, ctx.organization_id, page.before, limit).await?;
        Ok(Page::cut(listed, page, |entry| entry.id))
    }

    async fn begin_key_export(
        self: &Arc<Self>,
        ctx: &Ctx,
        id: CertificateId,
        new: NewKeyExport,
        wait: Duration,
    ) -> Result<Submitted, CoreError> {
        ctx.require(match new.purpose {
            KeyExportPurpose::Export => Permission::KeyExport,
            KeyExportPurpose::Recovery => Permission::KeyRecover,
        })?;
        check_comment("/reason", Some(&new.reason))?;
        if new.reason.trim().is_empty() {
            let detail = "the approvers must read why the private key shall leave";
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/reason").into());
        }
        check_recipient(&new.recipient)?;
        let requester = ctx.user_id()?;
        let certificate = self.find_certificate(ctx, id).await?;
        let authority_id = certificate
            .authority_id
            .ok_or_else(|| CoreError::defect(format!("certificate {id} names no authority")))?;
        let (policy, plan) = self.plan_key_export(ctx, &certificate).await?;
        let draft = Draft {
            kind: WorkflowKind::KeyExport,
            instance_id: WorkflowInstanceId::generate(ctx.now, &self.entropy),
            operation_id: ctx.operation_id(&self.entropy),
            requester_user_id: requester,
            owner_user_id: certificate.owner_user_id,
            policy,
            certificate_id: Some(id),
            context: RequestContext {
                certificate: None,
                revocation: None,
                key_export: Some(KeyExportSpec {
                    certificate_id: id,
                    organization_id: ctx.organization_id,
                    requested_by: requester,
                    recipient: new.recipient,
                    purpose: new.purpose,
                    reason: new.reason.clone(),
                }),
                authority_id,
                key_algorithm: None,
                labels: Labels::default(),
                comment: Some(format!("{}: {}", new.purpose, new.reason)),
                approval_reason: None,
                step_deadlines: Vec::new(),
            },
            plan,
        };
        self.begin(ctx, draft, wait).await
    }

    /// The policy's workflow for it; without one, two approvers.
    async fn plan_key_export(
        &self,
        ctx: &Ctx,
        certificate: &Certificate,
    ) -> Result<(Option<Arc<crate::policies::ReadPolicy>>, WorkflowPlan), CoreError> {
        let policy = match certificate.policy_id {
            Some(policy) => self.governing_policy(ctx, policy).await?,
            None => None,
        };
        let kind = WorkflowKind::KeyExport;
        let plan = match &policy {
            Some(policy) if policy.rules.workflows.code(kind).is_some() => {
                self.plan_workflow(ctx, kind, policy, None).await?
            }
            _ => two_approvers(),
        };
        Ok((policy, plan))
    }
}

/// Told now, and not after the approvals. Whether it is a point on the curve, Secure finds out.
fn check_recipient(recipient: &str) -> Result<(), Refusal> {
    let is_point =
        STANDARD.decode(recipient).is_ok_and(|octets| octets.len() == 65 && octets.first() == Some(&4));
    if is_point {
        return Ok(());
    }
    Err(Refusal::new(ErrorCode::KeyMalformed, "the recipient is no public key on P-256")
        .hint("send the uncompressed point (65 octets, base64)")
        .field("/recipient"))
}

fn two_approvers() -> WorkflowPlan {
    WorkflowPlan {
        workflow_id: None,
        workflow_version: None,
        decision: Decision::Steps {
            steps: vec![PlannedStep {
                name: "Release of a private key".to_owned(),
                approver: Approver::Role(APPROVER),
                quorum: APPROVALS,
                deadline_seconds: Some(DEADLINE_SECONDS),
            }],
            reason: "a private key leaves Secure only when two others agree".to_owned(),
        },
    }
}
