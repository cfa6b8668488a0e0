//! OpenID providers that the operator trusts, and the way to them and back: a browser is sent to a provider, and whoever sent it
//! brings back the provider's code.
//!
//! Nothing is kept meanwhile. The state that goes round with the browser carries what must be known again, its end and a mark of
//! this service; verifier and nonce follow from its random part and a key that nobody else has.

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use chrono::TimeDelta;
use clm_oidc::{AuthorizationRequest, Claims, Client, OidcError, Provider, Redemption};
use clm_types::{ErrorCode, Refusal, SessionId, Time};
use serde::{Deserialize, Serialize};

use crate::passkey_sign_in::sha256;
use crate::{Core, CoreError};

/// How long somebody may take to sign in at a provider.
const LIFETIME: TimeDelta = TimeDelta::minutes(10);
const RANDOM_OCTETS: usize = 16;
/// Longest state that is read, in octets.
const LONGEST_STATE: usize = 2048;
/// Longest name of a user at a provider (OpenID Connect Core 1.0, section 2).
const LONGEST_SUBJECT: usize = 255;
/// Octets of SHA-256 in base64url.
const CHALLENGE_LENGTH: usize = 43;

/// A provider that the operator trusts.
pub struct IdentityProvider {
    /// What it is called here: letters, digits and hyphens.
    pub name: String,
    /// The provider.
    pub provider: Provider,
    /// As whom this service is known to it; none: nobody signs in by it, and its tokens are those of workloads alone.
    pub client: Option<Client>,
    /// Short name of the organization whose people and workloads it vouches for; none: for workloads of any organization whose
    /// rules name it, and for nobody's people.
    pub organization_code: Option<String>,
    /// What becomes of people who come for the first time.
    pub newcomers: Newcomers,
    /// The claim that a provisioning client's external ids are equal to.
    pub external_id_claim: String,
    /// Ways of authentication (`amr`) that count as a second factor.
    pub factor_methods: Vec<String>,
    /// The claim that names a user's groups.
    pub groups_claim: String,
    /// Names of the organization's groups that people join and leave as that claim says.
    pub groups: Vec<String>,
}

/// Who may come for the first time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Newcomers {
    /// Only who has been linked.
    #[default]
    Refused,
    /// Also who is a user of the organization with the external id that the provider names.
    MatchedByExternalId,
    /// Also who has the address of a user of the organization, if the provider has checked it.
    MatchedByEmail,
    /// Everybody: a user is made for whoever has none.
    Created,
}

/// What a browser is sent to a provider for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Errand {
    SignIn,
    /// To link the provider's subject to the user of this session.
    Link(SessionId),
}

/// Who sends a browser to a provider.
#[derive(Debug, Clone)]
pub struct Departure {
    /// What the provider is called here.
    pub provider: String,
    /// SHA-256 of a verifier of the caller's own, base64url: nobody else can bring back what comes of it.
    pub code_challenge: String,
    /// Port of this machine (127.0.0.1) where the caller waits for the browser.
    pub port: u16,
    /// Whether the user shall show anew who they are.
    pub fresh: bool,
}

/// What came back from a provider, brought by who sent the browser.
#[derive(Debug)]
pub struct Return {
    /// The provider's code.
    pub code: String,
    /// As it went.
    pub state: String,
    /// Whose hash was sent along.
    pub code_verifier: String,
}

/// What goes round with the browser.
#[derive(Debug, Serialize, Deserialize)]
struct State {
    provider: String,
    challenge: String,
    port: u16,
    session: Option<SessionId>,
    random: String,
    /// Milliseconds since 1970.
    ends: i64,
}

impl Core {
    /// Names of the providers by which people sign in.
    pub fn list_identity_providers(&self) -> Vec<&str> {
        let providers = self.identity_providers.iter().filter(|one| one.client.is_some());
        providers.map(|one| one.name.as_str()).collect()
    }

