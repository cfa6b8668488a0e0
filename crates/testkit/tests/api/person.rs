//! Somebody with an API key, who speaks HTTP.

use clm_types::Entropy;
use reqwest::{Client, Method, RequestBuilder};
use serde_json::Value;

use crate::answer::{Answer, text};

#[derive(Clone)]
pub(crate) struct Person {
    pub(crate) client: Client,
    pub(crate) url: String,
    pub(crate) key: String,
    pub(crate) id: String,
    /// The organization to name in a header, for keys that are good for several.
    pub(crate) organization: Option<String>,
}

/// An `Idempotency-Key` that nobody used before.
pub(crate) fn fresh_key() -> String {
    hex::encode(Entropy::system().bytes::<16>())
}

impl Person {
    pub(crate) fn call(&self, method: Method, path: &str) -> RequestBuilder {
        let call = self.client.request(method, format!("{}{path}", self.url)).bearer_auth(&self.key);
        match &self.organization {
            Some(organization) => call.header("clm-organization", organization),
            None => call,
        }
    }

    pub(crate) async fn send(&self, call: RequestBuilder) -> Answer {
        Answer::read(call.send().await.unwrap()).await
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.send(self.call(Method::GET, path)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        let call = self.call(Method::POST, path).header("idempotency-key", fresh_key());
        self.send(call.json(body)).await
    }

    /// Changes an object, with the version that was read as `If-Match`.
    pub(crate) async fn change(&self, method: Method, path: &str, version: &Value, body: &Value) -> Answer {
        let call = self.call(method, path).header("if-match", format!("\"{version}\""));
        self.send(call.json(body)).await
    }

    /// The items of the first page.
    pub(crate) async fn list(&self, path: &str) -> Vec<Value> {
        self.get(path).await.expect(200)["items"].as_array().unwrap().clone()
    }

    /// Asks for a certificate that nobody need approve: its metadata.
    #[track_caller]
    pub(crate) fn issue(&self, body: &Value) -> impl Future<Output = Value> {
        let caller = std::panic::Location::caller();
        async move {
            // A key of RSA 4096 takes its time on a busy machine.
            let call = self.call(Method::POST, "/api/v1/requests").header("prefer", "wait=50");
            let answer = self.send(call.header("idempotency-key", fresh_key()).json(body)).await;
            assert_eq!(answer.status, 201, "{caller}: {body:#}: {}", answer.text());
            let id = text(&answer.expect(201), "certificate_id");
            self.get(&format!("/api/v1/certificates/{id}")).await.expect(200)
        }
    }

    /// A certificate with its issuers, PEM.
    pub(crate) async fn chain(&self, certificate: &Value) -> String {
        let path = format!("/api/v1/certificates/{}", text(certificate, "id"));
        let call = self.call(Method::GET, &path).header("accept", "application/pem-certificate-chain");
        let answer = self.send(call).await;
        assert_eq!(answer.status, 200, "{}", answer.text());
        assert_eq!(answer.header("content-type"), "application/pem-certificate-chain");
        answer.text()
    }

    pub(crate) async fn revoke(&self, certificate: &Value, reason: &str) -> Answer {
        let path = format!("/api/v1/certificates/{}/revoke", text(certificate, "id"));
        self.post(&path, &serde_json::json!({"reason": reason})).await
    }
}
