//! `clm approvals`, `clm approve`, `clm reject`.

use clm_api::approvals::PendingApproval;
use clm_api::requests::{Decision, Request};
use uuid::Uuid;

use crate::arguments::PageArguments;
use crate::error::{CliError, ExitCode};
use crate::session::Session;
use crate::{output, requests};

pub(crate) async fn list(page: &PageArguments, session: &Session) -> Result<ExitCode, CliError> {
    let page = session.client.list("/api/v1/approvals", &(), page).await?;
    let headers = ["REQUEST", "KIND", "STEP", "REQUESTER", "CERTIFICATE", "DUE", "SINCE"];
    output::list(session.output, &page, &headers, |one: &PendingApproval| {
        vec![
            one.request_id.to_string(),
            one.kind.to_string(),
            format!("{} {}", one.step_number, one.step_name),
            one.requester_user_id.to_string(),
            output::maybe(one.certificate_id.as_ref()),
            output::maybe_time(one.due_at),
            output::time(one.created_at),
        ]
    });
    Ok(ExitCode::Done)
}

/// Decides on each request in turn; stops at the first refusal.
pub(crate) async fn decide(
    verb: &str,
    ids: &[Uuid],
    comment: Option<String>,
    session: &Session,
) -> Result<ExitCode, CliError> {
    let decision = Decision { comment };
    for id in ids {
        let path = format!("/api/v1/requests/{id}/{verb}");
        let reply = session.client.post::<_, Request>(&path, &decision, None).await?;
        requests::print(&reply.body, session);
    }
    Ok(ExitCode::Done)
}
