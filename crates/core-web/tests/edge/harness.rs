//! The real routers over rules whose database and Secure Service are away.

use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::body::Body;
use axum::http::{HeaderMap, Request, StatusCode};
use clm_core::sealed_secrets::SecretsKeys;
use clm_core::sign_in::SignInParts;
use clm_core::webauthn::RelyingParty;
use clm_core::{Core, CoreParts};
use clm_core_web::{Edge, HttpMetrics, Limits, PublicUrl, ValidationUrl};
use clm_rpc::{SecureClient, TlsFiles};
use clm_types::{Clock, Entropy};
use serde_json::Value;
use sqlx::postgres::PgPoolOptions;
use tower::ServiceExt;

pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers[name].to_str().unwrap()
    }
}

pub(crate) fn api() -> Router {
    api_within(&Limits::default())
}

pub(crate) fn api_within(limits: &Limits) -> Router {
    let edge = Edge {
        core: core(NOBODY),
        public_url: PublicUrl("https://clm.example.com:8443".into()),
        validation_url: ValidationUrl("http://localhost:8080".into()),
    };
    clm_core_web::api_router(edge, HttpMetrics::default(), limits)
}

pub(crate) fn validation() -> Router {
    validation_over(NOBODY)
}

/// The validation listener over a Secure Service at this address.
pub(crate) fn validation_over(secure: &str) -> Router {
    clm_core_web::validation_router(core(secure), HttpMetrics::default(), &Limits::default())
}

/// An address where nobody listens.
const NOBODY: &str = "https://127.0.0.1:1";

fn core(endpoint: &str) -> Arc<Core> {
    let pool = PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(200))
        .connect_lazy("postgres://nobody@127.0.0.1:1/none")
        .unwrap();
    Core::new(CoreParts {
        app: pool.clone(),
        system: pool,
        secure: secure(endpoint),
        clock: Clock::system(),
        entropy: Entropy::system(),
        sign_in: sign_in_parts(),
        mail: None,
    })
}

fn secure(endpoint: &str) -> SecureClient {
    let folder = tempfile::tempdir().unwrap();
    let key = rcgen::KeyPair::generate().unwrap();
    let certificate = rcgen::CertificateParams::new(vec![]).unwrap().self_signed(&key).unwrap();
    let write = |name: &str, text: String| {
        let path = folder.path().join(name);
        std::fs::write(&path, text).unwrap();
        path
    };
    let files = TlsFiles {
        ca_file: write("ca.pem", certificate.pem()),
        cert_file: write("cert.pem", certificate.pem()),
        key_file: write("key.pem", key.serialize_pem()),
    };
    SecureClient::new(endpoint, "clm-secure", &files).unwrap()
}

pub(crate) async fn ask(router: Router, request: Request<Body>) -> Answer {
    let response = router.oneshot(request).await.unwrap();
    let (parts, body) = response.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body: axum::body::to_bytes(body, usize::MAX).await.unwrap().to_vec(),
    }
}

pub(crate) fn request(method: &str, path: &str) -> axum::http::request::Builder {
    Request::builder().method(method).uri(path)
}

/// The usual ones, under a key that is lost with the test.
fn sign_in_parts() -> SignInParts {
    let key = SecretsKeys::generate(&Entropy::system());
    let party = RelyingParty::at("https://clm.example.com").unwrap();
    SignInParts::usual(SecretsKeys::parse(&key).unwrap(), party)
}
