//! Calls to a provider: over TLS, without redirects, with a limit on size and time.

use std::time::Duration;

use reqwest::{Client, RequestBuilder, Response};
use serde::de::DeserializeOwned;
use url::Url;

use crate::OidcError;

const TIME: Duration = Duration::from_secs(5);
/// Largest answer that is read, in octets.
const LARGEST: usize = 256 * 1024;

/// An address of a provider, which must be HTTPS.
pub(crate) fn address(text: &str) -> Result<Url, OidcError> {
    match Url::parse(text) {
        Ok(url) if url.scheme() == "https" && url.host_str().is_some() => Ok(url),
        _ => Err(OidcError::unavailable(format!("{text} is no HTTPS address"))),
    }
}

/// Reads a JSON document.
pub(crate) async fn get<T: DeserializeOwned>(client: &Client, url: Url) -> Result<T, OidcError> {
    let (status, body) = send(client.get(url.clone())).await?;
    if status != 200 {
        return Err(OidcError::unavailable(format!("{url} answered {status}")));
    }
    parse(&url, &body)
}

/// Sends a call: the status and the body of the answer.
pub(crate) async fn send(call: RequestBuilder) -> Result<(u16, Vec<u8>), OidcError> {
    let failed = |error: reqwest::Error| OidcError::unavailable(format!("the provider: {}", causes(&error)));
    let response = call.timeout(TIME).send().await.map_err(failed)?;
    let status = response.status().as_u16();
    Ok((status, read(response).await?))
}

/// Reads JSON.
pub(crate) fn parse<T: DeserializeOwned>(url: &Url, body: &[u8]) -> Result<T, OidcError> {
    let parsed = serde_json::from_slice(body);
    parsed.map_err(|error| OidcError::unavailable(format!("{url} answered what is not understood: {error}")))
}

async fn read(mut response: Response) -> Result<Vec<u8>, OidcError> {
    let mut body = Vec::new();
    loop {
        let chunk = response.chunk().await;
        match chunk.map_err(|error| OidcError::unavailable(format!("the provider: {}", causes(&error))))? {
            None => return Ok(body),
            Some(chunk) if body.len() + chunk.len() > LARGEST => {
                return Err(OidcError::unavailable("the provider's answer is too long"));
            }
            Some(chunk) => body.extend_from_slice(&chunk),
        }
    }
}

fn causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(next) = cause {
        text = format!("{text}: {next}");
        cause = next.source();
    }
    text
}
