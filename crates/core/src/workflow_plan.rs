//! What a workflow makes of one request.

use std::sync::Arc;

use clm_core_db::workflows;
use clm_types::{Refusal, RoleId, UserId, WorkflowId, WorkflowKind};

use crate::policies::ReadPolicy;
use crate::proposal::ProposedCertificate;
use crate::workflow_definition::{AutoApproval, WorkflowDefinition};
use crate::workflows::{Workflow, workflow_not_found};
use crate::{Core, CoreError, Ctx};

/// A workflow with its documents read.
#[derive(Debug, Clone)]
pub struct ReadWorkflow {
    /// The row.
    pub workflow: Workflow,
    /// The steps.
    pub definition: WorkflowDefinition,
    /// When nobody need approve.
    pub auto_approvals: Vec<AutoApproval>,
}

/// Who decides a step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Approver {
    /// Holders of a role.
    Role(RoleId),
    /// One user.
    User(UserId),
}

/// A step to be made for one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedStep {
    /// Name to show.
    pub name: String,
    /// Who decides.
    pub approver: Approver,
    /// Approvals needed, at least 1.
    pub quorum: u32,
    /// Seconds from its turn until it expires.
    pub deadline_seconds: Option<u64>,
}

/// What a request needs before it is carried out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Decision {
    /// Nothing; the reason in words.
    AutoApproved {
        /// Why.
        reason: String,
    },
    /// These steps, in this order; why no auto-approval held, in words.
    Steps {
        /// At least one.
        steps: Vec<PlannedStep>,
        /// For the requester.
        reason: String,
    },
}

/// What a workflow makes of one request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WorkflowPlan {
    /// The version that decides; none when the policy names no workflow.
    pub workflow_id: Option<WorkflowId>,
    /// Its number.
    pub workflow_version: Option<i32>,
    /// What is needed.
    pub decision: Decision,
}

impl ReadWorkflow {
    fn read(workflow: Workflow) -> Result<Self, CoreError> {
        let broken = |refusal: Refusal| {
            CoreError::defect_of(format!("workflow {} cannot be read", workflow.id), refusal)
        };
        let definition = WorkflowDefinition::parse(&workflow.definition).map_err(broken)?;
        let auto_approvals = AutoApproval::parse_list(&workflow.auto_approval_conditions).map_err(broken)?;
        Ok(Self { workflow, definition, auto_approvals })
    }

    /// What a request needs; `proposed` is none for revocations.
    fn plan(&self, proposed: Option<&ProposedCertificate>, role_ids: &[RoleId]) -> WorkflowPlan {
        WorkflowPlan {
            workflow_id: Some(WorkflowId(self.workflow.id)),
            workflow_version: Some(self.workflow.workflow_version),
            decision: self.decide(proposed, role_ids),
        }
    }

    fn decide(&self, proposed: Option<&ProposedCertificate>, role_ids: &[RoleId]) -> Decision {
        let code = &self.workflow.workflow_code;
        if self.definition.steps.is_empty() {
            return Decision::AutoApproved { reason: format!("the workflow `{code}` asks for no approval") };
        }
        let mut against = Vec::new();
        for (condition, number) in self.auto_approvals.iter().zip(1..) {
            match condition.explain(proposed, role_ids) {
                Ok(()) => {
                    return Decision::AutoApproved {
                        reason: format!("auto-approval condition {number} of the workflow `{code}` holds"),
                    };
                }
                Err(reason) => against.push(format!("condition {number} does not hold: {reason}")),
            }
        }
        let reason = if against.is_empty() {
            format!("the workflow `{code}` has no auto-approval")
        } else {
            against.join("; ")
        };
        Decision::Steps { steps: self.definition.planned_steps(), reason }
    }
}

impl WorkflowDefinition {
    fn planned_steps(&self) -> Vec<PlannedStep> {
        let planned = self.steps.iter().filter_map(|step| {
            let by_role = step.approver_role_id.map(Approver::Role);
            Some(PlannedStep {
                name: step.name.clone(),
                approver: by_role.or(step.approver_user_id.map(Approver::User))?,
                quorum: step.quorum.max(1),
                deadline_seconds: step.deadline_seconds,
            })
        });
        planned.collect()
    }
}

