//! One provider.

use chrono::TimeDelta;
use clm_types::Time;
use jsonwebtoken::jwk::Jwk;
use serde::Deserialize;
use serde_json::{Map, Value};
use url::Url;
use zeroize::Zeroizing;

use crate::OidcError;
use crate::claims::{Claims, LogoutClaims, time};
use crate::discovery::Discovery;
use crate::fetch::{address, parse, send};
use crate::tokens;

/// What makes a token one for logout.
const LOGOUT_EVENT: &str = "http://schemas.openid.net/event/backchannel-logout";
/// How old a logout token may be.
const LOGOUT_AGE: TimeDelta = TimeDelta::minutes(5);

/// As whom the service is known to a provider.
pub struct Client {
    /// `client_id`.
    pub id: String,
    /// `client_secret`; none: a public client, whose codes PKCE alone guards.
    pub secret: Option<Zeroizing<String>>,
    /// `scope`, beside `openid`.
    pub scopes: Vec<String>,
}

/// A provider.
pub struct Provider {
    issuer: String,
    http: reqwest::Client,
    discovery: Discovery,
}

/// What a browser is sent to a provider with.
pub struct AuthorizationRequest<'a> {
    /// Where it is sent back to.
    pub redirect_uri: &'a str,
    /// Comes back with the code.
    pub state: &'a str,
    /// Comes back in the token.
    pub nonce: &'a str,
    /// SHA-256 of the verifier, base64url (RFC 7636).
    pub code_challenge: &'a str,
    /// Whether the user shall show anew who they are.
    pub fresh: bool,
}

/// What a code is given for.
pub struct Redemption<'a> {
    /// The code.
    pub code: &'a str,
    /// As in the authorization request.
    pub redirect_uri: &'a str,
    /// Whose hash stood in the authorization request.
    pub code_verifier: &'a str,
    /// As in the authorization request.
    pub nonce: &'a str,
}

impl Provider {
    /// A provider, of which nothing is read yet. `http` must not follow redirects.
    pub fn new(issuer: String, http: reqwest::Client) -> Self {
        Self { discovery: Discovery::new(issuer.clone(), http.clone()), issuer, http }
    }

    /// Its name, an address.
    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    /// Where to send a browser (OpenID Connect Core 1.0, section 3.1.2.1).
    pub async fn authorization_url(
        &self,
        client: &Client,
        request: &AuthorizationRequest<'_>,
    ) -> Result<Url, OidcError> {
        let known = self.discovery.known().await?;
        let endpoint = known.metadata.authorization_endpoint.as_deref();
        let mut url = address(endpoint.ok_or_else(|| missing("authorization_endpoint"))?)?;
        let scopes: Vec<&str> =
            std::iter::once("openid").chain(client.scopes.iter().map(String::as_str)).collect();
        url.query_pairs_mut()
            .append_pair("response_type", "code")
            .append_pair("client_id", &client.id)
            .append_pair("redirect_uri", request.redirect_uri)
            .append_pair("scope", &scopes.join(" "))
            .append_pair("state", request.state)
            .append_pair("nonce", request.nonce)
            .append_pair("code_challenge", request.code_challenge)
            .append_pair("code_challenge_method", "S256");
        if request.fresh {
            url.query_pairs_mut().append_pair("prompt", "login").append_pair("max_age", "0");
        }
        Ok(url)
    }

    /// Gives a code for the claims about its user; claims that only the provider's user info holds are among them.
    pub async fn redeem(
        &self,
        client: &Client,
        redemption: &Redemption<'_>,
        now: Time,
    ) -> Result<Claims, OidcError> {
        let answer = self.exchange(client, redemption).await?;
        let mut claims = self.verify(&answer.id_token, &client.id, now).await?;
        if claims.nonce.as_deref() != Some(redemption.nonce) {
            return Err(OidcError::refused("the token answers another request (`nonce`)"));
        }
        if let Some(info) = self.user_info(&answer, &claims.sub).await? {
            claims.complete(info);
        }
        Ok(claims)
    }

    /// Checks a token of this provider for an audience: signature, issuer, audience, times.
    async fn verify(&self, token: &str, audience: &str, now: Time) -> Result<Claims, OidcError> {
        let claims: Claims = self.read_signed(token).await?;
        tokens::check(&claims, &self.issuer, audience, now)?;
        Ok(claims)
    }

