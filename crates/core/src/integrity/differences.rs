//! What is wrong with a certificate, judged from both sides' rows alone.

use std::collections::HashSet;

use clm_core_db::integrity::certificates::{InventoryReferenceRow, MissingRow};
use clm_types::{CertificateCategory, CertificateReference, CertificateStatus, RevocationReason, Time};
use serde_json::{Value, json};
use uuid::Uuid;

use super::{Found, GRACE};
use crate::merge::Pair;

/// One certificate on both sides.
pub(super) type Compared = Pair<InventoryReferenceRow, CertificateReference>;

/// References of Secure that lead nowhere in Core.
#[derive(Debug, Default)]
pub(super) struct MissingIds {
    users: HashSet<Uuid>,
    policies: HashSet<Uuid>,
    organizations: HashSet<Uuid>,
}

impl MissingIds {
    pub(super) fn of(row: MissingRow) -> Self {
        Self {
            users: row.users.into_iter().collect(),
            policies: row.policies.into_iter().collect(),
            organizations: row.organizations.into_iter().collect(),
        }
    }
}

/// References that lead nowhere, each with the side that holds it: for people to mend.
pub(super) fn dangling(pair: &Compared, missing: &MissingIds) -> Vec<Found> {
    let core = pair.left.as_ref();
    let secure = pair.right.as_ref();
    let checks = [
        (
            "owner_missing",
            core.is_some_and(|row| !row.owner_exists),
            secure.and_then(|row| row.owner_user_id).map(|id| missing.users.contains(&id.0)),
        ),
        (
            "policy_missing",
            core.is_some_and(|row| !row.policy_exists),
            secure.and_then(|row| row.policy_id).map(|id| missing.policies.contains(&id.0)),
        ),
        (
            "organization_missing",
            core.is_some_and(|row| !row.organization_exists),
            secure.and_then(|row| row.organization_id).map(|id| missing.organizations.contains(&id.0)),
        ),
    ];
    let found = checks.into_iter().filter_map(|(kind, in_core, in_secure)| {
        let side = match (in_core, in_secure.unwrap_or(false)) {
            (true, true) => "both",
            (true, false) => "core",
            (false, true) => "secure",
            (false, false) => return None,
        };
        Some(Found::open(kind, side))
    });
    found.collect()
}

/// What is wrong within Secure alone: nothing of it has one right answer.
pub(super) fn unsound(row: &CertificateReference) -> Vec<Found> {
    let leaf = row.category == CertificateCategory::Leaf;
    let checks = [
        ("certificate_unexplained", !row.explained),
        ("certificate_without_organization", leaf && row.organization_id.is_none()),
        ("private_key_differs", !row.key_fits),
        ("revocation_inconsistent", !row.revocation_recorded),
    ];
    let found = checks.into_iter().filter(|(_, wrong)| *wrong);
    found.map(|(kind, _)| Found::alarm(kind, "secure")).collect()
}

/// What never changes after a certificate was made, and differs: somebody wrote into one of the databases.
pub(super) fn forged(core: &InventoryReferenceRow, secure: &CertificateReference) -> Vec<Found> {
    let organization = secure.organization_id.map(Uuid::from);
    let checks = [
        ("organization_differs", organization.is_some_and(|id| id != core.organization_id)),
        ("policy_differs", secure.policy_id.map(Uuid::from) != core.policy_id),
        ("operation_differs", secure.operation_id.map(Uuid::from) != core.operation_id),
    ];
    let found = checks.into_iter().filter(|(_, wrong)| *wrong);
    found.map(|(kind, _)| Found::alarm(kind, "both")).collect()
}

/// Who says too early that a certificate has ended. Each side writes it down after the end.
pub(super) fn expired_too_early(
    core: Option<&InventoryReferenceRow>,
    secure: &CertificateReference,
    now: Time,
) -> Option<Found> {
    if secure.not_after < now + GRACE {
        return None;
    }
    let says_so = CertificateStatus::Expired;
    let side = match (core.is_some_and(|row| row.status == says_so.as_str()), secure.status == says_so) {
        (true, true) => "both",
        (true, false) => "core",
        (false, true) => "secure",
        (false, false) => return None,
    };
    Some(Found::alarm("expired_too_early", side))
}