impl Core {
    /// What a request under `policy` needs before it is carried out; `proposed` is none for
    /// revocations, holds and releases.
    ///
    /// # Errors
    /// `workflow_not_found` when the policy's workflow is no longer in force: nothing is approved then.
    pub async fn plan_workflow(
        &self,
        ctx: &Ctx,
        kind: WorkflowKind,
        policy: &ReadPolicy,
        proposed: Option<&ProposedCertificate>,
    ) -> Result<WorkflowPlan, CoreError> {
        let Some(code) = policy.rules.workflows.code(kind) else {
            return Ok(WorkflowPlan {
                workflow_id: None,
                workflow_version: None,
                decision: Decision::AutoApproved {
                    reason: format!("the policy `{}` asks for no approval", policy.policy.policy_code),
                },
            });
        };
        let workflow = self.workflow_in_force(ctx, code).await?;
        if workflow.workflow.workflow_type != kind.as_str() {
            return Err(workflow_not_found(code).into());
        }
        Ok(workflow.plan(proposed, &ctx.actor.role_ids))
    }

    async fn workflow_in_force(&self, ctx: &Ctx, code: &str) -> Result<Arc<ReadWorkflow>, CoreError> {
        let key = (ctx.organization_id, code.to_owned());
        if let Some(known) = self.workflows.get(&key) {
            return Ok(known);
        }
        let generation = self.workflows.generation();
        let mut tx = self.tenant_tx(ctx.organization_id).await?;
        let found = workflows::find_active(&mut tx, ctx.organization_id.0, code).await?;
        let workflow = found.ok_or_else(|| workflow_not_found(code))?;
        let read = Arc::new(ReadWorkflow::read(workflow)?);
        self.workflows.insert(generation, &key, Arc::clone(&read));
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::proposal::sample;
    use crate::roles::{APPROVER, SERVICE};
    use serde_json::{Value, json};

    fn workflow(steps: &Value, auto_approval: Value) -> ReadWorkflow {
        let now = chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap();
        ReadWorkflow::read(Workflow {
            id: uuid::Uuid::from_u128(1),
            organization_id: uuid::Uuid::from_u128(2),
            workflow_code: "issuance".to_owned(),
            workflow_version: 3,
            workflow_name: "Issuance".to_owned(),
            workflow_type: "issuance".to_owned(),
            definition: json!({"steps": steps}),
            auto_approval_conditions: auto_approval,
            status: "active".to_owned(),
            created_by: None,
            created_at: now,
            version: 1,
        })
        .unwrap()
    }

    fn one_step() -> Value {
        json!([{"name": "Approval", "approver_role_id": APPROVER, "quorum": 2, "deadline_seconds": 60}])
    }

    #[test]
    fn a_workflow_without_steps_approves_at_once() {
        let plan = workflow(&json!([]), json!([])).plan(None, &[]);
        assert!(matches!(plan.decision, Decision::AutoApproved { .. }));
        assert_eq!(plan.workflow_version, Some(3));
    }

    #[test]
    fn one_condition_that_holds_is_enough() {
        let conditions = json!([{"profiles": ["tls-client"]}, {"requester_role_ids": [SERVICE]}]);
        let read = workflow(&one_step(), conditions);
        let plan = read.plan(Some(&sample::server()), &[SERVICE]);
        assert!(matches!(plan.decision, Decision::AutoApproved { reason } if reason.contains("condition 2")));
    }

    #[test]
    fn without_a_condition_that_holds_the_steps_are_needed_and_it_says_why() {
        let read = workflow(&one_step(), json!([{"requester_role_ids": [SERVICE]}]));
        let Decision::Steps { steps, reason } = read.plan(Some(&sample::server()), &[]).decision else {
            panic!("must need approval");
        };
        assert!(reason.contains("roles"));
        let expected = PlannedStep {
            name: "Approval".to_owned(),
            approver: Approver::Role(APPROVER),
            quorum: 2,
            deadline_seconds: Some(60),
        };
        assert_eq!(steps, [expected]);
    }
}
