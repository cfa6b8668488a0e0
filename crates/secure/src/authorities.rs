//! The authorities of this installation, ready to sign.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use base64::{Engine, engine::general_purpose::STANDARD};
use chrono::TimeDelta;
use clm_secure_db::authorities::AuthorityRow;
use clm_secure_db::private_keys;
use clm_types::{
    AuthorityId, AuthorityRecord, CertificateId, ErrorCode, KeyAlgorithm, Refusal, SerialNumber, Time,
};
use clm_x509::algorithm::ToBeSigned;
use clm_x509::{AuthorityUrls, Certificate, IssuerInfo};
use serde_json::json;
use tokio::sync::OnceCell;

use crate::audit::{Actor, AuditDraft, Outcome};
use crate::committer::Write;
use crate::envelope::Envelope;
use crate::signing_keys::SigningKey;
use crate::{Secure, SecureError};

/// How old the list may be: a suspension by another process takes effect within this.
const FRESH: TimeDelta = TimeDelta::seconds(2);

/// An authority with what signing by it needs.
pub(crate) struct Authority {
    pub(crate) row: AuthorityRow,
    pub(crate) envelope: Envelope,
    pub(crate) certificate: Certificate,
    pub(crate) issuer: IssuerInfo,
    pub(crate) urls: AuthorityUrls,
    key: Arc<OnceCell<SigningKey>>,
}

impl Authority {
    fn new(row: AuthorityRow, key: Arc<OnceCell<SigningKey>>) -> Result<Self, SecureError> {
        let damaged = |what: &str| SecureError::Damaged(format!("{what} of authority {}", row.id));
        let envelope = serde_json::from_value(row.envelope.clone()).map_err(|_| damaged("the envelope"))?;
        let certificate =
            Certificate::parse(&row.der_encoded_cert).map_err(|_| damaged("the certificate"))?;
        let issuer = IssuerInfo::from_certificate(&certificate)?;
        let urls = AuthorityUrls {
            ocsp: Some(row.ocsp_url.clone()),
            issuer_certificate: Some(row.issuer_url.clone()),
            crl: Some(row.crl_url.clone()),
        };
        Ok(Self { row, envelope, certificate, issuer, urls, key })
    }

    pub(crate) fn id(&self) -> AuthorityId {
        self.row.id.into()
    }

    /// Where the full list of a scope is: what certificates of that shard name as their distribution point.
    pub(crate) fn crl_url(&self, shard: i16) -> String {
        let all = &self.row.crl_url;
        if shard == 0 { all.clone() } else { format!("{}/{shard}.crl", all.trim_end_matches(".crl")) }
    }

    /// Where the delta to the full list of a scope is.
    pub(crate) fn delta_crl_url(&self, shard: i16) -> String {
        format!("{}/{shard}-delta.crl", self.row.crl_url.trim_end_matches(".crl"))
    }

    /// The shard of a certificate with this serial number, if it is issued now.
    pub(crate) fn shard_for(&self, serial: &SerialNumber) -> i16 {
        let last =
            serial.as_bytes().iter().rev().take(4).fold(0_u32, |sum, octet| sum << 8 | u32::from(*octet));
        let shard = last.checked_rem(self.envelope.crl_shards.into()).map_or(0, |rest| rest + 1);
        i16::try_from(shard).unwrap_or_default()
    }

    /// The shard whose distribution point these to-be-signed octets of a certificate name; 0 for that of all certificates.
    pub(crate) fn shard_of(&self, tbs_der: &[u8]) -> i16 {
        let read = |url: &str| {
            let shard = url.strip_prefix(self.row.crl_url.trim_end_matches(".crl"))?.strip_prefix('/')?;
            shard.strip_suffix(".crl")?.parse().ok()
        };
        clm_x509::certificate::crl_url_of_tbs(tbs_der).and_then(|url| read(&url)).unwrap_or_default()
    }

