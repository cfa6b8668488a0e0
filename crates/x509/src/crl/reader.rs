//! Reads a list piece by piece.

use super::{CrlHeader, RevokedEntry};
use crate::{
    algorithm::Message,
    decode::{self, Malformed, Reader, Value},
    encode::tag,
    extension::{
        self as ext, AUTHORITY_KEY_IDENTIFIER, CRL_NUMBER, DELTA_CRL_INDICATOR, FRESHEST_CRL,
        INVALIDITY_DATE, ISSUING_DISTRIBUTION_POINT, REASON_CODE,
    },
    issuer::IssuerInfo,
};
use chrono::{DateTime, Utc};
use clm_types::{ErrorCode, Refusal, RevocationReason, SerialNumber};

/// Longest that what stands before or after the entries, or one entry, may be, in octets.
const LONGEST_PART: usize = 64 * 1024;

/// Reads a version 2 list of one authority as its octets come. Keeps no entries.
pub struct CrlReader<'a> {
    issuer: &'a IssuerInfo,
    /// Octets that came and are not read yet.
    waiting: Vec<u8>,
    place: Place,
    message: Message,
    /// To-be-signed octets that have not come yet.
    tbs_left: usize,
    /// Octets of the whole list that have not been read yet.
    left: usize,
    times: Option<(DateTime<Utc>, DateTime<Utc>)>,
}

enum Place {
    /// Before the entries.
    Head,
    /// In the entries, with so many octets of them left.
    Entries(usize),
    /// After the entries.
    Tail,
}

/// What stands before the entries.
struct Head {
    /// Its octets.
    length: usize,
    /// Octets of the list's outermost header.
    outer: usize,
    /// Octets of the whole list.
    whole: usize,
    tbs: usize,
    entries: usize,
    times: (DateTime<Utc>, DateTime<Utc>),
}

impl<'a> CrlReader<'a> {
    /// A reader of a list that this authority should have signed.
    pub fn new(issuer: &'a IssuerInfo) -> Self {
        Self {
            issuer,
            waiting: Vec::new(),
            place: Place::Head,
            message: super::to_be_signed(issuer),
            tbs_left: 0,
            left: 0,
            times: None,
        }
    }

    /// Takes the next octets; adds the entries that they end to `entries`.
    ///
    /// # Errors
    /// `crl_malformed`.
    pub fn push(&mut self, octets: &[u8], entries: &mut Vec<RevokedEntry>) -> Result<(), Refusal> {
        self.waiting.extend_from_slice(octets);
        self.read(entries).map_err(malformed)
    }

    fn read(&mut self, entries: &mut Vec<RevokedEntry>) -> Result<(), Malformed> {
        if matches!(self.place, Place::Head) {
            let Some(head) = self.read_head()? else { return Ok(()) };
            self.left = head.whole;
            self.take(head.outer)?;
            self.tbs_left = head.tbs;
            self.take(head.length - head.outer)?;
            self.times = Some(head.times);
            self.place = if head.entries == 0 { Place::Tail } else { Place::Entries(head.entries) };
        }
        if let Place::Entries(left) = self.place {
            let read = read_entries(&self.waiting, left, entries)?;
            self.take(read)?;
            self.place = if read == left { Place::Tail } else { Place::Entries(left - read) };
        }
        let most = if matches!(self.place, Place::Tail) { self.left } else { usize::MAX };
        let unread = self.waiting.len();
        if unread > LONGEST_PART || unread > most { Err(Malformed) } else { Ok(()) }
    }

    /// Moves on by `count` octets.
    fn take(&mut self, count: usize) -> Result<(), Malformed> {
        let octets = self.waiting.get(..count).ok_or(Malformed)?;
        let signed = count.min(self.tbs_left);
        self.message.update(octets.get(..signed).ok_or(Malformed)?);
        self.tbs_left -= signed;
        self.left = self.left.checked_sub(count).ok_or(Malformed)?;
        self.waiting.drain(..count);
        Ok(())
    }

    /// What stands before the entries; none while it has not all come.
    fn read_head(&self) -> Result<Option<Head>, Malformed> {
        match read_head(&self.waiting, self.issuer) {
            Ok(head) if self.waiting.len() >= head.length => Ok(Some(head)),
            Ok(_) => Ok(None),
            // More octets may make it whole.
            Err(Malformed) if self.waiting.len() < LONGEST_PART => Ok(None),
            Err(Malformed) => Err(Malformed),
        }
    }

    /// What the list says of itself, once it has come whole and its signature is right.
    ///
    /// # Errors
    /// `crl_malformed`, `signature_invalid`.
    pub fn finish(mut self) -> Result<CrlHeader, Refusal> {
        let (header, signature) = self.read_tail().map_err(malformed)?;
        self.message.finish().verify(&self.issuer.public_key, &signature)?;
        Ok(header)
    }

    fn read_tail(&mut self) -> Result<(CrlHeader, Vec<u8>), Malformed> {
        let whole = matches!(self.place, Place::Tail) && self.waiting.len() == self.left;
        let times = self.times.filter(|_| whole).ok_or(Malformed)?;
        let mut fields = Reader::new(self.waiting.get(..self.tbs_left).ok_or(Malformed)?);
        let extensions = fields.expect(tag::context_constructed(0))?.only(tag::SEQUENCE)?;
        fields.finish()?;
        let header = read_header(&extensions, times, self.issuer)?;
        let mut rest = Reader::new(self.waiting.get(self.tbs_left..).ok_or(Malformed)?);
        let algorithm = rest.expect(tag::SEQUENCE)?.whole;
        let signature = rest.expect(tag::BIT_STRING)?.bit_string_octets()?.to_vec();
        rest.finish()?;
        if algorithm != self.issuer.signature_algorithm_der() {
            return Err(Malformed);
        }
        self.take(self.tbs_left)?;
        Ok((header, signature))
    }
}

