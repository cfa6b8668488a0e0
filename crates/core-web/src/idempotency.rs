//! `Idempotency-Key` on POST: the same call gives the same answer, and has one effect.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::{Body, Bytes};
use axum::extract::Request;
use axum::http::{HeaderMap, HeaderName, HeaderValue, StatusCode, Uri};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clm_core::idempotency::{Begun, Call, StoredResponse};
use clm_core::{AskedOperation, Core, CoreError, Ctx};
use clm_types::{ErrorCode, OperationId, Refusal};
use tracing::Instrument;
use uuid::Uuid;

use crate::failure::Failure;
use crate::places::Permit;
use crate::routes::Route;

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");
/// Largest answer that is stored.
const MAX_ANSWER_BYTES: usize = 16 * 1024 * 1024;
/// Longest key that is taken, in octets.
pub(crate) const LONGEST_KEY: usize = 255;

/// The key of the call, if there is one.
pub(crate) fn key(headers: &HeaderMap) -> Result<Option<&str>, Failure> {
    let Some(value) = headers.get(&IDEMPOTENCY_KEY) else {
        return Ok(None);
    };
    let key = value.to_str().ok().map(|text| text.trim().trim_matches('"'));
    match key {
        Some(key) if !key.is_empty() && key.len() <= LONGEST_KEY => Ok(Some(key)),
        _ => Err(Failure::new(
            ErrorCode::InvalidRequest,
            format!("the header Idempotency-Key must have 1 to {LONGEST_KEY} visible ASCII characters"),
        )),
    }
}

/// The refusal of a call that needs a key and has none.
pub(crate) fn missing_key() -> Failure {
    Refusal::new(ErrorCode::IdempotencyKeyRequired, "the header Idempotency-Key is missing")
        .hint("send a fresh random value, and the same one when you repeat the same request")
        .into()
}

/// Marks an answer with something that is shown this once: it is not stored.
#[derive(Debug, Clone, Copy)]
pub(crate) struct ShownOnce;

/// SHA-256 of path and body.
pub(crate) fn digest(uri: &Uri, body: &Bytes) -> [u8; 32] {
    hash(&[uri.path().as_bytes(), body])
}

/// Each part with its length before it, so that no two lists of parts look alike.
fn hash(parts: &[&[u8]]) -> [u8; 32] {
    let mut context = Context::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    let mut octets = [0; 32];
    octets.copy_from_slice(context.finish().as_ref());
    octets
}

/// The operation that a call with this key begins: follows from caller, organization, route and key alone.
pub(crate) fn operation(ctx: &Ctx, route: &Route, key: &str, call: [u8; 32]) -> AskedOperation {
    let principal = ctx.actor.user_id.map_or(Uuid::nil(), Into::into);
    let organization: Uuid = ctx.organization_id.into();
    let whole = hash(&[
        b"clm operation",
        principal.as_bytes(),
        organization.as_bytes(),
        route.path.as_bytes(),
        key.as_bytes(),
    ]);
    AskedOperation { operation_id: OperationId::of_digest(whole), call_sha256: hex::encode(call) }
}

/// Runs a call unless it was run before; then gives the stored answer. A run goes on when the caller hangs up, so that
/// nothing comes between its effect and the stored answer. What it makes has the id of the call, so that a run after a
/// crash between the two does not make it twice.
pub(crate) async fn run_once(
    core: &Arc<Core>,
    mut ctx: Ctx,
    (route, key, body_sha256): (&Route, &str, [u8; 32]),
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let route = format!("{} {}", route.method, route.path);
    let call = Call { route: &route, key, body_sha256 };
    let id = match core.begin_call(&ctx, call).await? {
        Begun::New(id) => id,
        Begun::Replay(stored) => return Ok(replay(stored)),
        Begun::InFlight => {
            let detail = "a request with this Idempotency-Key is still running";
            return Err(Failure::new(ErrorCode::IdempotencyKeyInFlight, detail));
        }
        Begun::Mismatch => {
            let detail = "this Idempotency-Key was used with another path or body";
            return Err(Failure::new(ErrorCode::IdempotencyKeyReused, detail));
        }
    };
    ctx.asked = Some(AskedOperation { operation_id: OperationId(id), call_sha256: hex::encode(body_sha256) });
    let permit = request.extensions().get::<Permit>().cloned();
    request.extensions_mut().insert(ctx);
    let core = Arc::clone(core);
    let run = async move {
        let response = keep(&core, id, next.run(request).await).await;
        drop(permit);
        Ok::<_, Failure>(response)
    };
    to_the_end(run).await
}

