//! What relying parties ask without credentials: CRLs, OCSP answers, certificates of authorities.
//!
//! Only public, signed bytes are kept here, until they change. An answer that was fetched before a
//! revocation is never kept after it: each notice moves the generation on, and an answer is kept
//! only if its generation is still the current one.

use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use chrono::TimeDelta;
use clm_types::{AuthorityId, ErrorCode, Refusal, RevocationRecord, SerialNumber, Time};
use clm_x509::ocsp::{self, OcspError, OcspRequest};
use moka::sync::Cache;
use tokio::sync::Mutex as AsyncMutex;

use crate::{Core, CoreError};

/// Bounds how long an OCSP answer is kept if a notice was missed.
const OCSP_KEPT: Duration = Duration::from_mins(5);
/// Octets of kept OCSP requests and answers.
const MOST_OCSP: u64 = 64 * 1024 * 1024;
/// Octets that keeping an answer takes beside its own.
const OCSP_OVERHEAD: usize = 256;
/// The answer to a longer request is not kept: one for a single certificate has some hundred octets.
const LONGEST_KEPT_REQUEST: usize = 512;
/// A CRL is asked for again after this time even if nothing was announced,
const CRL_KEPT: TimeDelta = TimeDelta::seconds(60);
/// and not sooner than this even if something was.
const CRL_HELD: TimeDelta = TimeDelta::seconds(1);

/// Most parts that an authority's lists are divided into.
const MOST_SHARDS: u16 = 1024;
/// Octets of kept CRLs.
const MOST_CRL_OCTETS: usize = 512 * 1024 * 1024;

/// Which list of an authority.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct CrlName {
    /// Whose.
    pub authority: AuthorityId,
    /// Which of its certificates it is about; 0 for all.
    pub shard: u16,
    /// Whether it is the delta to the full list.
    pub delta: bool,
}

/// A certificate revocation list as its authority signed it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedCrl {
    /// The whole CRL.
    pub der: Bytes,
    /// SHA-256 of it.
    pub sha256: [u8; 32],
    /// Its number.
    pub crl_number: i64,
    /// When it was made.
    pub this_update: Time,
    /// When it is to be replaced.
    pub next_update: Time,
}

/// An OCSP answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct OcspReply {
    /// OCSPResponse, DER.
    pub der: Vec<u8>,
    /// Until when it may be kept; none when it may not.
    pub next_update: Option<Time>,
}

/// What is no longer so; as text on the channel `clm_validation`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Notice {
    /// The status of a certificate.
    Status(AuthorityId, String),
    /// The CRL of an authority.
    Crl(AuthorityId),
}

impl Notice {
    pub(crate) fn of_revocation(record: &RevocationRecord) -> Self {
        Self::of_status(record.authority_id, &record.serial_number)
    }

    pub(crate) fn of_status(authority: AuthorityId, serial_number: &str) -> Self {
        Self::Status(authority, serial_key(serial_number))
    }
}

impl fmt::Display for Notice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Status(authority, serial) => write!(f, "status {authority} {serial}"),
            Self::Crl(authority) => write!(f, "crl {authority}"),
        }
    }
}

impl FromStr for Notice {
    type Err = ();

    fn from_str(text: &str) -> Result<Self, ()> {
        let mut words = text.split(' ');
        let kind = words.next().ok_or(())?;
        let authority = words.next().and_then(|id| id.parse().ok()).ok_or(())?;
        match (kind, words.next(), words.next()) {
            ("status", Some(serial), None) => Ok(Self::Status(authority, serial.to_owned())),
            ("crl", None, None) => Ok(Self::Crl(authority)),
            _ => Err(()),
        }
    }
}

/// One form for every way to write a serial number.
fn serial_key(text: &str) -> String {
    text.parse::<SerialNumber>().map_or_else(|_| text.to_owned(), |serial| serial.to_string())
}

/// The kept answers.
pub(crate) struct Validation {
    kept: Mutex<Kept>,
    ocsp: Cache<(AuthorityId, String), Arc<KeptOcsp>>,
    /// A CRL is fetched once at a time. Only authorities that exist get locks.
    fetching: Mutex<HashMap<CrlName, Arc<AsyncMutex<()>>>>,
}

struct Kept {
    /// Moves on with every notice.
    generation: u64,
    crls: HashMap<CrlName, KeptCrl>,
}

