//! The inventory: found, shown, downloaded, noted on.

use std::collections::BTreeMap;
use std::sync::Arc;

use clm_core_db::audit;
use clm_core_db::certificates::{self, CertificateFilter, CertificateRow, MetadataChangeRow};
use clm_core_db::{jobs, tenancy};
use clm_types::{
    AuthorityId, CertificateId, CertificateStatus, Change, ErrorCode, IssuedCertificate, OperationId,
    OrganizationId, Permission, PolicyId, Refusal, RequestId, SerialNumber, Time, UserId,
};
use clm_x509::San;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::audit::AuditEntry;
use crate::error::has_changed;
use crate::organizations::{find_organization, organization_not_found};
use crate::page::{Page, PageRequest};
use crate::request_context::{Labels, check_comment};
use crate::request_view::stored;
use crate::{Core, CoreError, Ctx};

/// The category of certificates that are given none.
const USUAL_CATEGORY: &str = "leaf";
/// Longest text that is searched for.
const LONGEST_SEARCH: usize = 300;

/// A certificate of the inventory.
#[derive(Debug, Clone, PartialEq)]
pub struct Certificate {
    /// Its identity.
    pub id: CertificateId,
    /// Whose.
    pub organization_id: OrganizationId,
    /// Who answers for it; none when unknown.
    pub owner_user_id: Option<UserId>,
    /// The owner's username; `unknown owner` when the reference leads nowhere.
    pub owner: Option<String>,
    /// The request it came of.
    pub request_id: Option<RequestId>,
    /// The operation that made it.
    pub operation_id: Option<OperationId>,
    /// The policy that governed it.
    pub policy_id: Option<PolicyId>,
    /// That policy's version.
    pub policy_version: Option<i32>,
    /// Who signed it.
    pub authority_id: Option<AuthorityId>,
    /// Profile name.
    pub profile: String,
    /// Tags, environment, category, custom fields.
    pub labels: Labels,
    /// Lower-case hexadecimal.
    pub serial_number: String,
    /// SHA-256 of the DER, lower-case hexadecimal.
    pub fingerprint_sha256: String,
    /// RFC 4514.
    pub subject: String,
    /// RFC 4514.
    pub issuer: String,
    /// First common name of the subject.
    pub common_name: Option<String>,
    /// Typed texts.
    pub sans: Vec<String>,
    /// Algorithm of its key.
    pub key_algorithm: String,
    /// `csr`, `generated`, `reused`.
    pub key_source: Option<String>,
    /// Start of validity.
    pub not_before: Time,
    /// End of validity, inclusive.
    pub not_after: Time,
    /// State.
    pub status: CertificateStatus,
    /// When it was revoked or put on hold.
    pub revoked_at: Option<Time>,
    /// Why.
    pub revocation_reason: Option<String>,
    /// The certificate it replaces.
    pub renewal_of: Option<CertificateId>,
    /// The certificate that replaces it.
    pub renewed_by: Option<CertificateId>,
    /// What its owners wrote.
    pub notes: Option<String>,
    /// When it came into the inventory.
    pub created_at: Time,
    /// When its metadata last changed.
    pub updated_at: Time,
    /// Counts the changes of its metadata; the ETag.
    pub version: i64,
}

/// Which certificates to list; what is none does not matter.
#[derive(Debug, Clone, Default)]
pub struct CertificateQuery {
    /// Whose.
    pub whose: Whose,
    /// Only in this state.
    pub status: Option<CertificateStatus>,
    /// Only of this owner.
    pub owner: Option<UserId>,
    /// Only of this authority.
    pub authority: Option<AuthorityId>,
    /// Only those that end before this moment.
    pub expires_before: Option<Time>,
    /// Only those that end at this moment or after.
    pub expires_after: Option<Time>,
    /// Only those with this name, typed or as a plain DNS name.
    pub san: Option<String>,
    /// Only those with this tag: `name` or `name=value`.
    pub tag: Option<String>,
    /// Only those whose common name or serial number begins so.
    pub text: Option<String>,
}

/// Whose certificates to list.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Whose {
    /// The caller's organization's.
    #[default]
    Own,
    /// This organization's.
    Organization(OrganizationId),
    /// Every organization's.
    All,
}

/// What is printed on a certificate.
#[derive(Debug, Clone)]
pub enum CertificateLookup {
    /// SHA-256 of the DER, hexadecimal, with or without colons.
    Fingerprint(String),
    /// Serial number, hexadecimal, with or without colons, and who signed it.
    Serial(String, Option<AuthorityId>),
}

