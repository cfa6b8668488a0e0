//! The REST API as functions.

use std::path::Path;
use std::time::Duration;

use clm_api::problem::PROBLEM_MEDIA_TYPE;
use clm_api::{Page, Problem};
use clm_types::{Clock, Entropy, OrganizationId};
use reqwest::header::{ACCEPT, CONTENT_TYPE, ETAG, HeaderName, IF_MATCH};
use reqwest::{Certificate, Method, RequestBuilder, Response, StatusCode};
use serde::Serialize;
use serde::de::DeserializeOwned;
use url::Url;

use crate::arguments::PageArguments;
use crate::error::CliError;
use crate::files;

/// How often a request is sent when the server is away for a moment.
const ATTEMPTS: u32 = 4;
/// Longest time that an answer may take that is read as it comes.
const LONGEST_STREAM: Duration = Duration::from_hours(12);
const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const PREFER: HeaderName = HeaderName::from_static("prefer");

/// A client of one installation, for one caller.
pub(crate) struct Client {
    http: reqwest::Client,
    base: Url,
    token: Option<String>,
    organization: Option<OrganizationId>,
}

/// An answer with what of its headers matters.
pub(crate) struct Reply<T> {
    pub(crate) body: T,
    pub(crate) etag: Option<String>,
}

impl Client {
    pub(crate) fn new(
        base: Url,
        ca_file: Option<&Path>,
        token: Option<String>,
        organization: Option<OrganizationId>,
    ) -> Result<Self, CliError> {
        // A second installation of the same provider is no error.
        let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
        let mut builder = reqwest::Client::builder()
            .user_agent(concat!("clm/", env!("CARGO_PKG_VERSION")))
            .connect_timeout(Duration::from_secs(5))
            .timeout(Duration::from_mins(2))
            .redirect(reqwest::redirect::Policy::none());
        if let Some(path) = ca_file {
            let anchors = Certificate::from_pem_bundle(&files::read(path)?)
                .map_err(|_| CliError::Usage(format!("{} holds no PEM certificates", path.display())))?;
            builder = builder.tls_certs_only(anchors);
        }
        let http = builder
            .build()
            .map_err(|error| CliError::Usage(format!("the TLS settings cannot be used: {error}")))?;
        Ok(Self { http, base, token, organization })
    }

    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<Reply<T>, CliError> {
        read(self.send(|| self.request(Method::GET, path)).await?).await
    }

    /// One object that a query names.
    pub(crate) async fn find<T: DeserializeOwned, Q: Serialize>(
        &self,
        path: &str,
        query: &Q,
    ) -> Result<T, CliError> {
        let send = || Ok(self.request(Method::GET, path)?.query(query));
        Ok(read(self.send(send).await?).await?.body)
    }

    /// The version tag of an object.
    pub(crate) async fn etag(&self, path: &str) -> Result<String, CliError> {
        let reply = self.get::<serde_json::Value>(path).await?;
        reply.etag.ok_or_else(|| CliError::Answer("the object has no ETag".to_owned()))
    }

    /// A page of a list, or all of it.
    pub(crate) async fn list<T: DeserializeOwned, Q: Serialize>(
        &self,
        path: &str,
        query: &Q,
        page: &PageArguments,
    ) -> Result<Page<T>, CliError> {
        let mut cursor = page.cursor.clone();
        let mut items = Vec::new();
        loop {
            let reply = self
                .send(|| {
                    let request = self.request(Method::GET, path)?.query(query);
                    Ok(request.query(&[("limit", page.limit)]).query(&[("cursor", &cursor)]))
                })
                .await?;
            let mut next: Page<T> = read(reply).await?.body;
            items.append(&mut next.items);
            cursor = next.next_cursor;
            if cursor.is_none() || !page.all {
                return Ok(Page { items, next_cursor: cursor });
            }
        }
    }

