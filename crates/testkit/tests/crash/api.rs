//! People who call the REST API, and who repeat a call with its key until it is answered.

use std::time::{Duration, Instant};

use reqwest::{Client, Method};
use serde_json::{Value, json};
use uuid::Uuid;

/// Longer than any crash and recovery.
const PATIENCE: Duration = Duration::from_secs(60);
/// Longest wait for one answer; the same call is repeated then.
const ONE_TRY: Duration = Duration::from_secs(15);
const PAUSE: Duration = Duration::from_millis(50);

/// Somebody with an API key.
#[derive(Clone)]
pub(crate) struct Person {
    client: Client,
    url: String,
    key: String,
    pub(crate) id: String,
}

/// What the API answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Value,
}

/// A call that changes something.
struct Call<'a> {
    method: Method,
    key: Option<&'a str>,
    prefer: &'a str,
    body: &'a Value,
}

impl Answer {
    /// A field that holds a text.
    pub(crate) fn text(&self, field: &str) -> &str {
        self.body[field].as_str().unwrap_or_else(|| panic!("no {field} in {self:?}"))
    }

    pub(crate) fn uuid(&self, field: &str) -> Uuid {
        self.text(field).parse().unwrap()
    }

    /// The code of a problem document.
    pub(crate) fn code(&self) -> &str {
        self.body["code"].as_str().unwrap_or_default()
    }

    fn is_final(&self) -> bool {
        self.status < 500 && self.code() != "idempotency_key_in_flight"
    }
}

impl Person {
    /// The first administrator.
    pub(crate) async fn bootstrap(client: Client, api_url: &str, token: &str) -> Self {
        let mut nobody =
            Self { client, url: format!("{api_url}/api/v1"), key: String::new(), id: String::new() };
        let answer = nobody
            .post(
                "/bootstrap",
                &json!({"token": token, "username": "admin", "email": "admin@example.org",
                    "organization_code": "example", "organization_name": "Example"}),
            )
            .await;
        answer.text("api_key").clone_into(&mut nobody.key);
        answer.text("user_id").clone_into(&mut nobody.id);
        nobody
    }

    /// The API key.
    pub(crate) fn token(&self) -> &str {
        &self.key
    }

    /// Makes a user with a role and a key.
    pub(crate) async fn hire(&self, name: &str, role: &str) -> Self {
        let user = json!({"username": name, "email": format!("{name}@example.org")});
        let id = self.post("/users", &user).await.text("id").to_owned();
        self.post("/role-assignments", &json!({"user_id": id, "role_id": role})).await;
        let scopes = &self.get(&format!("/roles/{role}")).await.body["permissions"];
        let key = self.post("/api-keys", &json!({"name": name, "user_id": id, "scopes": scopes})).await;
        Self { key: key.text("secret").to_owned(), id, ..self.clone() }
    }

    /// Calls until there is an answer, always with the same `Idempotency-Key`; waits a moment for what cannot be
    /// done at once.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_once(path, body, "wait=1").await
    }

    /// As [`Self::post`], for what waits for others.
    pub(crate) async fn ask(&self, path: &str, body: &Value) -> Answer {
        self.post_once(path, body, "wait=0").await
    }

    async fn post_once(&self, path: &str, body: &Value, prefer: &str) -> Answer {
        let key = Uuid::new_v4().to_string();
        let call = Call { method: Method::POST, key: Some(&key), prefer, body };
        let answer = self.until_answered(path, Some(&call)).await;
        assert!(answer.status < 300, "POST {path} {body}: {answer:?}");
        answer
    }

    /// Calls without a key: a repeat is refused, and a refusal is an answer.
    pub(crate) async fn decide(&self, path: &str) -> Answer {
        let call = Call { method: Method::POST, key: None, prefer: "wait=0", body: &json!({}) };
        self.until_answered(path, Some(&call)).await
    }

    /// Changes an object whatever its version: once more is no other change.
    pub(crate) async fn patch(&self, path: &str, body: &Value) -> Answer {
        let call = Call { method: Method::PATCH, key: None, prefer: "wait=0", body };
        let answer = self.until_answered(path, Some(&call)).await;
        assert!(answer.status < 300, "PATCH {path} {body}: {answer:?}");
        answer
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        let answer = self.until_answered(path, None).await;
        assert!(answer.status < 300, "GET {path}: {answer:?}");
        answer
    }

    async fn until_answered(&self, path: &str, change: Option<&Call<'_>>) -> Answer {
        let end = Instant::now() + PATIENCE;
        loop {
            let last = match self.call(path, change).await {
                Ok(answer) if answer.is_final() => return answer,
                Ok(answer) => format!("{answer:?}"),
                Err(error) => format!("{error:?}"),
            };
            assert!(Instant::now() < end, "{path} was not answered: {last}");
            tokio::time::sleep(PAUSE).await;
        }
    }

    async fn call(&self, path: &str, change: Option<&Call<'_>>) -> reqwest::Result<Answer> {
        let method = change.map_or(Method::GET, |call| call.method.clone());
        let url = format!("{}{path}", self.url);
        let mut request = self.client.request(method, url).bearer_auth(&self.key).timeout(ONE_TRY);
        if let Some(Call { method, key, prefer, body }) = change {
            request = request.header("prefer", *prefer).json(body);
            if *method == Method::PATCH {
                request = request.header("if-match", "*");
            }
            if let Some(key) = key {
                request = request.header("idempotency-key", *key);
            }
        }
        let answer = request.send().await?;
        let status = answer.status().as_u16();
        Ok(Answer { status, body: answer.json().await? })
    }
}
