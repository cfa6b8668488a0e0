//! A browser that goes to an OpenID provider and comes back to this machine (RFC 8252).

use std::collections::HashMap;
use std::time::Duration;

use aws_lc_rs::digest::{SHA256, digest};
use axum::Router;
use axum::extract::{Query, State};
use axum::response::Html;
use axum::routing::get;
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clm_api::identity_providers::{Departure, DepartureUrl, Return};
use clm_types::Entropy;
use reqwest::Method;
use tokio::net::TcpListener;
use tokio::sync::{mpsc, oneshot};
use url::Url;

use crate::client::Client;
use crate::error::CliError;

/// How long a user may take.
const LONGEST: Duration = Duration::from_mins(10);
/// How long the last page may take.
const GOODBYE: Duration = Duration::from_secs(2);
const BACK: &str =
    "<!doctype html><title>CLM</title><p>Thank you. Go back to the terminal; this page can be closed.";

type Parameters = HashMap<String, String>;

/// Lets the user visit a provider, beginning at `start`: what to send to the service. `fresh`: to show there anew who they are.
pub(crate) async fn visit(
    client: &Client,
    start: &str,
    provider: &str,
    fresh: bool,
) -> Result<Return, CliError> {
    let code_verifier = URL_SAFE_NO_PAD.encode(Entropy::system().bytes::<32>());
    let code_challenge = URL_SAFE_NO_PAD.encode(digest(&SHA256, code_verifier.as_bytes()));
    let listener = TcpListener::bind("127.0.0.1:0").await.map_err(CliError::Browser)?;
    let port = listener.local_addr().map_err(CliError::Browser)?.port();
    let departure = Departure { provider: provider.to_owned(), code_challenge, port, fresh };
    let there: DepartureUrl = client.call(Method::POST, start, Some(&departure)).await?;
    eprintln!("Open this in a browser on this machine, and sign in there:\n\n  {}\n", there.url);
    eprintln!("waiting for the browser to come back, for ten minutes at most");
    let mut back = tokio::time::timeout(LONGEST, wait(listener, &there.url))
        .await
        .map_err(|_| nobody("nobody came back from the provider within ten minutes; try again"))??;
    let Some(code) = back.remove("code") else {
        let error = back.remove("error").unwrap_or_default();
        return Err(nobody(format!("the provider let nobody in: {error}")));
    };
    Ok(Return { code, state: back.remove("state").unwrap_or_default(), code_verifier })
}

/// What the browser brings that was sent to `url`; others that come by are let pass.
async fn wait(listener: TcpListener, url: &str) -> Result<Parameters, CliError> {
    let sent = Url::parse(url).ok();
    let state = sent.and_then(|url| {
        url.query_pairs().find(|(name, _)| name == "state").map(|(_, value)| value.into_owned())
    });
    let (brought, mut comes) = mpsc::channel(8);
    let router = Router::new().route("/", get(take)).with_state(brought);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = axum::serve(listener, router).with_graceful_shutdown(async {
        let _ = stopped.await;
    });
    let serving = tokio::spawn(server.into_future());
    let found = loop {
        match comes.recv().await {
            Some(parameters) if parameters.get("state") != state.as_ref() => {}
            found => break found,
        }
    };
    // The page is still on its way to the browser.
    drop(stop);
    let _ = tokio::time::timeout(GOODBYE, serving).await;
    found.ok_or_else(|| nobody("the browser could not be waited for"))
}

fn nobody(what: impl Into<String>) -> CliError {
    CliError::NotSignedIn(what.into())
}

async fn take(
    State(brought): State<mpsc::Sender<Parameters>>,
    Query(parameters): Query<Parameters>,
) -> Html<&'static str> {
    // When the first has come, nobody listens any more.
    let _ = brought.send(parameters).await;
    Html(BACK)
}