/// Expiry follows from the dates; each side writes it down in its own time.
pub(super) fn same_status(core: CertificateStatus, secure: CertificateStatus) -> bool {
    use CertificateStatus::{Active, Expired, OnHold};
    core == secure || matches!((core, secure), (Active | OnHold, Expired) | (Expired, Active | OnHold))
}

/// Whether both sides tell the same date of and reason for a revocation or hold, or none.
pub(super) fn same_revocation(core: &InventoryReferenceRow, secure: &CertificateReference) -> bool {
    let reason = secure.revocation_reason.map(RevocationReason::as_str);
    core.revoked_at == secure.revoked_at && core.revocation_reason.as_deref() == reason
}

/// The certificates before and after this one, as Core has them.
pub(super) const fn links_in_core(row: &InventoryReferenceRow) -> (Option<Uuid>, Option<Uuid>) {
    (row.renewal_of_certificate_id, row.renewed_by_certificate_id)
}

/// The same as Secure has them.
pub(super) fn links_in_secure(row: &CertificateReference) -> (Option<Uuid>, Option<Uuid>) {
    (row.renewal_of.map(Into::into), row.renewed_by.map(Into::into))
}

/// The organization that a finding belongs to.
pub(super) fn organization_of(pair: &Compared) -> Option<Uuid> {
    let of_secure = || pair.right.as_ref().and_then(|row| row.organization_id);
    pair.left.as_ref().map(|row| row.organization_id).or_else(|| of_secure().map(Into::into))
}

