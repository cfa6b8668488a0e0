//! `/api/v1/me/totp` and `/api/v1/me/recovery-codes`.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use clm_api::sessions::{NewTotp, RecoveryCodes, TotpConfirmation, TotpSetup};
use clm_core::Core;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;
use zeroize::Zeroizing;

use crate::extract::{Body, Caller};
use crate::failure::Failure;
use crate::idempotency::to_the_end;
use crate::{Edge, answer};

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(set_up, remove))
        .routes(routes!(confirm))
        .routes(routes!(renew_recovery_codes))
}

/// Makes a secret for one-time codes (RFC 6238: SHA-1, six digits, 30 seconds). It is asked for once it is confirmed.
#[utoipa::path(post, path = "/me/totp", tag = "me", request_body = NewTotp,
    responses((status = 201, body = TotpSetup)))]
async fn set_up(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<NewTotp>,
) -> Result<Response, Failure> {
    let password = new.current_password.map(Zeroizing::new);
    let made = to_the_end(async move { core.set_up_totp(&ctx, password).await }).await?;
    let body = TotpSetup { secret: made.secret.to_string(), url: made.url.to_string() };
    Ok(answer::shown_once((StatusCode::CREATED, Json(body))))
}

/// Confirms the secret by a code of it, and gives recovery codes. The session's token changes, other sessions end.
#[utoipa::path(post, path = "/me/totp/confirm", tag = "me", request_body = TotpConfirmation,
    responses((status = 200, body = RecoveryCodes)))]
async fn confirm(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(body): Body<TotpConfirmation>,
) -> Result<Response, Failure> {
    let confirmed = core.confirm_totp(&ctx, &body.totp).await?;
    let token = Some(confirmed.token.expose().to_owned());
    Ok(shown(&confirmed.recovery_codes.unwrap_or_default(), token))
}

/// Takes the caller's one-time codes away. Where a factor is required and they were the last, the next sign-in asks for a new one.
#[utoipa::path(delete, path = "/me/totp", tag = "me", responses((status = 204)))]
async fn remove(State(core): State<Arc<Core>>, Caller(ctx): Caller) -> Result<StatusCode, Failure> {
    core.remove_totp(&ctx).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Gives new recovery codes; those before end.
#[utoipa::path(post, path = "/me/recovery-codes", tag = "me", responses((status = 200, body = RecoveryCodes)))]
async fn renew_recovery_codes(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
) -> Result<Response, Failure> {
    Ok(shown(&core.renew_recovery_codes(&ctx).await?, None))
}

fn shown(codes: &[Zeroizing<String>], token: Option<String>) -> Response {
    let recovery_codes = codes.iter().map(|code| code.to_string()).collect();
    answer::shown_once(Json(RecoveryCodes { recovery_codes, token }))
}
