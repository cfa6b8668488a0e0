//! `/api/v1/me/passkeys`, and signing in with them.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::extract::{ConnectInfo, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use clm_api::Page;
use clm_api::passkeys::{
    AddedPasskey, AuthenticationResponse, AuthenticatorSelection, KeyKind, KnownPasskey, NewPasskey, Passkey,
    PasskeyCreation, PasskeyRequest, PasskeySignIn, PasskeyStart, PasskeyUser, RelyingParty,
};
use clm_api::sessions::SignedIn;
use clm_core::challenges::CHALLENGE_LIFETIME;
use clm_core::passkey_sign_in::PasskeyQuestion;
use clm_core::passkeys::PasskeySetup;
use clm_core::webauthn::{ALGORITHMS, Assertion, Registration};
use clm_core::{Core, passkeys};
use clm_types::{ErrorCode, PasskeyId};
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use uuid::Uuid;
use zeroize::Zeroizing;

use super::sessions::{signed_in, visitor};
use crate::extract::{Body, Caller, Id};
use crate::failure::Failure;
use crate::idempotency::to_the_end;
use crate::surroundings::RequestId;
use crate::{Edge, answer};

const PUBLIC_KEY: &str = "public-key";
const REQUIRED: &str = "required";

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(begin))
        .routes(routes!(add, list))
        .routes(routes!(remove))
        .routes(routes!(begin_sign_in))
        .routes(routes!(sign_in))
        .routes(routes!(begin_factor))
}

/// What to tell a browser that makes a passkey for the caller. The password is asked for again, or a fresh second factor.
#[utoipa::path(post, path = "/me/passkeys/options", tag = "me", request_body = PasskeyStart,
    responses((status = 200, body = PasskeyCreation)))]
async fn begin(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(start): Body<PasskeyStart>,
) -> Result<Response, Failure> {
    let password = start.current_password.map(Zeroizing::new);
    let setup = to_the_end(async move { core.begin_passkey(&ctx, password).await }).await?;
    Ok(answer::shown_once(Json(creation(&setup))))
}

/// Keeps a passkey that a browser has made. The session's token changes; with the first factor, other sessions end.
#[utoipa::path(post, path = "/me/passkeys", tag = "me", request_body = NewPasskey,
    responses((status = 201, body = AddedPasskey)))]
async fn add(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewPasskey>,
) -> Result<Response, Failure> {
    let response = new.credential.response;
    let registration = Registration {
        client_data: octets(&response.client_data_json, "/credential/response/clientDataJSON")?,
        attestation_object: octets(&response.attestation_object, "/credential/response/attestationObject")?,
    };
    let added =
        to_the_end(
            async move { core.add_passkey(&ctx, &new.name, &registration, response.transports).await },
        );
    let added = added.await?;
    let codes = added.recovery_codes.unwrap_or_default();
    let body = AddedPasskey {
        passkey: view(added.passkey),
        token: added.token.expose().to_owned(),
        recovery_codes: codes.iter().map(|code| code.to_string()).collect(),
    };
    Ok(answer::shown_once((StatusCode::CREATED, Json(body))))
}

/// Lists the caller's passkeys, newest first: all of them, at most 20.
#[utoipa::path(get, path = "/me/passkeys", tag = "me", responses((status = 200, body = Page<Passkey>)))]
async fn list(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<Json<Page<Passkey>>, Failure> {
    let found = core.list_passkeys(&ctx).await?;
    Ok(Json(Page { items: found.into_iter().map(view).collect(), next_cursor: None }))
}

/// Removes a passkey of the caller. Where a factor is required and it was the last, the next sign-in asks for a new one.
#[utoipa::path(delete, path = "/me/passkeys/{id}", tag = "me", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn remove(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<PasskeyId>,
) -> Result<StatusCode, Failure> {
    core.remove_passkey(&ctx, id).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// What to tell a browser in which somebody signs in with a passkey.
#[utoipa::path(post, path = "/sessions/passkey/options", tag = "sessions",
    responses((status = 200, body = PasskeyRequest)))]
async fn begin_sign_in(State(core): State<Arc<Core>>) -> Result<Response, Failure> {
    Ok(answer::shown_once(Json(request(&core.begin_passkey_sign_in()?))))
}

