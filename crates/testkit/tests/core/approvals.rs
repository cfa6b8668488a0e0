use std::time::Duration;

use clm_core::roles::{APPROVER, REQUESTER};
use clm_core::users::User;
use clm_core::{CoreError, Ctx};
use clm_types::{Entropy, ErrorCode, RequestId, UserId, WorkflowStatus, ids};
use serde_json::json;
use uuid::Uuid;

use crate::office::{FIRST, Office, refused};

const NO_WAIT: Duration = Duration::ZERO;

/// An approver, and two people for whom requests wait.
struct Desk {
    office: Office,
    administrator: Ctx,
    approver: Ctx,
    requester: User,
    owner: User,
}

impl Desk {
    async fn open() -> Self {
        let office = Office::open().await;
        let administrator = office.as_administrator().await;
        let requester = office.hire(&administrator, "ann", REQUESTER).await;
        let owner = office.hire(&administrator, "olga", REQUESTER).await;
        let bob = office.hire(&administrator, "bob", APPROVER).await;
        let key = office.key_for(&administrator, &bob, &["*"]).await;
        let approver = office.enter(&key).await.unwrap();
        Self { office, administrator, approver, requester, owner }
    }

    /// A request that waits for one approval.
    async fn ask(&self, kind: &str) -> RequestId {
        let id = ids::new_uuid(self.approver.now, &Entropy::system());
        let pool = self.office.database.superuser().await;
        sqlx::query(
            "WITH instance AS (
                 INSERT INTO workflow_instances (id, organization_id, operation_id, instance_type, requester_user_id,
                     owner_user_id, status, current_step, context, created_at, updated_at)
                 VALUES ($1, $2, $3, $4, $5, $6, 'pending', 1, $7, now(), now()) RETURNING id, organization_id)
             INSERT INTO workflow_steps (organization_id, workflow_instance_id, step_number, step_name, assigned_to_role_id,
                 status, created_at, updated_at)
             SELECT organization_id, id, 1, 'Approval', $8, 'pending', now(), now() FROM instance",
        )
        .bind(id)
        .bind(self.office.organization_id.0)
        .bind(ids::new_uuid(self.approver.now, &Entropy::system()))
        .bind(kind)
        .bind(self.requester.id)
        .bind(self.owner.id)
        .bind(json!({"authority_id": Uuid::nil()}))
        .bind(APPROVER.0)
        .execute(&pool)
        .await
        .unwrap();
        RequestId(id)
    }

    async fn approve(&self, id: RequestId) -> Result<WorkflowStatus, CoreError> {
        let approved = self.office.core.approve_request(&self.approver, id, None, NO_WAIT).await;
        Ok(approved?.status)
    }

    async fn disable(&self, user: &User) {
        self.office.core.disable_user(&self.administrator, UserId(user.id), user.version).await.unwrap();
    }

    async fn limit_certificates(&self, most: i32) {
        sqlx::query("UPDATE organizations SET license_max_certificates = $1")
            .bind(most)
            .execute(&self.office.database.superuser().await)
            .await
            .unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_disabled_requester_asked_for_fails_with_the_last_approval() {
    let desk = Desk::open().await;
    let (certificate, revocation) = (desk.ask("issuance").await, desk.ask("revocation").await);
    desk.disable(&desk.requester).await;
    for id in [certificate, revocation] {
        assert_eq!(refused(desk.approve(id).await), ErrorCode::UserNotActive);
        let request = desk.office.core.show_request(&desk.approver, id).await.unwrap();
        assert_eq!(request.status, WorkflowStatus::Failed);
        assert_eq!(request.failure.unwrap().0, "user_not_active");
        assert_eq!(refused(desk.approve(id).await), ErrorCode::WorkflowNotPending);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_disabled_owner_gets_no_certificate_but_loses_one() {
    let desk = Desk::open().await;
    let (certificate, revocation) = (desk.ask("renewal").await, desk.ask("revocation").await);
    desk.disable(&desk.owner).await;
    assert_eq!(refused(desk.approve(certificate).await), ErrorCode::UserNotActive);
    assert_eq!(desk.approve(revocation).await.unwrap(), WorkflowStatus::Executing);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_carried_out_for_a_suspended_organization() {
    let desk = Desk::open().await;
    let id = desk.ask("issuance").await;
    // While the approver is believed for a moment still.
    sqlx::query("UPDATE organizations SET status = 'suspended'")
        .execute(&desk.office.database.superuser().await)
        .await
        .unwrap();
    assert_eq!(refused(desk.approve(id).await), ErrorCode::OrganizationNotActive);
}

#[tokio::test(flavor = "multi_thread")]
async fn two_last_approvals_at_once_do_not_exceed_the_licence() {
    let desk = Desk::open().await;
    desk.limit_certificates(1).await;
    let ids = [desk.ask("issuance").await, desk.ask("issuance").await, desk.ask("issuance").await];
    let approved = futures::future::join_all(ids.map(|id| desk.approve(id))).await;
    assert_eq!(approved.iter().filter(|status| status.is_ok()).count(), 1);
    for attempt in approved.into_iter().filter(Result::is_err) {
        assert_eq!(refused(attempt), ErrorCode::LicenseLimitReached);
    }
    // They wait for room.
    let waiting = desk.office.core.list_pending_approvals(&desk.approver, FIRST).await.unwrap();
    assert_eq!(waiting.items.len(), 2);
    assert_eq!(desk.approve(desk.ask("revocation").await).await.unwrap(), WorkflowStatus::Executing);
    desk.limit_certificates(3).await;
    for id in waiting.items {
        assert_eq!(desk.approve(id.instance_id.into()).await.unwrap(), WorkflowStatus::Executing);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_a_subscription_that_has_ended_nothing_is_issued_and_all_is_revoked() {
    let desk = Desk::open().await;
    let (certificate, renewal) = (desk.ask("issuance").await, desk.ask("renewal").await);
    let revocation = desk.ask("revocation").await;
    let pool = desk.office.database.superuser().await;
    sqlx::query("UPDATE organizations SET subscription_status = 'cancelled'").execute(&pool).await.unwrap();
    for id in [certificate, renewal] {
        assert_eq!(refused(desk.approve(id).await), ErrorCode::SubscriptionEnded);
    }
    assert_eq!(desk.approve(revocation).await.unwrap(), WorkflowStatus::Executing);
    sqlx::query("UPDATE organizations SET subscription_status = 'past_due'").execute(&pool).await.unwrap();
    for id in [certificate, renewal] {
        assert_eq!(desk.approve(id).await.unwrap(), WorkflowStatus::Executing);
    }
}