impl Kept {
    /// Keeps a list; the ones that were fetched longest ago give way.
    fn insert(&mut self, name: CrlName, slot: KeptCrl) {
        self.crls.insert(name, slot);
        while self.crls.values().map(|slot| slot.crl.der.len()).sum::<usize>() > MOST_CRL_OCTETS {
            let oldest = self.crls.iter().min_by_key(|(_, slot)| slot.fetched_at).map(|(name, _)| *name);
            if oldest.and_then(|name| self.crls.remove(&name)).is_none() {
                return;
            }
        }
    }
}

struct KeptCrl {
    crl: Arc<SignedCrl>,
    fetched_at: Time,
    outdated: bool,
}

struct KeptOcsp {
    /// The same certificate can be asked about in several ways, each with its own answer.
    request: Vec<u8>,
    reply: OcspReply,
}

impl KeptOcsp {
    /// Octets of memory, roughly.
    fn weight(&self) -> u32 {
        u32::try_from(OCSP_OVERHEAD + self.request.len() + self.reply.der.len()).unwrap_or(u32::MAX)
    }
}

impl Validation {
    pub(crate) fn new() -> Self {
        Self {
            kept: Mutex::new(Kept { generation: 0, crls: HashMap::new() }),
            ocsp: Cache::builder()
                .max_capacity(MOST_OCSP)
                .weigher(|_, kept: &Arc<KeptOcsp>| kept.weight())
                .time_to_live(OCSP_KEPT)
                .build(),
            fetching: Mutex::new(HashMap::new()),
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Drops what a notice made wrong.
    pub(crate) fn forget(&self, notice: &Notice) {
        let mut kept = self.kept();
        kept.generation += 1;
        let (Notice::Status(authority, _) | Notice::Crl(authority)) = notice;
        let of_authority = kept.crls.iter_mut().filter(|(name, _)| name.authority == *authority);
        of_authority.for_each(|(_, slot)| slot.outdated = true);
        if let Notice::Status(authority, serial) = notice {
            self.ocsp.invalidate(&(*authority, serial.clone()));
        }
    }

    /// Drops everything, for when notices may have been missed.
    pub(crate) fn forget_all(&self) {
        let mut kept = self.kept();
        kept.generation += 1;
        kept.crls.values_mut().for_each(|slot| slot.outdated = true);
        self.ocsp.invalidate_all();
    }

    fn fetch_lock(&self, name: CrlName) -> Arc<AsyncMutex<()>> {
        let mut locks = self.fetching.lock().unwrap_or_else(PoisonError::into_inner);
        Arc::clone(locks.entry(name).or_default())
    }

    fn generation(&self) -> u64 {
        self.kept().generation
    }

    /// Keeps an answer unless something was dropped since `generation`.
    fn keep_ocsp(&self, generation: u64, key: (AuthorityId, String), answer: KeptOcsp) {
        // The lock is held over the insert: a notice comes wholly before or wholly after it.
        let kept = self.kept();
        if kept.generation == generation && answer.request.len() <= LONGEST_KEPT_REQUEST {
            self.ocsp.insert(key, Arc::new(answer));
        }
    }

    fn keep_crl(&self, generation: u64, name: CrlName, crl: &Arc<SignedCrl>, now: Time) {
        let mut kept = self.kept();
        let slot = KeptCrl { crl: Arc::clone(crl), fetched_at: now, outdated: kept.generation != generation };
        kept.insert(name, slot);
    }

    /// The kept CRL, if nothing speaks against it.
    fn current_crl(&self, name: CrlName, now: Time) -> Option<Arc<SignedCrl>> {
        let kept = self.kept();
        let slot = kept.crls.get(&name)?;
        let age = now - slot.fetched_at;
        let current = now < slot.crl.next_update && age < if slot.outdated { CRL_HELD } else { CRL_KEPT };
        current.then(|| Arc::clone(&slot.crl))
    }

    /// The kept CRL while it is valid at all, for when Secure is away.
    fn valid_crl(&self, name: CrlName, now: Time) -> Option<Arc<SignedCrl>> {
        let kept = self.kept();
        let slot = kept.crls.get(&name)?;
        (now < slot.crl.next_update).then(|| Arc::clone(&slot.crl))
    }

    fn current_ocsp(&self, key: &(AuthorityId, String), request: &[u8], now: Time) -> Option<OcspReply> {
        let answer = self.ocsp.get(key)?;
        let current = answer.request == request && answer.reply.next_update.is_some_and(|end| now < end);
        current.then(|| answer.reply.clone())
    }
}

impl Core {
    /// The newest list of this name.
    ///
    /// # Errors
    /// `authority_not_found`; `not_found` when the authority has no such list; `unavailable`.
    pub async fn crl(&self, name: CrlName) -> Result<Arc<SignedCrl>, CoreError> {
        if let Some(crl) = self.validation.current_crl(name, self.clock.now()) {
            return Ok(crl);
        }
        match self.fetch_crl(name).await {
            Err(error) if error.is_retryable() => {
                self.validation.valid_crl(name, self.clock.now()).ok_or(error)
            }
            outcome => outcome,
        }
    }

    async fn fetch_crl(&self, name: CrlName) -> Result<Arc<SignedCrl>, CoreError> {
        // Whoever makes up authorities or parts of their lists keeps nobody waiting.
        self.find_authority(name.authority).await?;
        if name.shard > MOST_SHARDS {
            return Err(Refusal::new(ErrorCode::NotFound, "the authority has no such list").into());
        }
        let lock = self.validation.fetch_lock(name);
        let _one_at_a_time = lock.lock().await;
        let now = self.clock.now();
        if let Some(crl) = self.validation.current_crl(name, now) {
            return Ok(crl);
        }
        let generation = self.validation.generation();
        let fetched = self.secure.fetch_crl(name.authority, name.shard, name.delta).await?;
        let crl = Arc::new(SignedCrl {
            sha256: clm_x509::sha256(&fetched.der),
            der: fetched.der.into(),
            crl_number: fetched.crl_number,
            this_update: fetched.this_update,
            next_update: fetched.next_update,
        });
        self.validation.keep_crl(generation, name, &crl, now);
        Ok(crl)
    }

    /// The answer to an OCSP request. Whatever is wrong with the request or with us is an OCSP
    /// answer too (RFC 6960 §2.3).
    ///
    /// # Errors
    /// `authority_not_found`.
    pub async fn ocsp(&self, authority: AuthorityId, request: &[u8]) -> Result<OcspReply, CoreError> {
        let Ok(parsed) = OcspRequest::parse(request) else {
            return Ok(unsigned(OcspError::MalformedRequest));
        };
        let key = match parsed.cert_ids.as_slice() {
            [only] if parsed.nonce.is_none() => Some((authority, only.serial().to_string())),
            _ => None,
        };
        if let Some(key) = &key
            && let Some(reply) = self.validation.current_ocsp(key, request, self.clock.now())
        {
            return Ok(reply);
        }
        let generation = self.validation.generation();
        let reply = match self.ask_ocsp(authority, request).await {
            Ok(reply) => reply,
            Err(error) if error.code() == Some(ErrorCode::AuthorityNotFound) => return Err(error),
            Err(error) => {
                tracing::warn!(authority_id = %authority, error = &error as &dyn std::error::Error,
                    "an OCSP request was not answered");
                return Ok(unsigned(OcspError::TryLater));
            }
        };
        if let Some(key) = key
            && reply.next_update.is_some()
        {
            let answer = KeptOcsp { request: request.to_vec(), reply: reply.clone() };
            self.validation.keep_ocsp(generation, key, answer);
        }
        Ok(reply)
    }

    async fn ask_ocsp(&self, authority: AuthorityId, request: &[u8]) -> Result<OcspReply, CoreError> {
        self.find_authority(authority).await?;
        let answer = self.ocsp_questions.ask(authority, request.to_vec()).await?;
        Ok(OcspReply { der: answer.der, next_update: answer.next_update })
    }

    /// The certificate of an authority, DER.
    ///
    /// # Errors
    /// `authority_not_found`, `unavailable`.
    pub async fn authority_certificate(&self, authority: AuthorityId) -> Result<Vec<u8>, CoreError> {
        let record = self.find_authority(authority).await?;
        STANDARD
            .decode(&record.certificate)
            .map_err(|error| CoreError::defect_of("an authority's certificate cannot be read", error))
    }

    /// Heeds a notice of another process on the channel `clm_validation`; one that cannot be read drops everything.
    pub fn heed_validation_notice(&self, payload: &str) {
        match payload.parse::<Notice>() {
            Ok(notice) => self.validation.forget(&notice),
            Err(()) => self.validation.forget_all(),
        }
    }
}

/// The OCSP answer of a service that is too busy to look (RFC 6960 §2.3), DER.
pub fn try_later() -> Vec<u8> {
    ocsp::error_response(OcspError::TryLater)
}

fn unsigned(error: OcspError) -> OcspReply {
    OcspReply { der: ocsp::error_response(error), next_update: None }
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::Entropy;

    fn now() -> Time {
        chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn authority() -> AuthorityId {
        AuthorityId::generate(now(), &Entropy::seeded(1))
    }

    fn answer() -> KeptOcsp {
        KeptOcsp {
            request: b"request".to_vec(),
            reply: OcspReply { der: b"good".to_vec(), next_update: Some(now() + TimeDelta::hours(1)) },
        }
    }

    fn full(authority: AuthorityId) -> CrlName {
        CrlName { authority, shard: 0, delta: false }
    }

    fn crl() -> Arc<SignedCrl> {
        Arc::new(SignedCrl {
            der: Bytes::from_static(b"crl"),
            sha256: [0; 32],
            crl_number: 1,
            this_update: now(),
            next_update: now() + TimeDelta::days(7),
        })
    }

    #[test]
    fn a_notice_is_read_back_from_its_text() {
        for notice in [Notice::Status(authority(), "ab12".to_owned()), Notice::Crl(authority())] {
            assert_eq!(notice.to_string().parse(), Ok(notice));
        }
        assert!("status".parse::<Notice>().is_err());
    }

    #[test]
    fn an_answer_fetched_before_a_revocation_is_never_kept_after_it() {
        let validation = Validation::new();
        let key = (authority(), "ab".to_owned());
        let notice = Notice::Status(authority(), "ab".to_owned());
        let before = validation.generation();
        validation.forget(&notice);
        validation.keep_ocsp(before, key.clone(), answer());
        assert_eq!(validation.current_ocsp(&key, b"request", now()), None);
        validation.keep_ocsp(validation.generation(), key.clone(), answer());
        assert!(validation.current_ocsp(&key, b"request", now()).is_some());
        validation.forget(&notice);
        assert_eq!(validation.current_ocsp(&key, b"request", now()), None);
    }

    #[test]
    fn an_answer_is_given_only_to_the_same_question_and_in_its_time() {
        let validation = Validation::new();
        let key = (authority(), "ab".to_owned());
        validation.keep_ocsp(validation.generation(), key.clone(), answer());
        assert_eq!(validation.current_ocsp(&key, b"other", now()), None);
        let late = now() + TimeDelta::hours(1);
        assert_eq!(validation.current_ocsp(&key, b"request", late), None);
    }

    #[test]
    fn kept_answers_are_bounded_in_octets() {
        let validation = Validation::new();
        let reply = || OcspReply { der: vec![0; 100_000], next_update: Some(now() + TimeDelta::hours(1)) };
        for number in 0..2_000 {
            let kept = KeptOcsp { request: vec![0; LONGEST_KEPT_REQUEST], reply: reply() };
            validation.keep_ocsp(validation.generation(), (authority(), number.to_string()), kept);
        }
        validation.ocsp.run_pending_tasks();
        assert!(validation.ocsp.entry_count() > 100);
        assert!(validation.ocsp.weighted_size() <= MOST_OCSP);
    }

    #[test]
    fn the_answer_to_a_long_request_is_not_kept() {
        let validation = Validation::new();
        let key = (authority(), "ab".to_owned());
        let long = vec![0; LONGEST_KEPT_REQUEST + 1];
        let kept = KeptOcsp { request: long.clone(), ..answer() };
        validation.keep_ocsp(validation.generation(), key.clone(), kept);
        assert_eq!(validation.current_ocsp(&key, &long, now()), None);
    }

    #[test]
    fn a_slow_authority_keeps_only_its_own_callers_waiting() {
        let validation = Validation::new();
        let other = AuthorityId::generate(now(), &Entropy::seeded(2));
        let (first, second) = (validation.fetch_lock(full(authority())), validation.fetch_lock(full(other)));
        let _slow = first.try_lock().unwrap();
        assert!(validation.fetch_lock(full(authority())).try_lock().is_err());
        assert!(second.try_lock().is_ok());
    }

    #[test]
    fn an_outdated_crl_serves_only_while_secure_is_away() {
        let validation = Validation::new();
        validation.keep_crl(validation.generation(), full(authority()), &crl(), now());
        let soon = now() + TimeDelta::seconds(5);
        assert!(validation.current_crl(full(authority()), soon).is_some());
        validation.forget(&Notice::Crl(authority()));
        assert!(validation.current_crl(full(authority()), soon).is_none());
        assert!(validation.valid_crl(full(authority()), soon).is_some());
        let late = now() + TimeDelta::days(7);
        assert!(validation.valid_crl(full(authority()), late).is_none());
    }
}