/// Signs in with a passkey, which counts as both factors. Every failure gets the same answer.
#[utoipa::path(post, path = "/sessions/passkey", tag = "sessions", request_body = PasskeySignIn,
    responses((status = 201, body = SignedIn)))]
async fn sign_in(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    Body(body): Body<PasskeySignIn>,
) -> Result<Response, Failure> {
    let assertion = assertion(&body.credential, "/credential")?;
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    let made = to_the_end(async move { core.sign_in_with_passkey(&assertion, &visitor).await }).await?;
    Ok(signed_in(&made))
}

/// What to tell a browser in which the caller shows a passkey as second factor.
#[utoipa::path(post, path = "/sessions/current/passkey-options", tag = "sessions",
    responses((status = 200, body = PasskeyRequest)))]
async fn begin_factor(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<Response, Failure> {
    Ok(answer::shown_once(Json(request(&core.begin_passkey_factor(&ctx).await?))))
}

/// What an authenticator answered, decoded.
pub(super) fn assertion(credential: &AuthenticationResponse, place: &str) -> Result<Assertion, Failure> {
    let response = &credential.response;
    let decode = |text: &str, field: &str| octets(text, &format!("{place}/{field}"));
    Ok(Assertion {
        credential_id: decode(&credential.id, "id")?,
        user_handle: response
            .user_handle
            .as_deref()
            .map(|text| decode(text, "response/userHandle"))
            .transpose()?,
        client_data: decode(&response.client_data_json, "response/clientDataJSON")?,
        authenticator_data: decode(&response.authenticator_data, "response/authenticatorData")?,
        signature: decode(&response.signature, "response/signature")?,
    })
}

fn octets(text: &str, field: &str) -> Result<Vec<u8>, Failure> {
    let decoded = URL_SAFE_NO_PAD.decode(text.trim_end_matches('='));
    decoded.map_err(|_| Failure::new(ErrorCode::InvalidRequest, format!("{field} is not base64url")))
}

fn creation(setup: &PasskeySetup) -> PasskeyCreation {
    PasskeyCreation {
        rp: RelyingParty { id: setup.relying_party.id.clone(), name: setup.issuer.clone() },
        user: PasskeyUser {
            id: URL_SAFE_NO_PAD.encode(Uuid::from(setup.user_id).as_bytes()),
            name: setup.username.clone(),
            display_name: setup.display_name.clone(),
        },
        challenge: URL_SAFE_NO_PAD.encode(&setup.challenge),
        pub_key_cred_params: ALGORITHMS.map(|alg| KeyKind { kind: PUBLIC_KEY.to_owned(), alg }).to_vec(),
        timeout: timeout(),
        exclude_credentials: setup.known.iter().map(known).collect(),
        authenticator_selection: AuthenticatorSelection {
            resident_key: REQUIRED.to_owned(),
            user_verification: REQUIRED.to_owned(),
        },
        attestation: "none".to_owned(),
    }
}

fn request(question: &PasskeyQuestion) -> PasskeyRequest {
    PasskeyRequest {
        challenge: URL_SAFE_NO_PAD.encode(&question.challenge),
        timeout: timeout(),
        rp_id: question.relying_party.id.clone(),
        allow_credentials: question.known.iter().map(known).collect(),
        user_verification: REQUIRED.to_owned(),
    }
}

fn timeout() -> u32 {
    u32::try_from(CHALLENGE_LIFETIME.num_milliseconds()).unwrap_or(u32::MAX)
}

fn known(passkey: &passkeys::Passkey) -> KnownPasskey {
    KnownPasskey {
        kind: PUBLIC_KEY.to_owned(),
        id: URL_SAFE_NO_PAD.encode(&passkey.credential_id),
        transports: passkey.transports.clone(),
    }
}

fn view(row: passkeys::Passkey) -> Passkey {
    Passkey {
        id: row.id.into(),
        name: row.name,
        authenticator_model: row.authenticator_model,
        backed_up: row.backed_up,
        last_used_at: row.last_used_at,
        created_at: row.created_at,
    }
}
