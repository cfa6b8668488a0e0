//! The organization in whose name certificates are asked for.

use std::fs;

use anyhow::{Context, Result, bail};
use clm_api::api_keys::{CreatedApiKey, NewApiKey};
use clm_api::bootstrap::{BootstrapRequest, Bootstrapped};
use clm_api::policies::PolicyDraft;
use clm_api::workflows::WorkflowDraft;
use clm_types::{OrganizationId, Permission, UserId, WorkflowKind};
use reqwest::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::{Value, json};
use uuid::Uuid;

use crate::installation::BenchInstallation;

/// Every name that is asked for is below.
pub(crate) const DOMAIN: &str = "bench.example";
/// The profile that is asked for.
pub(crate) const PROFILE: &str = "tls-server";
/// Code of the policy that allows it, and of the workflow that approves it.
pub(crate) const POLICY: &str = "bench";

const DAY: u64 = 86_400;

/// An organization and a key that may ask for certificates in it.
pub(crate) struct Tenant {
    pub organization_id: OrganizationId,
    pub api_key: String,
    /// The first administrator's.
    pub administrator_key: String,
}

impl Tenant {
    /// Makes the first administrator, then a workflow that approves by itself, a policy and a key.
    pub(crate) async fn create(installation: &BenchInstallation, client: &Client) -> Result<Self> {
        let api = installation.api_url();
        let bootstrap = BootstrapRequest {
            token: bootstrap_token(installation)?,
            username: "bench".to_owned(),
            email: format!("bench@{DOMAIN}"),
            display_name: None,
            organization_code: "bench".to_owned(),
            organization_name: "Bench".to_owned(),
        };
        let url = format!("{api}/api/v1/bootstrap");
        let administrator: Bootstrapped = post(client, &url, None, &bootstrap).await?;
        let mut tenant = Self {
            organization_id: administrator.organization_id,
            api_key: administrator.api_key.clone(),
            administrator_key: administrator.api_key,
        };
        let _: Value =
            tenant.post(client, &format!("{api}/api/v1/workflows"), &workflow(administrator.user_id)).await?;
        let _: Value = tenant.post(client, &format!("{api}/api/v1/policies"), &policy()).await?;
        let key: CreatedApiKey =
            tenant.post(client, &format!("{api}/api/v1/api-keys"), &new_api_key()).await?;
        tenant.api_key = key.secret;
        Ok(tenant)
    }

    /// Posts as this tenant.
    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        client: &Client,
        url: &str,
        body: &impl Serialize,
    ) -> Result<T> {
        post(client, url, Some(self), body).await
    }
}

fn bootstrap_token(installation: &BenchInstallation) -> Result<String> {
    let file = installation.core.folder().join("secrets/bootstrap-token");
    installation.core.run(&["bootstrap-token", "--output", &file.display().to_string()])?;
    Ok(fs::read_to_string(file).context("the bootstrap token")?.trim().to_owned())
}

async fn post<T: DeserializeOwned>(
    client: &Client,
    url: &str,
    tenant: Option<&Tenant>,
    body: &impl Serialize,
) -> Result<T> {
    let mut request = client.post(url).header("idempotency-key", Uuid::now_v7().to_string()).json(body);
    if let Some(tenant) = tenant {
        request = request
            .bearer_auth(&tenant.api_key)
            .header("clm-organization", tenant.organization_id.to_string());
    }
    let answer = request.send().await?;
    let status = answer.status();
    let text = answer.text().await?;
    if !status.is_success() {
        bail!("{url}: {status}\n{text}");
    }
    serde_json::from_str(&text).with_context(|| format!("the answer of {url}"))
}

/// One approval, unless the certificate is what the load asks for.
fn workflow(approver: UserId) -> WorkflowDraft {
    WorkflowDraft {
        code: POLICY.to_owned(),
        name: "Approved by itself".to_owned(),
        kind: WorkflowKind::Issuance,
        definition: json!({"steps": [{"name": "Approval", "approver_user_id": approver, "quorum": 1}]}),
        auto_approval: Some(json!([
            {"profiles": [PROFILE], "max_validity_seconds": 90 * DAY, "dns_suffixes": [DOMAIN]}
        ])),
    }
}

fn policy() -> PolicyDraft {
    PolicyDraft {
        code: POLICY.to_owned(),
        name: "Servers under load".to_owned(),
        rules: json!({
            "profiles": [PROFILE],
            "key_algorithms": ["ecdsa-p256"],
            "key_sources": ["csr"],
            "names": {"dns_suffixes": [DOMAIN]},
            "max_names": 10,
            "max_validity_seconds": 90 * DAY,
            "default_validity_seconds": 90 * DAY,
            "workflows": {"issuance": POLICY},
        }),
        compliance_frameworks: Vec::new(),
    }
}

fn new_api_key() -> NewApiKey {
    NewApiKey {
        name: "bench".to_owned(),
        scopes: vec![Permission::RequestCreate.to_string(), Permission::RequestRead.to_string()],
        ..NewApiKey::default()
    }
}
