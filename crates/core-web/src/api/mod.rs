//! `/api/v1`: one file per noun.

mod api_keys;
mod approvals;
mod audit;
mod audit_exports;
mod authorities;
mod bootstrap;
mod certificate_view;
mod certificates;
mod groups;
mod identity_providers;
mod integrity;
mod keys;
mod mass_revocations;
mod me;
mod memberships;
mod notifications;
mod organizations;
mod passkeys;
mod password_resets;
mod policies;
mod request_view;
mod requests;
mod role_assignments;
mod roles;
mod second_factors;
mod sessions;
mod users;
mod workflows;
mod workload_rules;

use utoipa_axum::router::OpenApiRouter;

use crate::Edge;

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new()
        .merge(bootstrap::router())
        .merge(me::router())
        .merge(memberships::router())
        .merge(requests::router())
        .merge(approvals::router())
        .merge(certificates::router())
        .merge(mass_revocations::router())
        .merge(keys::router())
        .merge(authorities::router())
        .merge(policies::router())
        .merge(workflows::router())
        .merge(workload_rules::router())
        .merge(organizations::router())
        .merge(users::router())
        .merge(sessions::router())
        .merge(second_factors::router())
        .merge(passkeys::router())
        .merge(password_resets::router())
        .merge(identity_providers::router())
        .merge(roles::router())
        .merge(role_assignments::router())
        .merge(groups::router())
        .merge(api_keys::router())
        .merge(notifications::router())
        .merge(audit::router())
        .merge(audit_exports::router())
        .merge(integrity::router())
}

/// The texts of a stored array.
fn texts(array: &serde_json::Value) -> Vec<String> {
    let items = array.as_array().into_iter().flatten();
    items.filter_map(|item| item.as_str().map(str::to_owned)).collect()
}
