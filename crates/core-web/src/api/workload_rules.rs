//! `/api/v1/workload-rules`, and `/api/v1/token`, where workloads exchange the tokens of their providers.

use std::net::SocketAddr;
use std::sync::Arc;

use axum::body::Bytes;
use axum::extract::{ConnectInfo, OriginalUri, State};
use axum::http::{HeaderMap, StatusCode};
use axum::response::Response;
use axum::{Extension, Json};
use clm_api::Page;
use clm_api::page::PageQuery;
use clm_api::workload_rules::{
    ExchangedToken, GRANT_TYPE, ISSUED_TOKEN_TYPE, SUBJECT_TOKEN_TYPES, TokenExchange, WorkloadRule,
    WorkloadRuleDraft,
};
use clm_core::{Core, workload_rules, workload_tokens};
use clm_types::{ErrorCode, Refusal, WorkloadRuleId};
use serde_json::{Map, Value};
use url::form_urlencoded;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::sessions::visitor;
use crate::etag::{IfMatch, OptionalIfMatch, Versioned};
use crate::extract::{Body, Caller, Id, Query};
use crate::failure::Failure;
use crate::idempotency::to_the_end;
use crate::surroundings::RequestId;
use crate::{Edge, answer, paging};

/// Parameters (RFC 8693, section 2.1) that ask for less, for another recipient, or to act for somebody else.
const RULED: [&str; 5] = ["scope", "resource", "audience", "actor_token", "actor_token_type"];

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .routes(routes!(create, list))
        .routes(routes!(show, update, delete))
        .routes(routes!(disable))
        .routes(routes!(exchange))
}

/// Makes a rule by which workloads get keys of a user of the caller's organization.
#[utoipa::path(post, path = "/workload-rules", tag = "workloads", request_body = WorkloadRuleDraft,
    responses((status = 201, body = WorkloadRule)))]
async fn create(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Body(new): Body<WorkloadRuleDraft>,
) -> Result<Response, Failure> {
    let made = core.create_workload_rule(&ctx, &draft(new)).await?;
    let location = format!("/api/v1/workload-rules/{}", made.id);
    Ok(answer::created(&location, Some(made.version), view(made)))
}

/// Lists the workload rules of the caller's organization, newest first.
#[utoipa::path(get, path = "/workload-rules", tag = "workloads", params(PageQuery),
    responses((status = 200, body = Page<WorkloadRule>)))]
async fn list(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    OriginalUri(uri): OriginalUri,
    Query(query): Query<PageQuery>,
) -> Result<Response, Failure> {
    let page = paging::request(query.limit, query.cursor.as_deref())?;
    let found = core.list_workload_rules(&ctx, page).await?;
    Ok(paging::answer(&uri, found, view))
}

/// Shows a workload rule.
#[utoipa::path(get, path = "/workload-rules/{id}", tag = "workloads", params(("id" = Uuid, Path)),
    responses((status = 200, body = WorkloadRule)))]
async fn show(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<WorkloadRuleId>,
    headers: HeaderMap,
) -> Result<Response, Failure> {
    Ok(versioned(core.show_workload_rule(&ctx, id).await?).answer(&headers))
}

/// Changes a workload rule, but for whose keys it gives. Keys that it has given end at once, unless only its name or their
/// lifetime changes.
#[utoipa::path(put, path = "/workload-rules/{id}", tag = "workloads", params(("id" = Uuid, Path)),
    request_body = WorkloadRuleDraft, responses((status = 200, body = WorkloadRule)))]
async fn update(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<WorkloadRuleId>,
    condition: IfMatch,
    Body(change): Body<WorkloadRuleDraft>,
) -> Result<Versioned<WorkloadRule>, Failure> {
    let version = condition.version(async { Ok(core.show_workload_rule(&ctx, id).await?.version) }).await?;
    Ok(versioned(core.update_workload_rule(&ctx, id, version, &draft(change)).await?))
}

