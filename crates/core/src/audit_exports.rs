//! Core's audit entries of a time range, handed out page by page: no transaction and no lock lasts longer than a page.

use chrono::TimeDelta;
use clm_core_db::audit::{self, AuditRange, AuditRow};
use clm_types::{ErrorCode, OrganizationId, Permission, Refusal, Time};
use serde_json::json;
use uuid::Uuid;

use crate::audit::AuditEntry;
use crate::page::LARGEST_PAGE;
use crate::{Core, CoreError, Ctx};

/// Longest time that one export covers: a year, and a day for those that have one more.
const LONGEST: TimeDelta = TimeDelta::days(366);

/// What somebody asks for.
#[derive(Debug, Clone, Copy)]
pub struct AuditExportRequest {
    /// From this moment.
    pub since: Time,
    /// To before this moment.
    pub until: Time,
    /// Those about the whole installation, and not those of the caller's organization.
    pub installation: bool,
}

/// An export that was allowed and written down, as far as it has been read.
#[derive(Debug)]
pub struct AuditExport {
    organization_id: Option<OrganizationId>,
    range: AuditRange,
    ended: bool,
}

impl AuditExport {
    /// Whose entries; none: those about the whole installation.
    pub const fn organization_id(&self) -> Option<OrganizationId> {
        self.organization_id
    }

    /// Whether the last page was read.
    pub const fn has_ended(&self) -> bool {
        self.ended
    }
}

impl Core {
    /// Begins an export, and writes down who asked for what.
    ///
    /// # Errors
    /// `permission_denied`; `invalid_request` for a range that is empty, too long or not past.
    pub async fn begin_audit_export(
        &self,
        ctx: &Ctx,
        asked: AuditExportRequest,
    ) -> Result<AuditExport, CoreError> {
        ctx.require(Permission::AuditRead)?;
        if asked.installation {
            ctx.require_global(Permission::AuditRead)?;
        }
        check(asked, ctx.now)?;
        let entry = AuditEntry::of(ctx, &self.entropy, "audit.export", "audit_log")
            .after(json!({"since": asked.since, "until": asked.until}));
        let entry = if asked.installation { entry.of_installation() } else { entry };
        self.in_system("begin_audit_export", |mut tx| {
            let entry = &entry;
            async move {
                audit::insert(&mut tx, entry.row()).await?;
                Ok((tx, ()))
            }
        })
        .await?;
        Ok(AuditExport {
            organization_id: (!asked.installation).then_some(ctx.organization_id),
            range: AuditRange { since: asked.since, until: asked.until, after: None },
            ended: false,
        })
    }

    /// The next page of an export, oldest first.
    pub async fn next_of_audit_export(&self, export: &mut AuditExport) -> Result<Vec<AuditRow>, CoreError> {
        let limit = i64::from(LARGEST_PAGE);
        let rows = if let Some(id) = export.organization_id {
            let mut tx = self.tenant_tx(id).await?;
            audit::export(&mut tx, id.0, &export.range, limit).await?
        } else {
            let mut tx = clm_pg::begin(&self.system).await?;
            audit::export_of_installation(&mut tx, &export.range, limit).await?
        };
        export.ended = rows.len() < LARGEST_PAGE as usize;
        export.range.after = last_id(&rows).or(export.range.after);
        Ok(rows)
    }
}

fn last_id(rows: &[AuditRow]) -> Option<Uuid> {
    rows.last().map(|row| row.id)
}

fn check(asked: AuditExportRequest, now: Time) -> Result<(), Refusal> {
    let (fault, hint) = if asked.since >= asked.until {
        ("the range ends before it begins", "give the earlier moment as `since`")
    } else if asked.until > now {
        // What is still to come would be missing, and the export would look complete.
        ("the range ends in the future", "end it at a moment that is past")
    } else if asked.until - asked.since > LONGEST {
        ("the range is longer than 366 days", "export it in several parts")
    } else {
        return Ok(());
    };
    Err(Refusal::new(ErrorCode::InvalidRequest, fault).hint(hint))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_is_past_and_a_year_at_most() {
        let now: Time = "2026-03-01T00:00:00Z".parse().unwrap();
        let asked = |days: i64, until: Time| {
            let since = until - TimeDelta::days(days);
            check(AuditExportRequest { since, until, installation: false }, now)
        };
        let moment = TimeDelta::microseconds(1);
        assert!(asked(1, now).is_ok() && asked(366, now).is_ok());
        for (days, until) in [(0, now), (-1, now - TimeDelta::days(2)), (367, now), (1, now + moment)] {
            assert_eq!(asked(days, until).unwrap_err().code, ErrorCode::InvalidRequest, "{days} {until}");
        }
    }
}