/// New metadata. Without a value, tags and custom fields are empty, and the category is the usual one.
#[derive(Debug, Clone, Default, Serialize)]
pub struct CertificateChange {
    /// The new owner.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub owner_user_id: Change<UserId>,
    /// All tags.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub tags: Change<BTreeMap<String, String>>,
    /// Where it is used.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub environment: Change<String>,
    /// The organization's own category.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub category: Change<String>,
    /// All custom fields.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub custom_fields: Change<Map<String, Value>>,
    /// Notes.
    #[serde(skip_serializing_if = "Change::is_keep")]
    pub notes: Change<String>,
}

impl Certificate {
    /// Reads what is stored; whether a certificate is expired is in its dates, whatever is written down.
    pub(crate) fn read(row: CertificateRow, now: Time) -> Result<Self, CoreError> {
        let reason = row.revocation_reason.as_deref().map(stored).transpose()?;
        let status = stored::<CertificateStatus>(&row.status)?.at(now, row.not_after, reason);
        let unreadable = |error| CoreError::defect_of("stored labels cannot be read", error);
        let owner =
            row.owner_user_id.map(|_| row.owner_username.unwrap_or_else(|| "unknown owner".to_owned()));
        Ok(Self {
            id: row.certificate_id.into(),
            organization_id: row.organization_id.into(),
            owner_user_id: row.owner_user_id.map(Into::into),
            owner,
            request_id: row.request_id.map(Into::into),
            operation_id: row.operation_id.map(Into::into),
            policy_id: row.policy_id.map(Into::into),
            policy_version: row.policy_version,
            authority_id: row.authority_id.map(Into::into),
            profile: row.profile,
            labels: Labels {
                tags: read_tags(&row.tags),
                environment: row.environment,
                category: Some(row.category),
                custom_fields: Map::deserialize(row.custom_fields).map_err(unreadable)?,
            },
            serial_number: row.serial_number,
            fingerprint_sha256: hex::encode(&row.fingerprint_sha256),
            subject: row.subject,
            issuer: row.issuer,
            common_name: row.common_name,
            sans: row.sans,
            key_algorithm: row.key_algorithm,
            key_source: row.key_source,
            not_before: row.not_before,
            not_after: row.not_after,
            status,
            revoked_at: row.revoked_at,
            revocation_reason: row.revocation_reason,
            renewal_of: row.renewal_of_certificate_id.map(Into::into),
            renewed_by: row.renewed_by_certificate_id.map(Into::into),
            notes: row.notes,
            created_at: row.created_at,
            updated_at: row.updated_at,
            version: row.version,
        })
    }
}

/// Tags written by hand may have values that are no strings: they are shown as JSON.
fn read_tags(tags: &Value) -> BTreeMap<String, String> {
    let pairs = tags.as_object().into_iter().flatten();
    pairs
        .map(|(name, value)| {
            let text = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
            (name.clone(), text)
        })
        .collect()
}

impl Core {
    /// A page of certificates, newest first: the organization's, or with a role for all organizations another one's or
    /// everybody's.
    ///
    /// # Errors
    /// `permission_denied`, `organization_not_found`, `invalid_request`, `name_invalid`.
    pub async fn list_certificates(
        &self,
        ctx: &Ctx,
        query: &CertificateQuery,
        page: PageRequest,
    ) -> Result<Page<Certificate>, CoreError> {
        ctx.require(Permission::CertificateRead)?;
        let filter = CertificateFilter {
            now: ctx.now,
            before: page.before,
            limit: page.fetch_limit(),
            ..query.filter()?
        };
        let rows = if let Some(organization_id) = self.reach(ctx, query.whose).await? {
            let mut tx = self.search_tx(organization_id).await?;
            certificates::list(&mut tx, &filter).await?
        } else {
            let mut tx = clm_pg::begin(&self.system).await?;
            tenancy::search_everywhere(&mut tx).await?;
            certificates::list_everywhere(&mut tx, &filter).await?
        };
        let rows = Page::cut(rows, page, |row| row.id);
        let items = rows.items.into_iter().map(|row| Certificate::read(row, ctx.now));
        Ok(Page { items: items.collect::<Result<_, _>>()?, next: rows.next })
    }

    /// The organization to list, none for all of them, once the caller is known to be allowed: from here on nothing
    /// but the connection keeps organizations apart.
    async fn reach(&self, ctx: &Ctx, whose: Whose) -> Result<Option<OrganizationId>, CoreError> {
        let everywhere = ctx.require_global(Permission::CertificateRead);
        match whose {
            Whose::Own => Ok(Some(ctx.organization_id)),
            Whose::Organization(id) if id == ctx.organization_id => Ok(Some(id)),
            // Whoever may not see an organization does not learn whether there is one.
            Whose::Organization(id) if everywhere.is_err() => Err(organization_not_found(id).into()),
            Whose::Organization(id) => {
                let mut tx = clm_pg::begin(&self.system).await?;
                find_organization(&mut tx, id).await?;
                Ok(Some(id))
            }
            Whose::All => Ok(everywhere.map(|()| None)?),
        }
    }