    /// Checks a logout token (Back-Channel Logout 1.0, section 2.6).
    pub async fn verify_logout(
        &self,
        client: &Client,
        token: &str,
        now: Time,
    ) -> Result<LogoutClaims, OidcError> {
        let claims: LogoutToken = self.read_signed(token).await?;
        let issued = time(claims.iat).ok_or_else(|| OidcError::refused("the token has no time"))?;
        let holds = claims.iss == self.issuer
            && claims.aud.contains(&client.id)
            && claims.events.contains_key(LOGOUT_EVENT)
            && claims.nonce.is_none()
            && (claims.sub.is_some() || claims.sid.is_some());
        let is_over = claims.exp.is_some_and(|end| time(end).is_none_or(|end| end <= now - tokens::LEEWAY));
        if !holds || is_over || now - issued > LOGOUT_AGE || issued - now > LOGOUT_AGE {
            return Err(OidcError::refused("this is no logout token for this service and now"));
        }
        Ok(LogoutClaims { subject: claims.sub, session: claims.sid })
    }

    pub(crate) async fn read_signed<T: serde::de::DeserializeOwned>(
        &self,
        token: &str,
    ) -> Result<T, OidcError> {
        let header = tokens::header(token)?;
        let found = self.discovery.found().await?;
        if let Some(key) = tokens::key_for(&found.known.keys, &header) {
            return tokens::verified(token, key, &header);
        }
        if tokens::names_one_of(&found.known.keys, &header) {
            return Err(OidcError::refused("the key (`kid`) is not for such signatures"));
        }
        let latest = if found.is_new { found.known } else { self.discovery.renewed().await? };
        let key: &Jwk = tokens::key_for(&latest.keys, &header)
            .ok_or_else(|| OidcError::refused("the provider has no such key (`kid`)"))?;
        tokens::verified(token, key, &header)
    }

    async fn exchange(&self, client: &Client, redemption: &Redemption<'_>) -> Result<Tokens, OidcError> {
        let known = self.discovery.known().await?;
        let endpoint = known.metadata.token_endpoint.as_deref().ok_or_else(|| missing("token_endpoint"))?;
        let url = address(endpoint)?;
        let mut form = vec![
            ("grant_type", "authorization_code"),
            ("code", redemption.code),
            ("redirect_uri", redemption.redirect_uri),
            ("code_verifier", redemption.code_verifier),
        ];
        let methods = &known.metadata.token_endpoint_auth_methods_supported;
        let in_form = !methods.is_empty() && !methods.iter().any(|method| method == "client_secret_basic");
        let call = self.http.post(url.clone());
        let call = match &client.secret {
            Some(secret) if !in_form => call.basic_auth(encoded(&client.id), Some(encoded(secret))),
            Some(secret) => {
                form.extend([("client_id", client.id.as_str()), ("client_secret", secret.as_str())]);
                call
            }
            None => {
                form.push(("client_id", &client.id));
                call
            }
        };
        let (status, body) = send(call.form(&form)).await?;
        match status {
            200 => parse(&url, &body),
            400..=499 => Err(OidcError::refused(format!("the provider refused the code: {}", said(&body)))),
            _ => Err(OidcError::unavailable(format!("{url} answered {status}"))),
        }
    }

    /// What the provider's user info adds, if it has one and it speaks of the same user (section 5.3).
    async fn user_info(
        &self,
        tokens: &Tokens,
        subject: &str,
    ) -> Result<Option<Map<String, Value>>, OidcError> {
        let known = self.discovery.known().await?;
        let (Some(endpoint), Some(token)) = (&known.metadata.userinfo_endpoint, &tokens.access_token) else {
            return Ok(None);
        };
        let url = address(endpoint)?;
        let (status, body) = send(self.http.get(url.clone()).bearer_auth(token)).await?;
        if status != 200 {
            return Err(OidcError::unavailable(format!("{url} answered {status}")));
        }
        let info: Map<String, Value> = parse(&url, &body)?;
        if info.get("sub").and_then(Value::as_str) != Some(subject) {
            return Err(OidcError::refused("the provider's user info is about another user"));
        }
        Ok(Some(info))
    }
}

#[derive(Deserialize)]
struct Tokens {
    id_token: String,
    access_token: Option<String>,
}

#[derive(Deserialize)]
struct LogoutToken {
    iss: String,
    aud: crate::claims::OneOrMany,
    iat: f64,
    exp: Option<f64>,
    #[serde(default)]
    events: Map<String, Value>,
    nonce: Option<Value>,
    sub: Option<String>,
    sid: Option<String>,
}

fn missing(what: &str) -> OidcError {
    OidcError::unavailable(format!("the provider names no {what}"))
}

/// RFC 6749 section 2.3.1: name and secret are form-encoded before Basic encodes them.
fn encoded(text: &str) -> String {
    url::form_urlencoded::byte_serialize(text.as_bytes()).collect()
}

/// The provider's own words, for the log of whoever runs the service.
fn said(body: &[u8]) -> String {
    let value: Value = serde_json::from_slice(body).unwrap_or_default();
    let text = |name: &str| value.get(name).and_then(Value::as_str).unwrap_or_default().to_owned();
    format!("{} {}", text("error"), text("error_description")).chars().take(200).collect()
}