/// What people are shown.
pub(super) fn both_sides(pair: &Compared) -> Value {
    let core = pair.left.as_ref().map(|row| {
        json!({"status": row.status, "organization_id": row.organization_id, "owner_user_id": row.owner_user_id,
            "policy_id": row.policy_id, "operation_id": row.operation_id, "revoked_at": row.revoked_at,
            "revocation_reason": row.revocation_reason, "renewal_of": row.renewal_of_certificate_id,
            "renewed_by": row.renewed_by_certificate_id})
    });
    json!({"core": core, "secure": pair.right})
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::{CertificateId, OrganizationId, UserId};

    fn core_row(id: u128) -> InventoryReferenceRow {
        InventoryReferenceRow {
            certificate_id: Uuid::from_u128(id),
            organization_id: Uuid::from_u128(1),
            owner_user_id: Some(Uuid::from_u128(2)),
            policy_id: None,
            operation_id: None,
            status: "active".to_owned(),
            revoked_at: None,
            revocation_reason: None,
            renewal_of_certificate_id: None,
            renewed_by_certificate_id: None,
            updated_at: chrono::DateTime::UNIX_EPOCH,
            owner_exists: true,
            policy_exists: true,
            organization_exists: true,
        }
    }

    fn secure_row(id: u128) -> CertificateReference {
        CertificateReference {
            certificate_id: CertificateId(Uuid::from_u128(id)),
            organization_id: Some(OrganizationId(Uuid::from_u128(1))),
            owner_user_id: Some(UserId(Uuid::from_u128(2))),
            policy_id: None,
            operation_id: None,
            status: CertificateStatus::Active,
            not_after: chrono::DateTime::UNIX_EPOCH + chrono::TimeDelta::days(1),
            category: CertificateCategory::Leaf,
            revoked_at: None,
            revocation_reason: None,
            renewal_of: None,
            renewed_by: None,
            explained: true,
            revocation_recorded: true,
            key_fits: true,
        }
    }

    #[test]
    fn a_reference_that_leads_nowhere_is_found_on_its_side() {
        let pair = |core, secure| Compared::new(Uuid::from_u128(9), core, secure);
        let missing = MissingIds { users: HashSet::from([Uuid::from_u128(2)]), ..MissingIds::default() };
        let deleted = InventoryReferenceRow { owner_exists: false, ..core_row(9) };
        let sides = |pair: &Compared, missing: &MissingIds| {
            let found = dangling(pair, missing);
            found.into_iter().map(|it| (it.kind, it.side)).collect::<Vec<_>>()
        };
        let good = pair(Some(core_row(9)), Some(secure_row(9)));
        assert!(sides(&good, &MissingIds::default()).is_empty());
        assert_eq!(sides(&good, &missing), [("owner_missing", "secure")]);
        let both = pair(Some(deleted.clone()), Some(secure_row(9)));
        assert_eq!(sides(&both, &missing), [("owner_missing", "both")]);
        let core = pair(Some(deleted), None);
        assert_eq!(sides(&core, &missing), [("owner_missing", "core")]);
    }

    #[test]
    fn what_is_wrong_within_secure_has_a_name_each() {
        let kinds = |row| unsound(&row).into_iter().map(|it| it.kind).collect::<Vec<_>>();
        assert!(kinds(secure_row(9)).is_empty());
        let authority = CertificateReference {
            category: CertificateCategory::Authority,
            organization_id: None,
            ..secure_row(9)
        };
        assert!(kinds(authority.clone()).is_empty());
        assert_eq!(
            kinds(CertificateReference { explained: false, ..authority }),
            ["certificate_unexplained"]
        );
        let nobodys = CertificateReference { organization_id: None, key_fits: false, ..secure_row(9) };
        assert_eq!(kinds(nobodys), ["certificate_without_organization", "private_key_differs"]);
        let untold = CertificateReference { revocation_recorded: false, ..secure_row(9) };
        assert_eq!(kinds(untold), ["revocation_inconsistent"]);
    }

    #[test]
    fn what_never_changes_must_not_differ() {
        let kinds = |core, secure| forged(&core, &secure).into_iter().map(|it| it.kind).collect::<Vec<_>>();
        assert!(kinds(core_row(9), secure_row(9)).is_empty());
        let other = Some(Uuid::from_u128(7));
        let moved =
            InventoryReferenceRow { organization_id: Uuid::from_u128(7), policy_id: other, ..core_row(9) };
        assert_eq!(kinds(moved, secure_row(9)), ["organization_differs", "policy_differs"]);
        let reordered = InventoryReferenceRow { operation_id: other, ..core_row(9) };
        assert_eq!(kinds(reordered, secure_row(9)), ["operation_differs"]);
    }

    #[test]
    fn a_certificate_past_its_end_differs_from_none_that_says_so() {
        use CertificateStatus::{Active, Expired, OnHold, Revoked};
        assert!(same_status(Active, Expired) && same_status(Expired, Active) && same_status(OnHold, Expired));
        assert!(!same_status(Active, Revoked) && !same_status(Revoked, OnHold));
        assert!(!same_status(Expired, Revoked) && !same_status(Active, OnHold));
    }

    #[test]
    fn nothing_has_ended_before_its_date() {
        let expired = CertificateReference { status: CertificateStatus::Expired, ..secure_row(9) };
        let in_core = InventoryReferenceRow { status: "expired".to_owned(), ..core_row(9) };
        let (now, end) = (chrono::DateTime::UNIX_EPOCH, expired.not_after);
        let (core, secure) = (core_row(9), secure_row(9));
        let side = |core, secure, now| expired_too_early(core, secure, now).map(|found| found.side);
        assert_eq!(side(Some(&core), &secure, now), None);
        assert_eq!(side(Some(&core), &expired, now), Some("secure"));
        assert_eq!(side(Some(&in_core), &secure, now), Some("core"));
        assert_eq!(side(Some(&in_core), &expired, now), Some("both"));
        assert_eq!(side(None, &expired, now), Some("secure"));
        assert_eq!(side(Some(&in_core), &expired, end), None);
    }

    #[test]
    fn a_revocation_has_the_same_date_and_reason_on_both_sides() {
        assert!(same_revocation(&core_row(9), &secure_row(9)));
        let secure = CertificateReference {
            revoked_at: Some(chrono::DateTime::UNIX_EPOCH),
            revocation_reason: Some(RevocationReason::Superseded),
            ..secure_row(9)
        };
        assert!(!same_revocation(&core_row(9), &secure));
        let core = InventoryReferenceRow {
            revoked_at: secure.revoked_at,
            revocation_reason: Some("superseded".to_owned()),
            ..core_row(9)
        };
        assert!(same_revocation(&core, &secure));
    }
}