    /// One certificate of the inventory.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`.
    pub async fn show_certificate(&self, ctx: &Ctx, id: CertificateId) -> Result<Certificate, CoreError> {
        ctx.require(Permission::CertificateRead)?;
        self.find_certificate(ctx, id).await
    }

    /// The certificate with this fingerprint or serial number.
    ///
    /// # Errors
    /// `permission_denied`, `invalid_request`, `certificate_not_found`.
    pub async fn look_up_certificate(
        &self,
        ctx: &Ctx,
        lookup: &CertificateLookup,
    ) -> Result<Certificate, CoreError> {
        ctx.require(Permission::CertificateRead)?;
        let filter = lookup.filter()?;
        let mut tx = self.search_tx(ctx.organization_id).await?;
        let row = certificates::list(&mut tx, &filter).await?.into_iter().next();
        Certificate::read(row.ok_or_else(certificate_not_found)?, ctx.now)
    }

    /// A certificate of the organization with its chain; from memory, once it was fetched: it is public and never changes.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `unavailable`.
    pub async fn download_certificate(
        &self,
        ctx: &Ctx,
        id: CertificateId,
    ) -> Result<Arc<IssuedCertificate>, CoreError> {
        self.show_certificate(ctx, id).await?;
        if let Some(known) = self.downloads.get(&id) {
            return Ok(known);
        }
        let found = self.secure.find_certificate(id).await?;
        let issued = Arc::new(found.ok_or_else(|| {
            // The inventory has it and Secure has not: for the integrity job, not for the caller.
            tracing::error!(certificate_id = %id, "a certificate of the inventory is missing in Secure");
            certificate_not_found()
        })?);
        self.downloads.insert(id, Arc::clone(&issued));
        Ok(issued)
    }

    /// Changes metadata that is still at `version`.
    ///
    /// # Errors
    /// `permission_denied`, `certificate_not_found`, `precondition_failed`, `user_not_found`,
    /// `user_not_active`, `invalid_request`.
    pub async fn update_certificate(
        &self,
        ctx: &Ctx,
        id: CertificateId,
        version: i64,
        change: CertificateChange,
    ) -> Result<Certificate, CoreError> {
        ctx.require(Permission::CertificateUpdate)?;
        change.check()?;
        let asked_owner = change.owner_user_id.value().copied();
        if let Some(owner) = asked_owner {
            self.check_owner(ctx, owner).await?;
        }
        let (row, noted_change) = (&change.row(), &json!(change));
        let operation_id = ctx.operation_id(&self.entropy);
        let tells_secure = self.in_tenant(ctx.organization_id, "update_certificate", |mut tx| async move {
            let before = certificates::find(&mut tx, id.into()).await?.ok_or_else(certificate_not_found)?;
            certificates::update_metadata(&mut tx, id.into(), version, row, ctx.now)
                .await
                .map_err(has_changed)?;
            let entry = AuditEntry::of(ctx, &self.entropy, "certificate.update", "certificate")
                .object(id)
                .before(noted(&before))
                .after(noted_change.clone());
            let new_owner = asked_owner.filter(|new| before.owner_user_id != Some(new.0));
            let Some(to) = new_owner else {
                audit::insert(&mut tx, entry.row()).await?;
                return Ok((tx, false));
            };
            audit::insert(&mut tx, entry.operation(operation_id).row()).await?;
            let job = self.owner_job(ctx, id, to, version + 1);
            jobs::insert(&mut tx, &job, operation_id.into(), ctx.organization_id.into(), ctx.now).await?;
            Ok((tx, true))
        });
        if tells_secure.await? {
            fail::fail_point!("core_owner_after_commit");
            self.worker.wake.notify_one();
        }
        self.find_certificate(ctx, id).await
    }
}

impl CertificateQuery {
    pub(crate) fn filter(&self) -> Result<CertificateFilter, Refusal> {
        for text in [&self.san, &self.tag, &self.text].into_iter().flatten() {
            if text.len() > LONGEST_SEARCH || text.contains('\0') {
                return Err(Refusal::new(
                    ErrorCode::InvalidRequest,
                    format!("a search takes {LONGEST_SEARCH} octets at most, and no NUL"),
                ));
            }
        }
        let (tags, tag_name) = match self.tag.as_deref().map(|tag| (tag, tag.split_once('='))) {
            Some((_, Some((name, value)))) => (Some(json!({ name: value })), None),
            Some((name, None)) => (None, Some(name.to_owned())),
            None => (None, None),
        };
        let san = match &self.san {
            Some(text) => Some(text.parse::<San>()?.to_string()),
            None => None,
        };
        Ok(CertificateFilter {
            status: self.status.map(CertificateStatus::as_str),
            owner_user_id: self.owner.map(Into::into),
            authority_id: self.authority.map(Into::into),
            expires_before: self.expires_before,
            expires_after: self.expires_after,
            san,
            tags,
            tag_name,
            prefix: self.text.clone(),
            ..CertificateFilter::default()
        })
    }
}

