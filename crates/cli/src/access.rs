//! `clm can`: whether somebody may do something, and why.

use clap::Args;
use clm_api::me::Me;
use clm_api::users::{Access, AccessQuery};
use uuid::Uuid;

use crate::error::{CliError, ExitCode};
use crate::output;
use crate::session::Session;

/// Say whether a user may do something, and why
#[derive(Args)]
#[command(
    after_help = "Examples:\n  clm can me request:create\n  clm can 0199f0c3-7d59-7014-a6e2-3f8b9a0d1e45 request:approve 0199f0c0-5a2e-7c31-9d04-1f6b8a3e2c70\n\nEnds with 0 for yes, 1 for no."
)]
pub(crate) struct Can {
    /// The user: an id, or `me`
    user: String,
    /// What, `noun:verb`
    permission: String,
    /// On which request or certificate
    object: Option<Uuid>,
}

pub(crate) async fn run(can: Can, session: &Session) -> Result<ExitCode, CliError> {
    let user = match can.user.as_str() {
        "me" => {
            let me: Me = session.client.get("/api/v1/me").await?.body;
            me.user_id.ok_or_else(|| CliError::Usage("you are no user".to_owned()))?.into()
        }
        text => Uuid::parse_str(text)
            .map_err(|_| CliError::Usage(format!("`{text}` is no id of a user; see `clm user list`")))?,
    };
    let query = AccessQuery { permission: can.permission, object: can.object };
    let access: Access = session.client.find(&format!("/api/v1/users/{user}/access"), &query).await?;
    let mut fields = vec![("", if access.allowed { "yes" } else { "no" }.to_owned())];
    let mark = |holds: bool| if holds { "+" } else { "-" };
    fields.extend(access.reasons.iter().map(|one| (mark(one.holds), one.text.clone())));
    output::object(session.output, &access, fields);
    Ok(if access.allowed { ExitCode::Done } else { ExitCode::Refused })
}
