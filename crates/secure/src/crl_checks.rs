//! What a new list must pass before anybody sees it: it is read back from where it will be served, and compared with the one
//! that it replaces. Both are read a part at a time.

use std::cmp::Ordering;
use std::collections::VecDeque;

use aws_lc_rs::digest::{Context, Digest, SHA256};
use clm_pg::{PgPool, Tx};
use clm_secure_db::{crl_parts, revocations};
use clm_types::{RevocationReason, SerialNumber};
use clm_x509::IssuerInfo;
use clm_x509::crl::{CrlHeader, CrlReader, RevokedEntry};
use uuid::Uuid;

use crate::crl_drafts::Draft;
use crate::crls::NewCrl;
use crate::{Secure, SecureError};

/// Entries that were dropped and are asked about at once.
const DROPPED_AT_ONCE: usize = 1_000;

/// What was read back.
pub(crate) struct CheckedCrl {
    pub(crate) octets: i64,
    pub(crate) sha256: Digest,
}

impl Secure {
    /// Reads the list back, verifies it, and compares it with the list that it replaces.
    pub(crate) async fn check_crl(&self, list: &NewCrl, draft: &Draft) -> Result<CheckedCrl, SecureError> {
        let issuer = &list.authority.issuer;
        let mut new = StoredList::open(&self.parts.pool, list.id, issuer).await?;
        // A list in the order of before is not compared; none is since its scope says when the next is due.
        let replaced =
            list.scope.full_crl_id.filter(|_| !list.is_delta() && list.scope.next_crl_at.is_some());
        match replaced {
            Some(old) => {
                let old = StoredList::open(&self.parts.pool, old, issuer).await?;
                self.compare(list, old, &mut new).await?;
            }
            None => while new.next().await?.is_some() {},
        }
        let (read, entries) = (new.entries, draft.entries);
        let (header, octets, sha256) = new.finish()?;
        if header != whole_seconds(&list.header) || read != entries {
            return Err(SecureError::Crypto("a new CRL does not read back as it was meant"));
        }
        Ok(CheckedCrl { octets, sha256 })
    }

    /// Both lists are in the order of serial numbers.
    async fn compare(
        &self,
        list: &NewCrl,
        mut old: StoredList<'_>,
        new: &mut StoredList<'_>,
    ) -> Result<(), SecureError> {
        let mut dropped = Vec::new();
        let (mut was, mut is) = (old.next().await?, new.next().await?);
        loop {
            let order = match (&was, &is) {
                (None, None) => break,
                (Some(_), None) => Ordering::Less,
                (None, Some(_)) => Ordering::Greater,
                (Some(before), Some(after)) => before.serial.as_bytes().cmp(after.serial.as_bytes()),
            };
            match (order, &was, &is) {
                (Ordering::Less, Some(before), _) => dropped.push(before.serial.clone()),
                (Ordering::Equal, Some(before), Some(after)) if !may_follow(before, after) => {
                    return Err(unlike(list, &after.serial, "says something else"));
                }
                _ => {}
            }
            if order.is_le() {
                was = old.next().await?;
            }
            if order.is_ge() {
                is = new.next().await?;
            }
            if dropped.len() == DROPPED_AT_ONCE {
                self.require_droppable(list, &mut dropped).await?;
            }
        }
        self.require_droppable(list, &mut dropped).await?;
        old.finish().map(|_| ())
    }

    async fn require_droppable(
        &self,
        list: &NewCrl,
        dropped: &mut Vec<SerialNumber>,
    ) -> Result<(), SecureError> {
        let serials: Vec<_> = dropped.drain(..).map(|serial| serial.as_bytes().to_vec()).collect();
        if serials.is_empty() {
            return Ok(());
        }
        let mut conn = clm_pg::begin(&self.parts.pool).await?;
        let (authority, previous) = (list.scope.authority_id, list.previous_list());
        match revocations::find_wrongly_dropped(&mut conn, authority, &serials, previous).await? {
            None => Ok(()),
            Some(serial) => Err(unlike(list, &hex::encode(serial), "is missing")),
        }
    }
}

/// A revocation stays as it is; a hold may become a revocation for good.
fn may_follow(before: &RevokedEntry, after: &RevokedEntry) -> bool {
    before == after || before.reason == Some(RevocationReason::CertificateHold)
}

fn unlike(list: &NewCrl, serial: &impl std::fmt::Display, what: &str) -> SecureError {
    SecureError::Damaged(format!(
        "the next CRL of authority {} (shard {}) is not published: serial {serial}, which the last one names, {what}",
        list.authority.row.id, list.scope.shard
    ))
}

/// Times in a list have whole seconds.
fn whole_seconds(header: &CrlHeader) -> CrlHeader {
    use chrono::SubsecRound;
    let (this_update, next_update) =
        (header.this_update.trunc_subsecs(0), header.next_update.trunc_subsecs(0));
    CrlHeader { this_update, next_update, ..header.clone() }
}

/// A stored list that is read an entry at a time.
struct StoredList<'a> {
    tx: Tx,
    id: Uuid,
    place: i32,
    reader: CrlReader<'a>,
    sha256: Context,
    octets: i64,
    waiting: VecDeque<RevokedEntry>,
    last: Option<SerialNumber>,
    entries: i64,
}

impl<'a> StoredList<'a> {
    async fn open(pool: &PgPool, id: Uuid, issuer: &'a IssuerInfo) -> Result<Self, SecureError> {
        Ok(Self {
            tx: clm_pg::begin(pool).await?,
            id,
            place: -1,
            reader: CrlReader::new(issuer),
            sha256: Context::new(&SHA256),
            octets: 0,
            waiting: VecDeque::new(),
            last: None,
            entries: 0,
        })
    }

    /// The next entry; the serial numbers must rise, so that none is there twice.
    async fn next(&mut self) -> Result<Option<RevokedEntry>, SecureError> {
        while self.waiting.is_empty() {
            let part = crl_parts::find_next(&mut self.tx, self.id, self.place).await?;
            let Some((position, octets)) = part else { return Ok(None) };
            self.place = position;
            self.sha256.update(&octets);
            self.octets += i64::try_from(octets.len()).unwrap_or(i64::MAX);
            let mut entries = Vec::new();
            self.reader.push(&octets, &mut entries)?;
            self.waiting.extend(entries);
        }
        let entry = self.waiting.pop_front();
        if let Some(entry) = &entry {
            if self.last.as_ref().is_some_and(|last| last.as_bytes() >= entry.serial.as_bytes()) {
                return Err(SecureError::Crypto("the serial numbers of a CRL do not rise"));
            }
            self.last = Some(entry.serial.clone());
            self.entries += 1;
        }
        Ok(entry)
    }

    fn finish(self) -> Result<(CrlHeader, i64, Digest), SecureError> {
        Ok((self.reader.finish()?, self.octets, self.sha256.finish()))
    }
}
