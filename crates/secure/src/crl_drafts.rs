//! How a list is written: its entries go from one table to another, and are in memory a part at a time.

use aws_lc_rs::digest::{Context, Digest, SHA256};
use chrono::TimeDelta;
use clm_pg::Tx;
use clm_secure_db::crl_parts;
use clm_secure_db::revocations::{self, CrlEntry};
use clm_types::{RevocationReason, SerialNumber};
use clm_x509::algorithm::ToBeSigned;
use clm_x509::crl::{CrlFrame, RevokedEntry, to_be_signed};
use futures::TryStreamExt;
use uuid::Uuid;

use crate::crls::NewCrl;
use crate::{Secure, SecureError};

/// Octets of a part, roughly.
const PART: usize = 256 * 1024;

/// Places of the parts before the entries: the outermost header, written last, and what is signed before the entries.
const OUTER: i32 = 0;
const HEAD: i32 = 1;

/// A delta goes back this much further than its full list, for revocations that were committed later than they say.
const OVERLAP: TimeDelta = TimeDelta::hours(1);

/// A list whose octets are stored, all but those that depend on the signature.
pub(crate) struct Draft {
    pub(crate) entries: i64,
    pub(crate) tbs_sha256: Digest,
    pub(crate) to_be_signed: ToBeSigned,
    frame: CrlFrame,
    /// Place of the part that follows what is signed.
    end: i32,
}

impl Secure {
    /// Stores what is to be signed; it is durable before anything is.
    pub(crate) async fn draft_crl(&self, list: &NewCrl, snapshot: &mut Tx) -> Result<Draft, SecureError> {
        let mut tx = clm_pg::begin(&self.parts.pool).await?;
        clm_pg::lift_time_limits(&mut tx).await?;
        let mut parts = Parts { tx, list, next: HEAD + 1, octets: 0 };
        let entries = parts.write_entries(snapshot).await?;
        let frame = CrlFrame::new(&list.authority.issuer, &list.header, parts.octets);
        parts.write_at(HEAD, &frame.tbs_head).await?;
        parts.write(&frame.tbs_tail).await?;
        let end = parts.next;
        let mut tx = parts.tx;
        let (to_be_signed, tbs_sha256) = hash(&mut tx, list).await?;
        clm_pg::commit(tx).await?;
        Ok(Draft { entries, tbs_sha256, to_be_signed, frame, end })
    }

    /// Stores the octets around what was signed.
    pub(crate) async fn complete_crl(
        &self,
        list: &NewCrl,
        draft: &Draft,
        signature: &[u8],
    ) -> Result<(), SecureError> {
        let (head, tail) = draft.frame.sign(&list.authority.issuer, signature);
        let mut tx = clm_pg::begin(&self.parts.pool).await?;
        crl_parts::insert(&mut tx, list.id, OUTER, &head, list.now).await?;
        crl_parts::insert(&mut tx, list.id, draft.end, &tail, list.now).await?;
        clm_pg::commit(tx).await?;
        Ok(())
    }
}

/// Where the parts of a list are written.
struct Parts<'a> {
    tx: Tx,
    list: &'a NewCrl,
    next: i32,
    octets: usize,
}

impl Parts<'_> {
    async fn write_entries(&mut self, snapshot: &mut Tx) -> Result<i64, SecureError> {
        let (authority, shard) = (self.list.scope.authority_id, self.list.scope.shard);
        let previous = self.list.previous_list();
        let mut rows = if self.list.is_delta() {
            revocations::stream_changed(snapshot, authority, shard, previous - OVERLAP)
        } else {
            revocations::stream_in_force(snapshot, authority, shard, previous)
        };
        let (mut entries, mut part) = (0, Vec::with_capacity(PART + 1024));
        while let Some(row) = rows.try_next().await.map_err(clm_pg::DbError::from)? {
            let entry = read(&row).ok_or_else(|| damaged(authority, &row))?;
            entry.encode(&mut part);
            entries += 1;
            if part.len() >= PART {
                self.write_part(&mut part).await?;
            }
        }
        if !part.is_empty() {
            self.write_part(&mut part).await?;
        }
        Ok(entries)
    }

    async fn write_part(&mut self, part: &mut Vec<u8>) -> Result<(), SecureError> {
        self.octets += part.len();
        self.write(part).await?;
        part.clear();
        Ok(())
    }

    async fn write(&mut self, octets: &[u8]) -> Result<(), SecureError> {
        self.write_at(self.next, octets).await?;
        self.next += 1;
        Ok(())
    }

    async fn write_at(&mut self, position: i32, octets: &[u8]) -> Result<(), SecureError> {
        Ok(crl_parts::insert(&mut self.tx, self.list.id, position, octets, self.list.now).await?)
    }
}

/// What is to be signed, and its SHA-256, from the parts that were stored.
async fn hash(tx: &mut Tx, list: &NewCrl) -> Result<(ToBeSigned, Digest), SecureError> {
    let mut message = to_be_signed(&list.authority.issuer);
    let mut sha256 = Context::new(&SHA256);
    let mut place = OUTER;
    while let Some((position, octets)) = crl_parts::find_next(tx, list.id, place).await? {
        message.update(&octets);
        sha256.update(&octets);
        place = position;
    }
    Ok((message.finish(), sha256.finish()))
}

fn read(row: &CrlEntry) -> Option<RevokedEntry> {
    let reason = u8::try_from(row.reason_code).ok().and_then(RevocationReason::from_code)?;
    Some(RevokedEntry {
        serial: SerialNumber::from_unsigned(&row.serial_number).ok()?,
        revoked_at: row.revocation_date,
        reason: Some(reason),
        invalidity_date: row.invalidity_date,
    })
}

fn damaged(authority: Uuid, row: &CrlEntry) -> SecureError {
    let serial = hex::encode(&row.serial_number);
    SecureError::Damaged(format!("the revocation of serial {serial} of authority {authority}"))
}