/// Lets a workload rule give no more keys. Those that it has given end at once.
#[utoipa::path(post, path = "/workload-rules/{id}/disable", tag = "workloads", params(("id" = Uuid, Path)),
    responses((status = 200, body = WorkloadRule)))]
async fn disable(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<WorkloadRuleId>,
    OptionalIfMatch(condition): OptionalIfMatch,
) -> Result<Versioned<WorkloadRule>, Failure> {
    Ok(versioned(core.disable_workload_rule(&ctx, id, condition.named()).await?))
}

/// Deletes a workload rule. The keys that it has given end at once.
#[utoipa::path(delete, path = "/workload-rules/{id}", tag = "workloads", params(("id" = Uuid, Path)),
    responses((status = 204)))]
async fn delete(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Id(id): Id<WorkloadRuleId>,
    condition: IfMatch,
) -> Result<StatusCode, Failure> {
    core.delete_workload_rule(&ctx, id, condition.named()).await?;
    Ok(StatusCode::NO_CONTENT)
}

/// Exchanges a workload's token for an API key (RFC 8693). Every token that is not taken gets the same answer.
#[utoipa::path(post, path = "/token", tag = "workloads",
    request_body(content = TokenExchange, content_type = "application/x-www-form-urlencoded"),
    responses((status = 200, body = ExchangedToken)))]
async fn exchange(
    State(core): State<Arc<Core>>,
    Extension(id): Extension<RequestId>,
    peer: Option<Extension<ConnectInfo<SocketAddr>>>,
    headers: HeaderMap,
    body: Bytes,
) -> Result<Response, Failure> {
    let asked = read(&body)?;
    let visitor = visitor(&id, peer.map(|Extension(ConnectInfo(peer))| peer), &headers);
    let key = to_the_end(async move {
        core.exchange_workload_token(asked.workload_rule, &asked.subject_token, &visitor).await
    })
    .await?;
    Ok(answer::shown_once(Json(issued(&key))))
}

/// Reads the form: each parameter once (RFC 6749, section 3.2), and none that would ask for less or for something else.
fn read(body: &[u8]) -> Result<TokenExchange, Failure> {
    let of = |name: &'static str| {
        let mut values = form_urlencoded::parse(body).filter(|(key, _)| key == name);
        match (values.next(), values.next()) {
            (Some((_, value)), None) => Ok(value.into_owned()),
            _ => Err(wrong(name, "the body is a form with this parameter once")),
        }
    };
    let (grant_type, subject_token_type) = (of("grant_type")?, of("subject_token_type")?);
    if grant_type != GRANT_TYPE {
        return Err(wrong("grant_type", GRANT_TYPE));
    }
    check_asked(body)?;
    if !SUBJECT_TOKEN_TYPES.contains(&subject_token_type.as_str()) {
        return Err(wrong("subject_token_type", &SUBJECT_TOKEN_TYPES.join(" or ")));
    }
    let rule = of("workload_rule")?;
    let workload_rule = rule.parse().map_err(|_| wrong("workload_rule", "the id of the rule, a UUID"))?;
    Ok(TokenExchange { grant_type, subject_token: of("subject_token")?, subject_token_type, workload_rule })
}

/// What a key is good for stands in its rule: who asks for something else is told so, rather than given what they do not expect.
fn check_asked(body: &[u8]) -> Result<(), Failure> {
    for (name, value) in form_urlencoded::parse(body) {
        if RULED.contains(&name.as_ref()) {
            return Err(wrong(&name, "it is not asked for here, but stands in the rule"));
        }
        if name == "requested_token_type" && value != ISSUED_TOKEN_TYPE {
            return Err(wrong(&name, ISSUED_TOKEN_TYPE));
        }
    }
    Ok(())
}

fn wrong(parameter: &str, expected: &str) -> Failure {
    let detail = format!("`{parameter}`: {expected}");
    Refusal::new(ErrorCode::InvalidRequest, detail).field(format!("/{parameter}")).into()
}

