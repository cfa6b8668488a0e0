//! `/problems` and `/problems/{code}`: what each error code means.

use axum::Json;
use axum::extract::Path;
use clm_types::ErrorCode;
use serde::Serialize;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::Edge;
use crate::failure::Failure;
use crate::problem_kinds::problem_kind;

/// One kind of problem.
#[derive(Debug, Serialize, ToSchema)]
pub(crate) struct ProblemPage {
    /// Stable code.
    code: String,
    /// The HTTP status.
    status: u16,
    /// What happened.
    title: String,
    /// How to mend it.
    fix: String,
    /// Whether the very same request may succeed later.
    retryable: bool,
}

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(list)).routes(routes!(show))
}

/// Lists every kind of problem.
#[utoipa::path(get, path = "/problems", tag = "problems", responses((status = 200, body = [ProblemPage])))]
async fn list() -> Json<Vec<ProblemPage>> {
    Json(ErrorCode::ALL.iter().copied().map(page).collect())
}

/// Explains one kind of problem.
#[utoipa::path(
    get,
    path = "/problems/{code}",
    tag = "problems",
    params(("code" = String, Path, description = "Stable code")),
    responses((status = 200, body = ProblemPage))
)]
async fn show(Path(code): Path<String>) -> Result<Json<ProblemPage>, Failure> {
    let code = code.parse::<ErrorCode>();
    let code = code.map_err(|_| Failure::new(ErrorCode::NotFound, "there is no such kind of problem"))?;
    Ok(Json(page(code)))
}

fn page(code: ErrorCode) -> ProblemPage {
    let kind = problem_kind(code);
    ProblemPage {
        code: code.to_string(),
        status: kind.status.as_u16(),
        title: kind.title.to_owned(),
        fix: kind.fix.to_owned(),
        retryable: code.is_retryable(),
    }
}
