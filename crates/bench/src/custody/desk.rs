//! Secure's rules on the installation's database, and orders as Core sends them.

use std::fs;

use anyhow::{Context, Result, anyhow};
use chrono::TimeDelta;
use clm_local::cluster::Database;
use clm_pg::{PgConfig, PgPool};
use clm_secure::Secure;
use clm_secure::envelope::{Envelope, OcspSigner};
use clm_secure::master_key::{Opener, SealedKey};
use clm_secure::new_authorities::AuthorityPlan;
use clm_secure::signing_keys::KeyStore;
use clm_types::{
    AuthorityId, CertificateSpec, Clock, Entropy, KeyAlgorithm, KeySource, Mandate, MandateId, OperationId,
    OrganizationId, PolicyId, RequestId, UserId, WorkflowInstanceId, canonical_json,
};

use crate::installation::BenchInstallation;

const PROFILE: &str = "tls-server";

/// Secure in this process, with an authority of its own.
pub(crate) struct Desk {
    pub secure: Secure,
    pub pool: PgPool,
    pub organization_id: OrganizationId,
    authority_id: AuthorityId,
    entropy: Entropy,
    clock: Clock,
}

impl Desk {
    pub(crate) async fn open(installation: &BenchInstallation) -> Result<Self> {
        let (clock, entropy) = (Clock::system(), Entropy::system());
        let credentials =
            installation.credentials(Database::Secure, "clm_secure_app", clock.now(), &entropy)?;
        let config = PgConfig {
            host: credentials.host,
            port: credentials.port,
            database: credentials.database,
            user: credentials.user,
            ca_file: credentials.ca_file,
            cert_file: credentials.files.cert_file,
            key_file: credentials.files.key_file,
            max_connections: 8,
            statement_timeout_ms: 30_000,
        };
        let pool = clm_pg::connect(&config, "clm-bench").await?;
        let secrets = installation.secure.folder().join("secrets");
        let passphrase = fs::read(secrets.join("master-passphrase")).context("the passphrase")?;
        let master = SealedKey::open(&secrets.join("master-key"), Opener::Passphrase(&passphrase))?;
        let secure = Secure::new(pool.clone(), master, clock.clone(), entropy.clone());
        let made = secure.create_authority(&plan()).await?;
        let organization_id = OrganizationId::generate(clock.now(), &entropy);
        Ok(Self { secure, pool, organization_id, authority_id: made.authority_id, entropy, clock })
    }

    /// An order for a certificate whose key Secure makes, and the mandate for it.
    pub(crate) fn order(&self) -> Result<(String, Mandate)> {
        let (now, entropy) = (self.clock.now(), &self.entropy);
        let spec = CertificateSpec {
            request_id: RequestId::generate(now, entropy),
            organization_id: self.organization_id,
            requester_user_id: UserId::generate(now, entropy),
            owner_user_id: UserId::generate(now, entropy),
            policy_id: PolicyId::generate(now, entropy),
            policy_version: 1,
            workflow_instance_id: WorkflowInstanceId::generate(now, entropy),
            authority_id: self.authority_id,
            profile: PROFILE.to_owned(),
            key_source: KeySource::Generated,
            csr: None,
            key_algorithm: Some(KeyAlgorithm::EcdsaP256),
            subject: "CN=www.bench.example".to_owned(),
            sans: vec!["dns:www.bench.example".to_owned()],
            validity_seconds: 90 * 86_400,
            renewal_of: None,
        };
        let octets = canonical_json(&spec)?;
        let profile = clm_x509::Profile::built_in(PROFILE).ok_or_else(|| anyhow!("there is no {PROFILE}"))?;
        let mandate = Mandate {
            id: MandateId::generate(now, entropy),
            operation_id: OperationId::generate(now, entropy),
            operation: "issue".to_owned(),
            request_sha256: hex::encode(clm_x509::sha256(octets.as_bytes())),
            authority_id: self.authority_id,
            profile: Some(PROFILE.to_owned()),
            profile_hash: Some(hex::encode(profile.version_hash())),
            policy_id: Some(spec.policy_id),
            policy_version: Some(1),
            organization_id: spec.organization_id,
            requester_user_id: spec.requester_user_id,
            workflow_instance_id: spec.workflow_instance_id.into(),
            approvals: vec![],
            issued_at: now,
            expires_at: now + TimeDelta::minutes(15),
        };
        Ok((octets, mandate))
    }
}

fn plan() -> AuthorityPlan {
    AuthorityPlan {
        name: "Bench".to_owned(),
        subject: "CN=Bench".to_owned(),
        profile: "root-ca".to_owned(),
        parent: None,
        key_algorithm: KeyAlgorithm::EcdsaP256,
        key_store: KeyStore::Software,
        validity_days: 1_000,
        base_url: "http://bench.example".to_owned(),
        envelope: Envelope {
            profiles: vec![PROFILE.to_owned()],
            key_algorithms: vec![KeyAlgorithm::EcdsaP256],
            max_validity_seconds: 90 * 86_400,
            required_approvals: 0,
            export_approvals: 2,
            dns_suffixes: std::collections::BTreeMap::new(),
            crl_validity_seconds: 86_400,
            crl_shards: 0,
            delta_crls: false,
            ocsp_validity_seconds: 3_600,
            ocsp_signer: OcspSigner::Authority,
            presigned_ocsp: false,
        },
        operator: "bench".to_owned(),
    }
}
