//! The gate in front of every handler: rates, credentials, permission, body limit, idempotency. It obeys the table in
//! [`crate::routes`]; a route that is not in it cannot be reached.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::extract::{ConnectInfo, MatchedPath, Request, State};
use axum::http::header::{ALLOW, AUTHORIZATION};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, Method};
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use clm_core::tokens::Token;
use clm_core::{Core, Ctx};
use clm_types::{ErrorCode, OrganizationId, Refusal};
use tokio::sync::Semaphore;

use crate::callers::{Budget, Callers, Presented};
use crate::failure::Failure;
use crate::idempotency;
use crate::limits::Limits;
use crate::places::{Permit, Places, Reading};
use crate::refusals::Call;
use crate::routes::{self, Access, Idempotency, Route};
use crate::surroundings::{RequestId, too_large};

/// The organization that a caller with several of them means.
const ORGANIZATION_HEADER: &str = "clm-organization";
/// Where passwords are sent to.
const SIGN_IN: &str = "/api/v1/sessions";
/// Where workloads send tokens to, which may say much.
const TOKEN: &str = "/api/v1/token";
/// Where new passwords are asked for: as at sign-in, names and addresses can be tried out.
const PASSWORD_RESETS: &str = "/api/v1/password-resets";
/// A body that takes longer is a slow one: its sender holds no place to run meanwhile.
const PROMPT: Duration = Duration::from_millis(50);
/// Who shows no credentials can keep little of the service busy: this many of their changes run at once, after their bodies,
const MAX_ANONYMOUS: usize = 16;
/// and beside them so many exchanges of tokens: jobs that come all at once, and wait for their provider, keep nobody from signing in.
const MAX_TOKENS: usize = 8;
/// Their bodies are no larger than this,
const MAX_ANONYMOUS_BODY_BYTES: usize = 4 * 1024;
/// or this where it is a workload's token,
const MAX_TOKEN_BODY_BYTES: usize = 18 * 1024;
/// and come within this time. Slow ones wait in places of their own: [`Reading::Anonymous`].
const ANONYMOUS_BODY_TIME: Duration = Duration::from_secs(5);

/// What the gate works with.
pub(crate) struct Gate {
    core: Arc<Core>,
    callers: Callers,
    places: Places,
    anonymous: Semaphore,
    tokens: Semaphore,
    body_bytes: usize,
    body_time: Duration,
}

impl Gate {
    pub(crate) fn new(core: Arc<Core>, limits: &Limits) -> Arc<Self> {
        Arc::new(Self {
            core,
            callers: Callers::new(limits),
            places: Places::new(limits.concurrent_requests),
            anonymous: Semaphore::new(MAX_ANONYMOUS),
            tokens: Semaphore::new(MAX_TOKENS),
            body_bytes: limits.body_bytes,
            body_time: limits.body_time,
        })
    }
}

/// The layer.
pub(crate) async fn guard(State(gate): State<Arc<Gate>>, request: Request, next: Next) -> Response {
    match gate.pass(request, next).await {
        Ok(response) => response,
        Err(failure) => failure.into_response(),
    }
}

/// What is known of a call before anything is asked or read.
struct Asker {
    address: IpAddr,
    /// Hash of the key or session; none of what is neither.
    presented: Option<Presented>,
    budget: Arc<Budget>,
}

impl Gate {
    async fn pass(&self, request: Request, next: Next) -> Result<Response, Failure> {
        let (mut parts, body) = request.into_parts();
        let Some(route) = route_of(&parts) else {
            return Ok(not_allowed(&parts));
        };
        let is_read = matches!(parts.method, Method::GET | Method::HEAD);
        let asker = self.admit(&parts, route, is_read)?;
        let permit = self.places.enter(&asker.budget)?;
        // Before anything of the body is read.
        let ctx = match route.access {
            Access::Public => None,
            access => {
                let ctx = self.authenticate(&parts, &asker).await?;
                check_access(&ctx, access, route.fresh).inspect_err(|refusal| {
                    if let Some(call) = Call::new(&ctx, route, &parts.uri) {
                        call.note(&self.core, refusal);
                    }
                })?;
                Some(ctx)
            }
        };
        if is_read {
            if let Some(ctx) = ctx {
                parts.extensions.insert(ctx);
            }
            // An answer that is sent piece by piece keeps it until its end.
            parts.extensions.insert(permit.clone());
            let response = next.run(Request::from_parts(parts, Body::empty())).await;
            drop(permit);
            return Ok(response);
        }
        let Some(ctx) = ctx else {
            return self.pass_anonymous(route, (parts, body), &asker, permit, next).await;
        };
        let reading = read(body, self.body_bytes, self.body_time);
        let (body, permit) = self.receive(&asker, Reading::Authenticated, permit, reading).await?;
        parts.extensions.insert(permit.clone());
        let call = Call::new(&ctx, route, &parts.uri);
        let request = Request::from_parts(parts, Body::from(body.clone()));
        let answer = guarded(&self.core, route, ctx, request, &body, next).await;
        if let Some(call) = call {
            call.note_answer(&self.core, &answer);
        }
        drop(permit);
        answer
    }