    /// Where to send a browser for an errand.
    pub(crate) async fn depart(&self, departure: &Departure, errand: Errand) -> Result<String, CoreError> {
        let (found, client) = self.find_provider(&departure.provider)?;
        let is_hash = departure.code_challenge.len() == CHALLENGE_LENGTH
            && URL_SAFE_NO_PAD.decode(&departure.code_challenge).is_ok();
        if !is_hash {
            let detail =
                "the challenge is the SHA-256 of a verifier in base64url without padding (RFC 7636, S256)";
            return Err(Refusal::new(ErrorCode::InvalidRequest, detail).field("/code_challenge").into());
        }
        if departure.port == 0 {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "nobody waits at port 0")
                .field("/port")
                .into());
        }
        let random: [u8; RANDOM_OCTETS] = self.entropy.bytes();
        let state = State {
            provider: found.name.clone(),
            challenge: departure.code_challenge.clone(),
            port: departure.port,
            session: match errand {
                Errand::SignIn => None,
                Errand::Link(session) => Some(session),
            },
            random: URL_SAFE_NO_PAD.encode(random),
            ends: (self.clock.now() + LIFETIME).timestamp_millis(),
        };
        let verifier = self.derive("verifier", &state)?;
        let request = AuthorizationRequest {
            redirect_uri: &self.redirect_uri(found),
            state: &self.seal_state(&state)?,
            nonce: &self.derive("nonce", &state)?,
            code_challenge: &URL_SAFE_NO_PAD.encode(sha256(verifier.as_bytes())),
            fresh: departure.fresh,
        };
        let url =
            found.provider.authorization_url(client, &request).await.map_err(|error| told(found, &error))?;
        Ok(url.into())
    }

    /// The port of the caller's machine to which a browser goes on that a provider sends back with this state.
    ///
    /// # Errors
    /// `invalid_request` for a state that is not of this service, was given to another provider, or is too old.
    pub fn port_of_state(&self, provider: &str, state: &str) -> Result<u16, CoreError> {
        let state = self.open_state(state, self.clock.now())?;
        if state.provider != provider {
            return Err(foreign_state().into());
        }
        Ok(state.port)
    }

    /// Gives what came back for the claims about the user, if it belongs to the errand and the caller has sent the browser.
    pub(crate) async fn arrive(
        &self,
        back: &Return,
        errand: Errand,
        now: Time,
    ) -> Result<(&IdentityProvider, Claims), CoreError> {
        let state = self.open_state(&back.state, now)?;
        let session = match errand {
            Errand::SignIn => None,
            Errand::Link(session) => Some(session),
        };
        let challenge = URL_SAFE_NO_PAD.encode(sha256(back.code_verifier.as_bytes()));
        if state.session != session || state.challenge != challenge {
            return Err(foreign_state().into());
        }
        let (found, client) = self.find_provider(&state.provider)?;
        let redemption = Redemption {
            code: &back.code,
            redirect_uri: &self.redirect_uri(found),
            code_verifier: &self.derive("verifier", &state)?,
            nonce: &self.derive("nonce", &state)?,
        };
        let claims =
            found.provider.redeem(client, &redemption, now).await.map_err(|error| told(found, &error))?;
        if !(1..=LONGEST_SUBJECT).contains(&claims.sub.chars().count()) {
            return Err(
                told(found, &OidcError::Refused("the subject is of no such length".to_owned())).into()
            );
        }
        Ok((found, claims))
    }

    /// A provider by which people sign in.
    pub(crate) fn find_provider(&self, name: &str) -> Result<(&IdentityProvider, &Client), Refusal> {
        let found = self.identity_providers.iter().find(|one| one.name == name);
        found.and_then(|found| Some((found, found.client.as_ref()?))).ok_or_else(|| {
            Refusal::new(ErrorCode::NotFound, "there is no such provider to sign in by")
                .hint("GET /api/v1/identity-providers lists them; the operator names them in core.toml")
        })
    }

    /// A provider whose tokens of workloads an organization's rules may take.
    pub(crate) fn find_workload_provider(
        &self,
        name: &str,
        organization_code: &str,
    ) -> Option<&IdentityProvider> {
        let found = self.identity_providers.iter().find(|one| one.name == name)?;
        let owner = found.organization_code.as_deref();
        owner.is_none_or(|owner| owner == organization_code).then_some(found)
    }

    /// Each provider has its own: what one sends cannot be taken for what another was asked (RFC 9700 section 4.4).
    fn redirect_uri(&self, found: &IdentityProvider) -> String {
        format!("{}/api/v1/identity-providers/{}/callback", self.relying_party.origin, found.name)
    }

    fn derive(&self, what: &str, state: &State) -> Result<String, CoreError> {
        let octets = self.secrets_keys.mark(&format!("oidc {what}"), state.random.as_bytes())?;
        Ok(URL_SAFE_NO_PAD.encode(octets))
    }

    fn seal_state(&self, state: &State) -> Result<String, CoreError> {
        let json = serde_json::to_vec(state).map_err(|error| CoreError::defect_of("a state", error))?;
        let mark = self.secrets_keys.mark("oidc state", &json)?;
        Ok(format!("{}.{}", URL_SAFE_NO_PAD.encode(json), URL_SAFE_NO_PAD.encode(mark)))
    }

    fn open_state(&self, text: &str, now: Time) -> Result<State, Refusal> {
        let decode = |part: &str| URL_SAFE_NO_PAD.decode(part).ok();
        let parts = text.split_once('.').filter(|_| text.len() <= LONGEST_STATE);
        let (json, mark) =
            parts.and_then(|(json, mark)| decode(json).zip(decode(mark))).ok_or_else(foreign_state)?;
        if !self.secrets_keys.knows("oidc state", &json, &mark) {
            return Err(foreign_state());
        }
        let state: State = serde_json::from_slice(&json).map_err(|_| foreign_state())?;
        if now.timestamp_millis() >= state.ends {
            return Err(foreign_state());
        }
        Ok(state)
    }
}

fn foreign_state() -> Refusal {
    Refusal::new(
        ErrorCode::InvalidRequest,
        "the state is not of this service, of another caller, or its time is over",
    )
    .field("/state")
    .hint("begin again, and sign in at the provider within ten minutes")
}

/// What a caller is told; the rest is for the log.
pub(crate) fn told(found: &IdentityProvider, error: &OidcError) -> Refusal {
    match error {
        OidcError::Unavailable(what) => {
            tracing::warn!(provider = %found.name, %what, "an identity provider cannot be used");
            Refusal::new(ErrorCode::Unavailable, format!("the provider {} cannot be reached now", found.name))
                .hint("try again in a moment, or sign in by another way")
        }
        OidcError::Refused(what) => {
            tracing::info!(provider = %found.name, %what, "what came from an identity provider was refused");
            Refusal::new(ErrorCode::SignInFailed, "what came from the provider did not sign you in")
                .hint("begin again; each code is good once")
        }
    }
}
