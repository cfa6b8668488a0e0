//! `[[identity_providers]]` of `core.toml`: OpenID providers that the operator trusts.

use std::path::PathBuf;

use anyhow::{Context, ensure};
use clm_core::identity_providers::{IdentityProvider, Newcomers};
use clm_oidc::{Client, Provider};
use clm_service::Secret;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Groups that one provider governs at most.
const MOST_GROUPS: usize = 100;

/// One provider.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(crate) struct IdentityProviderConfig {
    /// What it is called: small letters, digits and hyphens.
    name: String,
    /// Its own name, an HTTPS address, as its tokens have it.
    issuer: String,
    /// Trust anchors of its certificate, PEM.
    ca_file: PathBuf,
    /// As whom this service is known to it. None: its tokens are those of workloads alone.
    client_id: Option<String>,
    /// The client's secret. None: a public client.
    client_secret_file: Option<PathBuf>,
    /// What is asked for beside `openid`; `profile` and `email` unless given.
    #[serde(default = "usual_scopes")]
    scopes: Vec<String>,
    /// Short name of the organization whose people and workloads it vouches for. None, where nobody signs in by it: rules of any
    /// organization may name it.
    organization: Option<String>,
    /// What becomes of people who come for the first time; refused unless given.
    #[serde(default)]
    newcomers: Newcomers,
    /// The claim that external ids of provisioned users are equal to; `sub` unless given.
    #[serde(default = "subject")]
    external_id_claim: String,
    /// The claim that names a user's groups; `groups` unless given.
    #[serde(default = "usual_groups_claim")]
    groups_claim: String,
    /// Names of the organization's groups that people join and leave as that claim says; none unless given.
    #[serde(default)]
    groups: Vec<String>,
    /// Ways of authentication (`amr`, RFC 8176) that count as a second factor; none unless given.
    #[serde(default)]
    factor_methods: Vec<String>,
}

fn usual_scopes() -> Vec<String> {
    ["profile", "email"].map(str::to_owned).to_vec()
}

fn subject() -> String {
    "sub".to_owned()
}

fn usual_groups_claim() -> String {
    "groups".to_owned()
}

impl IdentityProviderConfig {
    /// The provider, of which nothing is read yet.
    pub(crate) fn open(&self) -> anyhow::Result<IdentityProvider> {
        let is_plain = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        ensure!(
            !self.name.is_empty() && self.name.len() <= 40 && self.name.bytes().all(is_plain),
            "the name `{}` is not 1 to 40 small letters, digits and hyphens",
            self.name
        );
        ensure!(self.groups.len() <= MOST_GROUPS, "{}: {MOST_GROUPS} groups at most", self.name);
        ensure!(self.issuer.starts_with("https://"), "{}: the issuer is an HTTPS address", self.name);
        ensure!(
            self.client_id.is_none() || self.organization.is_some(),
            "{}: a provider by which people sign in vouches for one organization",
            self.name
        );
        let client = self.client_id.as_ref().map(|id| self.client(id)).transpose()?;
        let tls = clm_service::public_client(&self.ca_file).context("ca_file")?;
        let http = reqwest::Client::builder()
            .tls_backend_preconfigured(tls)
            .redirect(reqwest::redirect::Policy::none())
            .https_only(true)
            .build()?;
        Ok(IdentityProvider {
            name: self.name.clone(),
            provider: Provider::new(self.issuer.clone(), http),
            client,
            organization_code: self.organization.clone(),
            newcomers: self.newcomers,
            external_id_claim: self.external_id_claim.clone(),
            factor_methods: self.factor_methods.clone(),
            groups_claim: self.groups_claim.clone(),
            groups: self.groups.clone(),
        })
    }

    fn client(&self, id: &str) -> anyhow::Result<Client> {
        let read = |path| -> anyhow::Result<Zeroizing<String>> {
            let file = Secret::from_file(path)?;
            let text = std::str::from_utf8(file.expose()).context("client_secret_file is not UTF-8")?;
            Ok(Zeroizing::new(text.trim().to_owned()))
        };
        let secret = self.client_secret_file.as_deref().map(read).transpose()?;
        Ok(Client { id: id.to_owned(), secret, scopes: self.scopes.clone() })
    }
}

/// All of them.
pub(crate) fn open_all(configs: &[IdentityProviderConfig]) -> anyhow::Result<Vec<IdentityProvider>> {
    let providers: Vec<_> =
        configs.iter().map(IdentityProviderConfig::open).collect::<anyhow::Result<_>>()?;
    for (index, one) in providers.iter().enumerate() {
        let is_second = providers
            .iter()
            .take(index)
            .any(|other| other.name == one.name || other.provider.issuer() == one.provider.issuer());
        ensure!(!is_second, "{}: name and issuer of each provider are its own", one.name);
    }
    Ok(providers)
}