/// Runs it to its end, also when nobody waits for it any more.
pub(crate) async fn to_the_end<T, E>(
    run: impl Future<Output = Result<T, E>> + Send + 'static,
) -> Result<T, Failure>
where
    T: Send + 'static,
    E: Send + 'static,
    Failure: From<E>,
{
    match tokio::spawn(run.in_current_span()).await {
        Ok(outcome) => outcome.map_err(Failure::from),
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(_) => Err(Failure::new(ErrorCode::Unavailable, "the service is being stopped")),
    }
}

/// Stores the answer if it is one that lasts: an effect. A refusal leaves the key free for another try; an error of
/// ours leaves it to a repeat of the same call, for it may have had its effect.
async fn keep(core: &Core, id: Uuid, response: Response) -> Response {
    let shown_once = response.extensions().get::<ShownOnce>().is_some();
    let status = response.status();
    let outcome = if status.is_success() {
        let (stored, response) = copy(response, shown_once).await;
        (core.finish_call(id, &stored).await, response)
    } else if status.is_server_error() {
        (core.release_call(id).await, response)
    } else {
        (core.abandon_call(id).await, response)
    };
    if let (Err(error), _) = &outcome {
        warn(error);
    }
    outcome.1
}

fn warn(error: &CoreError) {
    tracing::warn!(%error, "the answer to a call with an Idempotency-Key was not stored");
}

async fn copy(response: Response, shown_once: bool) -> (StoredResponse, Response) {
    let (parts, body) = response.into_parts();
    let bytes = axum::body::to_bytes(body, MAX_ANSWER_BYTES).await.unwrap_or_default();
    let headers = parts.headers.iter().filter_map(|(name, value)| {
        let value = value.to_str().ok()?;
        Some((name.as_str().to_owned(), value.to_owned()))
    });
    let stored = StoredResponse {
        status: if shown_once { StatusCode::CONFLICT } else { parts.status }.as_u16(),
        headers: headers.collect(),
        body: if shown_once { Vec::new() } else { bytes.to_vec() },
    };
    (stored, Response::from_parts(parts, Body::from(bytes)))
}

fn replay(stored: StoredResponse) -> Response {
    if stored.status == StatusCode::CONFLICT.as_u16() {
        let detail = "the first call with this Idempotency-Key was carried out; its answer was shown once";
        return Failure::new(ErrorCode::AlreadyExists, detail).into_response();
    }
    let status = StatusCode::from_u16(stored.status).unwrap_or(StatusCode::OK);
    let mut response = (status, stored.body).into_response();
    for (name, value) in stored.headers {
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            response.headers_mut().insert(name, value);
        }
    }
    replayed(response)
}

/// Says that the effect of this call was there before it.
pub(crate) fn replayed(mut response: Response) -> Response {
    response.headers_mut().insert(REPLAYED, HeaderValue::from_static("true"));
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_run_goes_on_when_the_caller_hangs_up() {
        let (go, wait) = tokio::sync::oneshot::channel();
        let (tell, done) = tokio::sync::oneshot::channel();
        let mut call = Box::pin(to_the_end(async {
            wait.await.unwrap();
            tell.send("done").unwrap();
            Ok::<_, Failure>(StatusCode::OK.into_response())
        }));
        assert!(futures::poll!(&mut call).is_pending());
        drop(call);
        go.send(()).unwrap();
        assert_eq!(done.await, Ok("done"));
    }

    #[test]
    fn no_two_lists_of_parts_look_alike() {
        assert_ne!(hash(&[b"ab", b"c"]), hash(&[b"a", b"bc"]));
        assert_ne!(hash(&[b"ab"]), hash(&[b"ab", b""]));
    }

    #[test]
    fn a_key_is_visible_text_of_bounded_length() {
        let keyed = |value: &str| {
            let mut headers = HeaderMap::new();
            headers.insert(IDEMPOTENCY_KEY, HeaderValue::from_str(value).unwrap());
            key(&headers).map(|key| key.map(str::to_owned))
        };
        assert_eq!(keyed("abc").unwrap().as_deref(), Some("abc"));
        assert_eq!(keyed("\"abc\"").unwrap().as_deref(), Some("abc"));
        assert!(keyed("").is_err());
        assert!(keyed(&"x".repeat(256)).is_err());
        assert_eq!(key(&HeaderMap::new()).unwrap(), None);
    }
}