    /// Takes the call from its caller's budget, at no greater cost than a hash.
    fn admit(&self, parts: &Parts, route: &Route, is_read: bool) -> Result<Asker, Failure> {
        let address = address(parts).unwrap_or(IpAddr::V4(Ipv4Addr::UNSPECIFIED));
        let token = if route.access == Access::Public { None } else { bearer(&parts.headers).ok() };
        // What is no key at all is none of anybody.
        let presented = token.and_then(Token::parse).map(|token| token.hash());
        let caller = self.callers.find(address, presented.as_ref());
        let budget = self.callers.admit(caller, is_read)?;
        Ok(Asker { address, presented, budget })
    }

    /// A change by somebody without credentials: there is a password or a token of its own in the body.
    async fn pass_anonymous(
        &self,
        route: &Route,
        (parts, body): (Parts, Body),
        asker: &Asker,
        permit: Permit,
        next: Next,
    ) -> Result<Response, Failure> {
        let (most, places) = if route.path == TOKEN {
            (MAX_TOKEN_BODY_BYTES, &self.tokens)
        } else {
            (MAX_ANONYMOUS_BODY_BYTES, &self.anonymous)
        };
        let reading = read(body, most, ANONYMOUS_BODY_TIME);
        let (body, permit) = self.receive(asker, Reading::Anonymous, permit, reading).await?;
        let _place = places.try_acquire().map_err(|_| {
            Failure::new(ErrorCode::Unavailable, "too many requests without credentials run at once")
        })?;
        // A token that was wrong stays wrong; a password may be right in a minute, and is kept nowhere.
        let is_token = !matches!(route.path, SIGN_IN | PASSWORD_RESETS);
        let presented = is_token.then(|| idempotency::digest(&parts.uri, &body));
        self.callers.check(asker.address, presented)?;
        let response = next.run(Request::from_parts(parts, Body::from(body))).await;
        if let Some(failure) = response.extensions().get::<Failure>()
            && is_wrong_secret(failure.0.code)
        {
            self.callers.note_failure(asker.address, presented, failure);
        }
        if route.path == PASSWORD_RESETS {
            self.callers.note_guess(asker.address);
        }
        drop(permit);
        Ok(response)
    }

    /// The body, and the place to run that is left to who has sent it.
    async fn receive(
        &self,
        asker: &Asker,
        pool: Reading,
        permit: Permit,
        reading: impl Future<Output = Result<Bytes, Failure>>,
    ) -> Result<(Bytes, Permit), Failure> {
        let mut reading = pin!(reading);
        match tokio::time::timeout(PROMPT, &mut reading).await {
            Ok(body) => Ok((body?, permit)),
            Err(_) => self.places.leave_meanwhile(&asker.budget, pool, permit, reading).await,
        }
    }

    async fn authenticate(&self, parts: &Parts, asker: &Asker) -> Result<Ctx, Failure> {
        let token = bearer(&parts.headers)?;
        let organization = organization(&parts.headers)?;
        let id = parts.extensions.get::<RequestId>().map_or_else(uuid::Uuid::nil, |id| id.0);
        // Good credentials go on working where others try wrong ones.
        let is_proven = asker.presented.is_some_and(|presented| self.callers.is_proven(&presented));
        if !is_proven && asker.presented.is_some() {
            self.callers.check(asker.address, asker.presented)?;
        }
        let ctx = self.core.authenticate(token, organization, id, address(parts)).await;
        let ctx = ctx.map_err(Failure::from);
        match (&ctx, asker.presented) {
            (Ok(ctx), Some(presented)) => self.callers.note_success(presented, ctx),
            (Err(failure), Some(_)) if failure.0.code == ErrorCode::Unauthenticated => {
                self.callers.note_failure(asker.address, asker.presented, failure);
            }
            _ => {}
        }
        ctx
    }
}