impl CertificateLookup {
    fn filter(&self) -> Result<CertificateFilter, Refusal> {
        let one = CertificateFilter { limit: 1, ..CertificateFilter::default() };
        match self {
            Self::Fingerprint(text) => {
                let digits: String = text.chars().filter(|c| !matches!(c, ':' | ' ')).collect();
                let octets = hex::decode(digits).ok().filter(|octets| octets.len() == 32);
                let octets = octets.ok_or_else(|| {
                    Refusal::new(ErrorCode::InvalidRequest, "a SHA-256 fingerprint is 64 hexadecimal digits")
                        .field("/sha256")
                })?;
                Ok(CertificateFilter { fingerprint_sha256: Some(octets), ..one })
            }
            Self::Serial(text, authority) => {
                let serial: SerialNumber =
                    text.parse().map_err(|error: clm_types::serial::InvalidSerial| {
                        Refusal::new(ErrorCode::InvalidRequest, error.to_string()).field("/serial")
                    })?;
                Ok(CertificateFilter {
                    serial_number: Some(serial.to_string()),
                    authority_id: authority.map(Into::into),
                    ..one
                })
            }
        }
    }
}

impl CertificateChange {
    fn check(&self) -> Result<(), Refusal> {
        if self.owner_user_id == Change::Clear {
            return Err(Refusal::new(ErrorCode::InvalidRequest, "somebody must answer for a certificate")
                .hint("name the new owner")
                .field("/owner_user_id"));
        }
        let labels = Labels {
            tags: self.tags.value().cloned().unwrap_or_default(),
            environment: self.environment.value().cloned(),
            category: self.category.value().cloned(),
            custom_fields: self.custom_fields.value().cloned().unwrap_or_default(),
        };
        labels.check()?;
        check_comment("/notes", self.notes.value().map(String::as_str))
    }

    fn row(&self) -> MetadataChangeRow {
        MetadataChangeRow {
            owner_user_id: self.owner_user_id.clone().map(Into::into),
            tags: self.tags.clone().or_empty(BTreeMap::new()).map(|tags| json!(tags)),
            environment: self.environment.clone(),
            category: self.category.clone().or_empty(USUAL_CATEGORY.to_owned()),
            custom_fields: self.custom_fields.clone().or_empty(Map::new()).map(Value::Object),
            notes: self.notes.clone(),
        }
    }
}

fn noted(row: &CertificateRow) -> Value {
    json!({
        "owner_user_id": row.owner_user_id, "tags": row.tags, "environment": row.environment, "category": row.category,
        "custom_fields": row.custom_fields, "notes": row.notes,
    })
}

/// `certificate_not_found`: also for certificates of other organizations.
pub(crate) fn certificate_not_found() -> Refusal {
    Refusal::new(ErrorCode::CertificateNotFound, "there is no such certificate")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_tag_is_searched_by_name_or_by_name_and_value() {
        let query = |tag: &str| CertificateQuery { tag: Some(tag.to_owned()), ..CertificateQuery::default() };
        let both = query("team=web=1").filter().unwrap();
        assert_eq!(both.tags, Some(json!({"team": "web=1"})));
        assert_eq!(both.tag_name, None);
        let name = query("team").filter().unwrap();
        assert_eq!((name.tags, name.tag_name.as_deref()), (None, Some("team")));
        assert!(query("a\0b").filter().is_err());
    }

    #[test]
    fn a_plain_name_is_searched_as_a_dns_name() {
        let query =
            CertificateQuery { san: Some("www.example.com".to_owned()), ..CertificateQuery::default() };
        assert_eq!(query.filter().unwrap().san.as_deref(), Some("dns:www.example.com"));
    }

    #[test]
    fn fingerprints_and_serials_are_read_with_and_without_colons() {
        let colons = vec!["ab"; 32].join(":");
        let found = CertificateLookup::Fingerprint(colons).filter().unwrap();
        assert_eq!(found.fingerprint_sha256, Some(vec![0xab; 32]));
        assert!(CertificateLookup::Fingerprint("ab".to_owned()).filter().is_err());
        let serial = CertificateLookup::Serial("00:AB:cd".to_owned(), None);
        assert_eq!(serial.filter().unwrap().serial_number.as_deref(), Some("abcd"));
        assert!(CertificateLookup::Serial("xyz".to_owned(), None).filter().is_err());
    }
}