    /// POST under a key of its own, so that repeats have one effect.
    pub(crate) async fn post<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        wait: Option<Duration>,
    ) -> Result<Reply<T>, CliError> {
        let key = clm_types::ids::new_uuid(Clock::system().now(), &Entropy::system()).to_string();
        let send = || {
            let mut request = self.request(Method::POST, path)?.json(body).header(IDEMPOTENCY_KEY, &key);
            if let Some(wait) = wait {
                request = request.header(PREFER, format!("wait={}", wait.as_secs()));
            }
            Ok(request)
        };
        read(self.send(send).await?).await
    }

    /// POST whose repeat would not be the same: sent once. `advice` says what to do when its outcome is not known.
    pub(crate) async fn post_once<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        body: &B,
        advice: &'static str,
    ) -> Result<T, CliError> {
        let request = self.request(Method::POST, path)?.json(body);
        let lost = |source: reqwest::Error| CliError::Lost { advice, source: source.without_url() };
        let outcome = match request.send().await {
            Err(error) if !error.is_connect() && !error.is_builder() => return Err(lost(error)),
            outcome => outcome,
        };
        let response = finish(outcome, &self.base).await?;
        let bytes = response.bytes().await.map_err(lost)?;
        let octets: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
        serde_json::from_slice(octets).map_err(|error| CliError::Answer(error.to_string()))
    }

    /// Sends a form that may be sent again.
    pub(crate) async fn post_form<B: Serialize, T: DeserializeOwned>(
        &self,
        path: &str,
        form: &B,
    ) -> Result<T, CliError> {
        let send = || Ok(self.request(Method::POST, path)?.form(form));
        Ok(read(self.send(send).await?).await?.body)
    }

    /// Sends what is the same when it is repeated, or may be done again.
    pub(crate) async fn call<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&B>,
    ) -> Result<T, CliError> {
        let send = || {
            let request = self.request(method.clone(), path)?;
            Ok(match body {
                Some(body) => request.json(body),
                None => request,
            })
        };
        Ok(read(self.send(send).await?).await?.body)
    }

    /// POST that is answered without a body.
    pub(crate) async fn post_for_nothing<B: Serialize>(&self, path: &str, body: &B) -> Result<(), CliError> {
        self.post::<B, ()>(path, body, None).await.map(|_| ())
    }

    /// Changes the version of an object that `etag` names.
    pub(crate) async fn change<B: Serialize, T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        etag: &str,
        body: &B,
    ) -> Result<Reply<T>, CliError> {
        let send = || Ok(self.request(method.clone(), path)?.json(body).header(IF_MATCH, etag));
        read(self.send(send).await?).await
    }

    /// Reads an object and changes it, if it is still the version that was read: what changes follows from what it is.
    pub(crate) async fn edit<T: DeserializeOwned, B: Serialize>(
        &self,
        method: Method,
        path: &str,
        change: impl FnOnce(T) -> B,
    ) -> Result<T, CliError> {
        let read = self.get::<T>(path).await?;
        let etag = read.etag.ok_or_else(|| CliError::Answer("the object has no ETag".to_owned()))?;
        Ok(self.change(method, path, &etag, &change(read.body)).await?.body)
    }

    /// The octets at an address of the API, in a media type.
    pub(crate) async fn download(&self, path: &str, media_type: &str) -> Result<Vec<u8>, CliError> {
        let send = || Ok(self.request(Method::GET, path)?.header(ACCEPT, media_type));
        octets(self.send(send).await?).await
    }

    /// An answer whose body is read as it comes, however long that takes.
    pub(crate) async fn stream<Q: Serialize>(&self, path: &str, query: &Q) -> Result<Response, CliError> {
        let send = || Ok(self.request(Method::GET, path)?.query(query).timeout(LONGEST_STREAM));
        self.send(send).await
    }

    /// The octets at a public address, without credentials.
    pub(crate) async fn fetch_public(&self, url: &str) -> Result<Vec<u8>, CliError> {
        octets(self.send(|| Ok(self.http.get(url))).await?).await
    }

    fn request(&self, method: Method, path: &str) -> Result<RequestBuilder, CliError> {
        let url = self.base.join(path).map_err(|error| CliError::Usage(error.to_string()))?;
        let mut request = self.http.request(method, url);
        if let Some(token) = &self.token {
            request = request.bearer_auth(token);
        }
        if let Some(organization) = self.organization {
            request = request.header("clm-organization", organization.to_string());
        }
        Ok(request)
    }

    /// Sends until there is an answer that another attempt would not change.
    async fn send(&self, build: impl Fn() -> Result<RequestBuilder, CliError>) -> Result<Response, CliError> {
        let mut attempt = 1;
        loop {
            let outcome = build()?.send().await;
            let is_away = match &outcome {
                Ok(response) => response.status() == StatusCode::SERVICE_UNAVAILABLE,
                Err(error) => !error.is_builder(),
            };
            if !is_away || attempt == ATTEMPTS {
                return finish(outcome, &self.base).await;
            }
            tokio::time::sleep(Duration::from_millis(250 << attempt)).await;
            attempt += 1;
        }
    }
}

async fn finish(outcome: reqwest::Result<Response>, base: &Url) -> Result<Response, CliError> {
    let response = outcome
        .map_err(|source| CliError::Unreachable { url: base.to_string(), source: source.without_url() })?;
    if response.status().is_success() {
        return Ok(response);
    }
    let status = response.status();
    let content_type = response.headers().get(CONTENT_TYPE);
    if content_type.is_none_or(|value| value != PROBLEM_MEDIA_TYPE) {
        return Err(CliError::Answer(format!("status {status} without a problem document")));
    }
    let problem: Problem = response.json().await.map_err(unreadable)?;
    Err(CliError::Problem(Box::new(problem)))
}

async fn read<T: DeserializeOwned>(response: Response) -> Result<Reply<T>, CliError> {
    let etag = response.headers().get(ETAG).and_then(|value| value.to_str().ok()).map(str::to_owned);
    let bytes = octets(response).await?;
    let octets: &[u8] = if bytes.is_empty() { b"null" } else { &bytes };
    let body = serde_json::from_slice(octets).map_err(|error| CliError::Answer(error.to_string()))?;
    Ok(Reply { body, etag })
}

async fn octets(response: Response) -> Result<Vec<u8>, CliError> {
    Ok(response.bytes().await.map_err(unreadable)?.to_vec())
}

#[expect(clippy::needless_pass_by_value, reason = "the shape that map_err wants")]
fn unreadable(error: reqwest::Error) -> CliError {
    CliError::Answer(error.to_string())
}