    /// The addresses in a certificate of a shard.
    pub(crate) fn urls_in(&self, shard: i16) -> AuthorityUrls {
        AuthorityUrls { crl: Some(self.crl_url(shard)), ..self.urls.clone() }
    }

    /// Refuses unless it may sign certificates now.
    pub(crate) fn require_active(&self) -> Result<(), Refusal> {
        if ["revoked", "on_hold"].contains(&self.row.certificate_status.as_str()) {
            let detail = format!("the certificate of the authority `{}` is revoked", self.row.name);
            return Err(Refusal::new(ErrorCode::AuthoritySuspended, detail).hint("ask for another authority"));
        }
        if self.row.status == "active" {
            return Ok(());
        }
        let detail = format!("the authority `{}` is {}", self.row.name, self.row.status);
        Err(Refusal::new(ErrorCode::AuthoritySuspended, detail)
            .hint("ask for another authority, or have it reactivated"))
    }

    fn record(&self) -> Result<AuthorityRecord, SecureError> {
        let row = &self.row;
        let damaged = |_| SecureError::Damaged(format!("the key algorithm of authority {}", row.id));
        Ok(AuthorityRecord {
            authority_id: self.id(),
            name: row.name.clone(),
            parent_id: row.parent_authority_id.map(Into::into),
            status: row.status.clone(),
            subject: row.subject.clone(),
            key_algorithm: row.key_algorithm.parse::<KeyAlgorithm>().map_err(damaged)?,
            certificate: STANDARD.encode(&row.der_encoded_cert),
            certificate_id: CertificateId(row.certificate_id),
            not_before: row.not_before,
            not_after: row.not_after,
            profiles: self.envelope.profiles.clone(),
            max_validity_seconds: self.envelope.max_validity_seconds,
            successor_id: row.successor_authority_id.map(Into::into),
            crl_number: row.crl_number,
            next_crl_at: row.next_crl_at,
            crl_shards: self.envelope.crl_shards,
            delta_crls: self.envelope.delta_crls,
        })
    }
}

/// The authorities as they were read last.
#[derive(Default)]
pub(crate) struct AuthorityStore {
    read: RwLock<Snapshot>,
}

#[derive(Default, Clone)]
struct Snapshot {
    at: Option<Time>,
    by_id: Arc<HashMap<AuthorityId, Arc<Authority>>>,
}

impl AuthorityStore {
    fn snapshot(&self) -> Snapshot {
        self.read.read().unwrap_or_else(std::sync::PoisonError::into_inner).clone()
    }

    fn replace(&self, snapshot: Snapshot) {
        *self.read.write().unwrap_or_else(std::sync::PoisonError::into_inner) = snapshot;
    }

    /// The next look reads the database.
    pub(crate) fn forget(&self) {
        let by_id = self.snapshot().by_id;
        self.replace(Snapshot { at: None, by_id });
    }
}

impl Secure {
    /// The authority with this id.
    ///
    /// # Errors
    /// `authority_not_found`, or the database fails.
    pub(crate) async fn authority(&self, id: AuthorityId) -> Result<Arc<Authority>, SecureError> {
        let authorities = self.authorities().await?;
        let found = authorities.get(&id).cloned();
        found.ok_or_else(|| Refusal::new(ErrorCode::AuthorityNotFound, "there is no such authority").into())
    }

