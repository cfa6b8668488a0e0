//! `GET /api/v1/audit/export`: Core's audit entries of a time range, one JSON document a line.

use std::sync::Arc;

use aws_lc_rs::digest::{Context, SHA256};
use axum::body::Body;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::{IntoResponse, Response};
use axum::{BoxError, Extension};
use clm_api::audit::{AuditExportEnd, AuditExportManifest, AuditExportQuery};
use clm_core::Core;
use clm_core::audit_exports::{AuditExport, AuditExportRequest};
use futures::stream;
use serde::Serialize;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::audit::core_view;
use crate::Edge;
use crate::extract::{Caller, Query};
use crate::failure::Failure;
use crate::places::Permit;

const NDJSON: &str = "application/x-ndjson";

pub(crate) fn router() -> OpenApiRouter<Edge> {
    OpenApiRouter::new().routes(routes!(export))
}

/// Exports audit entries of Core, oldest first: an `AuditEntry` a line, and at the end an `AuditExportEnd`. An export without
/// that last line is not whole.
#[utoipa::path(get, path = "/audit/export", tag = "audit", params(AuditExportQuery),
    responses((status = 200, body = AuditExportEnd, content_type = "application/x-ndjson")))]
async fn export(
    State(core): State<Arc<Core>>,
    Caller(ctx): Caller,
    Extension(permit): Extension<Permit>,
    Query(query): Query<AuditExportQuery>,
) -> Result<Response, Failure> {
    let asked =
        AuditExportRequest { since: query.since, until: query.until, installation: query.installation };
    let export = core.begin_audit_export(&ctx, asked).await?;
    let manifest = AuditExportManifest {
        organization_id: export.organization_id(),
        since: query.since,
        until: query.until,
        exported_at: ctx.now,
        count: 0,
        first_id: None,
        last_id: None,
        sha256: String::new(),
    };
    let lines = Lines { core, export, manifest, digest: Context::new(&SHA256), _permit: permit };
    let body = Body::from_stream(stream::try_unfold(Some(lines), next_piece));
    Ok(([(CONTENT_TYPE, NDJSON)], body).into_response())
}

/// An export under way. It has its caller's place among the calls that run at once until it ends.
struct Lines {
    core: Arc<Core>,
    export: AuditExport,
    manifest: AuditExportManifest,
    digest: Context,
    _permit: Permit,
}

/// One page of lines; behind the last one, the manifest.
async fn next_piece(lines: Option<Lines>) -> Result<Option<(Vec<u8>, Option<Lines>)>, BoxError> {
    let Some(mut lines) = lines else { return Ok(None) };
    let piece = lines.page().await.inspect_err(|error| {
        // The answer has begun: the caller sees that it breaks off.
        tracing::error!(error = format!("{error:?}"), "an audit export broke off");
    })?;
    let rest = (!lines.export.has_ended()).then_some(lines);
    Ok(Some((piece, rest)))
}

impl Lines {
    async fn page(&mut self) -> Result<Vec<u8>, BoxError> {
        let mut piece = Vec::new();
        for row in self.core.next_of_audit_export(&mut self.export).await? {
            self.manifest.count += 1;
            self.manifest.first_id = self.manifest.first_id.or(Some(row.id));
            self.manifest.last_id = Some(row.id);
            write_line(&mut piece, &core_view(row))?;
        }
        self.digest.update(&piece);
        if self.export.has_ended() {
            self.manifest.sha256 = hex::encode(self.digest.clone().finish());
            write_line(&mut piece, &AuditExportEnd { manifest: self.manifest.clone() })?;
        }
        Ok(piece)
    }
}

fn write_line<T: Serialize>(to: &mut Vec<u8>, line: &T) -> Result<(), serde_json::Error> {
    serde_json::to_writer(&mut *to, line)?;
    to.push(b'\n');
    Ok(())
}