/// Whether what was sent instead of credentials was wrong.
const fn is_wrong_secret(code: ErrorCode) -> bool {
    matches!(
        code,
        ErrorCode::BootstrapTokenInvalid
            | ErrorCode::LinkInvalid
            | ErrorCode::SignInFailed
            | ErrorCode::WorkloadTokenRefused
    )
}

fn check_access(ctx: &Ctx, access: Access, fresh: bool) -> Result<(), Refusal> {
    if access != Access::Session {
        ctx.require_whole_session()?;
    }
    if let Access::Permission(permission) = access {
        ctx.require(permission)?;
    }
    if fresh { ctx.require_fresh_factor() } else { Ok(()) }
}

/// The whole body before anything is done with it, up to a size, and within a time that does not begin anew with
/// each octet.
async fn read(body: Body, most: usize, longest: Duration) -> Result<Bytes, Failure> {
    let slow = |_| {
        let detail = format!("the body did not come within {} seconds", longest.as_secs());
        Failure::new(ErrorCode::Unavailable, detail)
    };
    let octets = tokio::time::timeout(longest, axum::body::to_bytes(body, most)).await.map_err(slow)?;
    octets.map_err(|_| too_large(most))
}

async fn guarded(
    core: &Arc<Core>,
    route: &'static Route,
    mut ctx: Ctx,
    mut request: Request,
    body: &Bytes,
    next: Next,
) -> Result<Response, Failure> {
    let key = match route.idempotency {
        Idempotency::None => None,
        Idempotency::Accepted | Idempotency::Required => {
            idempotency::key(request.headers())?.map(str::to_owned)
        }
    };
    let digest = idempotency::digest(request.uri(), body);
    match (route.idempotency, key) {
        (Idempotency::Required, None) => Err(idempotency::missing_key()),
        // The rule itself makes the operation once: its id is unique in the database.
        (Idempotency::Required, Some(key)) => {
            ctx.asked = Some(idempotency::operation(&ctx, route, &key, digest));
            request.extensions_mut().insert(ctx);
            Ok(next.run(request).await)
        }
        (_, Some(key)) => idempotency::run_once(core, ctx, (route, &key, digest), request, next).await,
        (_, None) => {
            request.extensions_mut().insert(ctx);
            Ok(next.run(request).await)
        }
    }
}

fn route_of(parts: &Parts) -> Option<&'static Route> {
    let path = parts.extensions.get::<MatchedPath>()?;
    routes::find(parts.method.as_str(), path.as_str())
}

/// A method that is not in the table, whether or not there is a handler for it.
fn not_allowed(parts: &Parts) -> Response {
    let path = parts.extensions.get::<MatchedPath>().map_or("", MatchedPath::as_str);
    let methods = routes::methods(path).join(", ");
    let detail = format!("this address takes {methods}");
    let mut response = Failure::new(ErrorCode::MethodNotAllowed, detail).into_response();
    if let Ok(value) = HeaderValue::from_str(&methods) {
        response.headers_mut().insert(ALLOW, value);
    }
    response
}

fn bearer(headers: &HeaderMap) -> Result<&str, Failure> {
    let value = headers.get(AUTHORIZATION).ok_or_else(|| {
        Refusal::new(ErrorCode::Unauthenticated, "the header Authorization is missing")
            .hint("send `Authorization: Bearer <API key or session>`")
    })?;
    let token = value.to_str().ok().and_then(|text| text.split_once(' '));
    match token {
        Some((scheme, token)) if scheme.eq_ignore_ascii_case("bearer") => Ok(token.trim()),
        _ => Err(Failure::new(
            ErrorCode::Unauthenticated,
            "the header Authorization is not `Bearer <API key>`",
        )),
    }
}

fn organization(headers: &HeaderMap) -> Result<Option<OrganizationId>, Failure> {
    let Some(value) = headers.get(ORGANIZATION_HEADER) else {
        return Ok(None);
    };
    let id = value.to_str().ok().and_then(|text| text.parse().ok());
    id.map(Some).ok_or_else(|| {
        Failure::new(
            ErrorCode::OrganizationNotFound,
            "the header CLM-Organization holds no organization id (a UUID)",
        )
    })
}

fn address(parts: &Parts) -> Option<IpAddr> {
    let peer = parts.extensions.get::<ConnectInfo<SocketAddr>>()?;
    Some(peer.0.ip().to_canonical())
}