    /// All authorities, as they were read last.
    pub(crate) async fn authorities(&self) -> Result<Arc<HashMap<AuthorityId, Arc<Authority>>>, SecureError> {
        let known = self.parts.authorities.snapshot();
        let now = self.parts.clock.now();
        if known.at.is_some_and(|at| now - at < FRESH) {
            return Ok(known.by_id);
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let rows = clm_secure_db::authorities::list(&mut conn).await?;
        let mut by_id = HashMap::new();
        for row in rows {
            let id = AuthorityId(row.id);
            // An opened key stays open.
            let same = known.by_id.get(&id).filter(|old| old.row.private_key_id == row.private_key_id);
            let key = same.map_or_else(Arc::default, |old| Arc::clone(&old.key));
            match Authority::new(row, key) {
                Ok(authority) => drop(by_id.insert(id, Arc::new(authority))),
                // The others go on.
                Err(error) => {
                    tracing::error!(%id, error = &error as &dyn std::error::Error, "an authority cannot be used");
                }
            }
        }
        let by_id = Arc::new(by_id);
        self.parts.authorities.replace(Snapshot { at: Some(now), by_id: Arc::clone(&by_id) });
        Ok(by_id)
    }

    /// The authority with this name.
    ///
    /// # Errors
    /// `authority_not_found`, or the database fails.
    pub(crate) async fn authority_named(&self, name: &str) -> Result<Arc<Authority>, SecureError> {
        self.parts.authorities.forget();
        let authorities = self.authorities().await?;
        let found = authorities.values().find(|authority| authority.row.name == name).cloned();
        found.ok_or_else(|| {
            let detail = format!("there is no authority `{name}`");
            Refusal::new(ErrorCode::AuthorityNotFound, detail)
                .hint("`clm-secure authority list` shows their names")
                .into()
        })
    }

    /// Every authority, roots first.
    ///
    /// # Errors
    /// When the database fails.
    pub async fn list_authorities(&self) -> Result<Vec<AuthorityRecord>, SecureError> {
        let authorities = self.authorities().await?;
        let mut records: Vec<_> = authorities.values().map(|a| a.record()).collect::<Result<_, _>>()?;
        records.sort_by_key(|record| record.authority_id);
        Ok(records)
    }

    /// Refuses unless the authority's key can be used now.
    pub(crate) async fn require_key(&self, authority: &Authority) -> Result<(), SecureError> {
        authority.key.get_or_try_init(|| self.open_authority_key(authority)).await.map(|_| ())
    }

    /// Signs `message` with the authority's key.
    pub(crate) async fn sign_by(
        &self,
        authority: &Authority,
        message: &[u8],
    ) -> Result<Vec<u8>, SecureError> {
        let key = authority.key.get_or_try_init(|| self.open_authority_key(authority)).await?;
        key.sign(message).await
    }

    /// Signs what was taken in piece by piece with the authority's key.
    pub(crate) async fn sign_content_by(
        &self,
        authority: &Authority,
        content: &ToBeSigned,
    ) -> Result<Vec<u8>, SecureError> {
        let key = authority.key.get_or_try_init(|| self.open_authority_key(authority)).await?;
        key.sign_content(content).await
    }

    async fn open_authority_key(&self, authority: &Authority) -> Result<SigningKey, SecureError> {
        let locked = || {
            let detail = format!("the key of `{}` is not available", authority.row.name);
            Refusal::new(ErrorCode::AuthorityLocked, detail)
        };
        let id = authority.row.private_key_id.ok_or_else(locked)?;
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let wrapped = private_keys::find_by_id(&mut conn, id).await?;
        let in_token = private_keys::find_in_token(&mut conn, id).await?;
        drop(conn);
        let key = match (wrapped, in_token) {
            (Some(row), _) => SigningKey::Software(self.unwrap_private_key(&row).await?),
            (None, Some(row)) => {
                SigningKey::Token(self.open_token_pair(&row, authority.issuer.public_key()).await?)
            }
            (None, None) => return Err(locked().into()),
        };
        if key.public() != authority.issuer.public_key() {
            return Err(SecureError::Damaged(format!("the key of authority {}", authority.row.id)));
        }
        let entry = AuditDraft {
            occurred_at: self.parts.clock.now(),
            actor: Actor::Secure,
            organization_id: None,
            operation_id: None,
            action: "private_key.open",
            object_type: "private_key",
            object_id: Some(id),
            outcome: Outcome::Allowed,
            reason: Some("to sign for its authority until the process ends".into()),
            detail: json!({ "authority_id": authority.row.id }),
        };
        self.commit(Write { key_accesses: vec![id], audit: vec![entry], ..Write::default() }).await?;
        Ok(key)
    }
}