fn malformed(_: Malformed) -> Refusal {
    Refusal::new(ErrorCode::CrlMalformed, "this is not an X.509 version 2 revocation list of the authority")
}

fn read_head(octets: &[u8], issuer: &IssuerInfo) -> Result<Head, Malformed> {
    let (outer, after_outer) = decode::header(octets, tag::SEQUENCE)?;
    let (tbs, fields) = decode::header(after_outer, tag::SEQUENCE)?;
    let outer_length = octets.len() - after_outer.len();
    let tbs_header = after_outer.len() - fields.len();
    let mut reader = Reader::new(fields);
    let version = reader.expect(tag::INTEGER)?.small()?;
    let algorithm = reader.expect(tag::SEQUENCE)?.whole;
    let name = reader.expect(tag::SEQUENCE)?.whole;
    let times = (reader.next()?.time()?, reader.next()?.time()?);
    if version != 1 || algorithm != issuer.signature_algorithm_der() || name != issuer.name_der {
        return Err(Malformed);
    }
    let rest = reader.rest();
    let (entries, after) = match reader.peek() {
        Some(tag::SEQUENCE) => decode::header(rest, tag::SEQUENCE)?,
        Some(_) => (0, rest),
        None => return Err(Malformed),
    };
    if reader.peek() == Some(tag::SEQUENCE) && entries == 0 {
        return Err(Malformed);
    }
    Ok(Head {
        length: octets.len() - after.len(),
        outer: outer_length,
        whole: outer_length + outer,
        tbs: tbs_header + tbs,
        entries,
        times,
    })
}

fn read_header(
    extensions: &Value<'_>,
    (this_update, next_update): (DateTime<Utc>, DateTime<Utc>),
    issuer: &IssuerInfo,
) -> Result<CrlHeader, Malformed> {
    let list = ext::read_list(extensions)?;
    let value = |id| ext::find(&list, &id).map(|extension| extension.value.as_slice());
    let number = |der: &[u8]| Reader::new(der).expect(tag::INTEGER)?.small();
    let authority = ext::read_authority_key_identifier(value(AUTHORITY_KEY_IDENTIFIER).ok_or(Malformed)?)?;
    if ext::duplicate(&list).is_some() || authority.as_deref() != Some(&issuer.key_identifier) {
        return Err(Malformed);
    }
    Ok(CrlHeader {
        number: number(value(CRL_NUMBER).ok_or(Malformed)?)?,
        this_update,
        next_update,
        base_number: value(DELTA_CRL_INDICATOR).map(number).transpose()?,
        distribution_point: value(ISSUING_DISTRIBUTION_POINT)
            .map(ext::read_issuing_distribution_point)
            .transpose()?,
        freshest_crl: value(FRESHEST_CRL).map(ext::read_crl_distribution_point).transpose()?,
    })
}

/// Reads the entries that are whole, of `left` octets that are still to come; how many octets they have.
fn read_entries(octets: &[u8], left: usize, entries: &mut Vec<RevokedEntry>) -> Result<usize, Malformed> {
    let octets = octets.get(..left.min(octets.len())).ok_or(Malformed)?;
    let mut rest = octets;
    // A header has ten octets at most.
    while !rest.is_empty() {
        let Ok((length, content)) = decode::header(rest, tag::SEQUENCE) else {
            return if rest.len() < 10 && rest.len() < left {
                Ok(octets.len() - rest.len())
            } else {
                Err(Malformed)
            };
        };
        let Some((content, after)) = content.split_at_checked(length) else { break };
        entries.push(read_entry(Reader::new(content))?);
        rest = after;
    }
    let read = octets.len() - rest.len();
    // The last entry ends where the list of entries ends.
    if octets.len() == left && !rest.is_empty() { Err(Malformed) } else { Ok(read) }
}

/// What is inside one entry.
pub(crate) fn read_entry(mut fields: Reader<'_>) -> Result<RevokedEntry, Malformed> {
    let serial = fields.expect(tag::INTEGER)?.unsigned()?;
    let revoked_at = fields.next()?.time()?;
    let extensions = match fields.optional(tag::SEQUENCE)? {
        Some(list) => ext::read_list(&list)?,
        None => Vec::new(),
    };
    fields.finish()?;
    let reason = match ext::find(&extensions, &REASON_CODE) {
        Some(extension) => Some(read_reason(&extension.value)?),
        None => None,
    };
    let invalidity_date = match ext::find(&extensions, &INVALIDITY_DATE) {
        Some(extension) => Some(Reader::new(&extension.value).expect(tag::GENERALIZED_TIME)?.time()?),
        None => None,
    };
    Ok(RevokedEntry { serial: serial_number(serial)?, revoked_at, reason, invalidity_date })
}

fn read_reason(der: &[u8]) -> Result<RevocationReason, Malformed> {
    let code = Reader::new(der).expect(tag::ENUMERATED)?.small()?;
    u8::try_from(code).ok().and_then(RevocationReason::from_code).ok_or(Malformed)
}

/// A serial number from an unsigned number without sign octet.
pub(crate) fn serial_number(unsigned: &[u8]) -> Result<SerialNumber, Malformed> {
    SerialNumber::from_unsigned(unsigned).map_err(|_| Malformed)
}