fn issued(key: &workload_tokens::WorkloadKey) -> ExchangedToken {
    ExchangedToken {
        access_token: key.token.expose().to_owned(),
        issued_token_type: ISSUED_TOKEN_TYPE.to_owned(),
        token_type: "Bearer".to_owned(),
        expires_in: key.lifetime.num_seconds(),
        scope: key.scopes.join(" "),
    }
}

fn draft(draft: WorkloadRuleDraft) -> workload_rules::WorkloadRuleDraft {
    workload_rules::WorkloadRuleDraft {
        name: draft.name,
        provider: draft.provider,
        audiences: draft.audiences,
        required_claims: draft.required_claims,
        user_id: draft.user_id,
        scopes: draft.scopes,
        lifetime_seconds: draft.lifetime_seconds,
        allowed_addresses: draft.allowed_addresses,
        enabled: draft.enabled,
    }
}

fn versioned(row: workload_rules::WorkloadRule) -> Versioned<WorkloadRule> {
    Versioned { version: row.version, body: view(row) }
}

fn view(row: workload_rules::WorkloadRule) -> WorkloadRule {
    let required_claims = match row.required_claims {
        Value::Object(claims) => claims,
        _ => Map::new(),
    };
    WorkloadRule {
        id: row.id.into(),
        name: row.name,
        provider: row.provider,
        issuer: row.issuer,
        audiences: row.audiences,
        required_claims,
        user_id: row.user_id.into(),
        scopes: super::texts(&row.scopes),
        lifetime_seconds: row.lifetime_seconds,
        allowed_addresses: row.allowed_addresses,
        enabled: row.enabled,
        created_by: row.created_by.map(Into::into),
        vouched_by: row.vouched_by.into(),
        created_at: row.created_at,
        updated_at: row.updated_at,
        version: row.version,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FORM: [(&str, &str); 4] = [
        ("grant_type", GRANT_TYPE),
        ("subject_token", "a.b.c"),
        ("subject_token_type", SUBJECT_TOKEN_TYPES[0]),
        ("workload_rule", "0199f0c6-1c5e-7340-9a3b-6e1f0d2c4b58"),
    ];

    fn form(pairs: &[(&str, &str)]) -> Vec<u8> {
        form_urlencoded::Serializer::new(String::new()).extend_pairs(pairs).finish().into_bytes()
    }

    #[test]
    fn each_parameter_is_there_once_and_as_the_standard_names_it() {
        assert_eq!(read(&form(&FORM)).ok().unwrap().subject_token, "a.b.c");
        for (index, (name, _)) in FORM.into_iter().enumerate() {
            let mut without = FORM.to_vec();
            without.remove(index);
            let twice = [&FORM[..], &FORM[index..=index]].concat();
            for wrong in [without, twice] {
                let failure = read(&form(&wrong)).err().unwrap();
                assert_eq!(failure.0.field, Some(format!("/{name}")));
            }
            if name != "subject_token" {
                let mut other = FORM.to_vec();
                other[index].1 = "other";
                assert!(read(&form(&other)).is_err(), "{name}");
            }
        }
        assert!(read(b"").is_err());
    }

    #[test]
    fn what_only_the_rule_says_is_not_asked_for() {
        let with =
            |name: &'static str, value: &'static str| read(&form(&[&FORM[..], &[(name, value)]].concat()));
        for name in RULED.into_iter().chain(["requested_token_type"]) {
            let failure = with(name, "request:read").err().unwrap();
            assert_eq!(failure.0.code, ErrorCode::InvalidRequest);
            assert_eq!(failure.0.field, Some(format!("/{name}")));
        }
        assert!(with("requested_token_type", ISSUED_TOKEN_TYPE).is_ok());
        assert!(with("client_id", "ci").is_ok());
    }
}
