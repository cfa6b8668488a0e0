//! The authorities of Secure, as Core and its users may know them.

use std::sync::{Arc, Mutex, PoisonError};

use chrono::TimeDelta;
use clm_types::{AuthorityId, AuthorityRecord, ErrorCode, Permission, Refusal, Time};

use crate::{Core, CoreError, Ctx};

/// How long the list is believed, and how long it serves while Secure is away.
const FRESH: TimeDelta = TimeDelta::seconds(5);
const USABLE: TimeDelta = TimeDelta::hours(1);

/// The list as Secure last gave it.
pub(crate) struct AuthorityCache(Mutex<Option<(Time, Authorities)>>);

/// All authorities at one time.
pub type Authorities = Arc<Vec<AuthorityRecord>>;

impl AuthorityCache {
    pub(crate) const fn new() -> Self {
        Self(Mutex::new(None))
    }

    fn get(&self, since: Time) -> Option<Authorities> {
        let slot = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        slot.as_ref().filter(|(at, _)| *at >= since).map(|(_, list)| Arc::clone(list))
    }

    fn put(&self, at: Time, list: &Authorities) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = Some((at, Arc::clone(list)));
    }
}

impl Core {
    /// Every authority.
    ///
    /// # Errors
    /// `permission_denied`, `unavailable`.
    pub async fn list_authorities(&self, ctx: &Ctx) -> Result<Authorities, CoreError> {
        ctx.require(Permission::AuthorityRead)?;
        self.authorities().await
    }

    /// One authority, by id or name.
    ///
    /// # Errors
    /// `permission_denied`, `authority_not_found`, `unavailable`.
    pub async fn show_authority(&self, ctx: &Ctx, id_or_name: &str) -> Result<AuthorityRecord, CoreError> {
        ctx.require(Permission::AuthorityRead)?;
        let list = self.authorities().await?;
        find_authority(&list, id_or_name).cloned().ok_or_else(|| not_found().into())
    }

    /// Every authority, a few seconds old at most while Secure answers.
    pub(crate) async fn authorities(&self) -> Result<Authorities, CoreError> {
        let now = self.clock.now();
        if let Some(list) = self.authorities.get(now - FRESH) {
            return Ok(list);
        }
        match self.secure.list_authorities().await {
            Ok(records) => {
                let list = Arc::new(records);
                self.authorities.put(now, &list);
                Ok(list)
            }
            Err(refusal) => self.authorities.get(now - USABLE).ok_or_else(|| refusal.into()),
        }
    }

    /// The authority with this id.
    pub(crate) async fn find_authority(&self, id: AuthorityId) -> Result<AuthorityRecord, CoreError> {
        let list = self.authorities().await?;
        list.iter().find(|authority| authority.authority_id == id).cloned().ok_or_else(|| not_found().into())
    }
}

/// The one with this id or name.
pub(crate) fn find_authority<'a>(
    list: &'a [AuthorityRecord],
    id_or_name: &str,
) -> Option<&'a AuthorityRecord> {
    let id = id_or_name.parse::<AuthorityId>().ok();
    list.iter().find(|authority| Some(authority.authority_id) == id || authority.name == id_or_name)
}

/// The authority for a request: the one named, else the first active one that the policy takes and
/// that serves the profile; issuing authorities go before roots.
///
/// # Errors
/// `authority_not_found`, `authority_not_allowed`.
pub(crate) fn choose_authority<'a>(
    list: &'a [AuthorityRecord],
    named: Option<&str>,
    profile: &str,
    taken: impl Fn(&AuthorityRecord) -> bool,
) -> Result<&'a AuthorityRecord, Refusal> {
    if let Some(named) = named {
        return find_authority(list, named).ok_or_else(|| not_found().field("/authority"));
    }
    let mut fitting: Vec<&AuthorityRecord> = list
        .iter()
        .filter(|authority| authority.status == "active" && taken(authority))
        .filter(|authority| authority.profiles.iter().any(|name| name == profile))
        .collect();
    fitting.sort_by_key(|authority| authority.parent_id.is_none());
    fitting.first().copied().ok_or_else(|| {
        Refusal::new(
            ErrorCode::AuthorityNotAllowed,
            format!("no active authority that the policy takes serves the profile `{profile}`"),
        )
        .hint("name another profile or policy, or ask an operator which authorities there are")
        .field("/profile")
    })
}

/// Successions that are followed from one authority.
const LONGEST_SUCCESSION: usize = 8;

/// Who signs for `chosen`: itself, or, when it ends before what is asked for, the authority that takes over from it.
pub(crate) fn succeeding<'a>(
    list: &'a [AuthorityRecord],
    chosen: &'a AuthorityRecord,
    validity_seconds: u64,
    now: Time,
) -> &'a AuthorityRecord {
    let seconds = i64::try_from(validity_seconds).unwrap_or(i64::MAX);
    let outlives = |authority: &AuthorityRecord| (authority.not_after - now).num_seconds() >= seconds;
    let mut signer = chosen;
    for _ in 0..LONGEST_SUCCESSION {
        let next = list.iter().find(|one| Some(one.authority_id) == signer.successor_id);
        match next {
            Some(next) if !outlives(signer) && next.status == "active" => signer = next,
            _ => break,
        }
    }
    signer
}

/// Fails unless the authority can do this now, as far as Core knows it.
///
/// # Errors
/// `authority_suspended`, `profile_not_allowed`, `validity_too_long`, `validity_beyond_authority`.
pub(crate) fn check_authority(
    authority: &AuthorityRecord,
    profile: &str,
    validity_seconds: u64,
    now: Time,
) -> Result<(), Refusal> {
    let name = &authority.name;
    if authority.status != "active" {
        return Err(Refusal::new(
            ErrorCode::AuthoritySuspended,
            format!("the authority `{name}` is {}", authority.status),
        )
        .field("/authority"));
    }
    if !authority.profiles.iter().any(|allowed| allowed == profile) {
        return Err(Refusal::new(
            ErrorCode::ProfileNotAllowed,
            format!("the authority `{name}` does not serve the profile `{profile}`"),
        )
        .hint(format!("it serves {}", authority.profiles.join(", ")))
        .field("/profile"));
    }
    let most = authority.max_validity_seconds;
    if validity_seconds > most {
        return Err(Refusal::new(
            ErrorCode::ValidityTooLong,
            format!(
                "{validity_seconds} seconds are too long, the authority `{name}` issues for {most} at most"
            ),
        )
        .field("/validity_seconds"));
    }
    let left = u64::try_from((authority.not_after - now).num_seconds()).unwrap_or(0);
    if validity_seconds > left {
        return Err(Refusal::new(
            ErrorCode::ValidityBeyondAuthority,
            format!("the authority `{name}` itself ends at {}", authority.not_after),
        )
        .hint(format!("ask for {left} seconds or less"))
        .field("/validity_seconds"));
    }
    Ok(())
}

fn not_found() -> Refusal {
    Refusal::new(ErrorCode::AuthorityNotFound, "there is no such authority")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::{CertificateId, Entropy, KeyAlgorithm};

    fn now() -> Time {
        chrono::DateTime::from_timestamp(1_700_000_000, 0).unwrap()
    }

    fn authority(name: &str, parent: bool, status: &str) -> AuthorityRecord {
        let entropy = Entropy::system();
        AuthorityRecord {
            authority_id: AuthorityId::generate(now(), &entropy),
            name: name.to_owned(),
            parent_id: parent.then(|| AuthorityId::generate(now(), &entropy)),
            status: status.to_owned(),
            subject: "CN=x".to_owned(),
            key_algorithm: KeyAlgorithm::EcdsaP256,
            certificate: String::new(),
            certificate_id: CertificateId::generate(now(), &entropy),
            not_before: now(),
            not_after: now() + TimeDelta::days(100),
            profiles: vec!["tls-server".to_owned()],
            max_validity_seconds: 90 * 86_400,
            successor_id: None,
            crl_number: 1,
            next_crl_at: None,
            crl_shards: 0,
            delta_crls: false,
        }
    }

    #[test]
    fn an_issuing_authority_goes_before_a_root_and_a_suspended_one_is_passed_over() {
        let list = [
            authority("root", false, "active"),
            authority("old", true, "suspended"),
            authority("issuing", true, "active"),
        ];
        let chosen = |named| choose_authority(&list, named, "tls-server", |_| true);
        assert_eq!(chosen(None).unwrap().name, "issuing");
        assert_eq!(chosen(Some("root")).unwrap().name, "root");
        assert_eq!(chosen(Some("none")).unwrap_err().code, ErrorCode::AuthorityNotFound);
        let refused = choose_authority(&list, None, "tls-server", |_| false).unwrap_err();
        assert_eq!(refused.code, ErrorCode::AuthorityNotAllowed);
    }

    #[test]
    fn who_cannot_outlive_a_certificate_leaves_it_to_the_successor() {
        let day = 86_400_u64;
        let third =
            AuthorityRecord { not_after: now() + TimeDelta::days(900), ..authority("3", true, "active") };
        let second =
            AuthorityRecord { successor_id: Some(third.authority_id), ..authority("2", true, "active") };
        let first = AuthorityRecord {
            not_after: now() + TimeDelta::days(10),
            successor_id: Some(second.authority_id),
            ..authority("1", true, "active")
        };
        let list = [first.clone(), second.clone(), third];
        let signer =
            |list: &[AuthorityRecord], days| succeeding(list, &list[0], days * day, now()).name.clone();
        assert_eq!(
            ["1", "1", "2", "2", "3"],
            [1, 10, 11, 100, 101].map(|days| signer(&list, days)).each_ref().map(String::as_str)
        );
        let suspended = AuthorityRecord { status: "suspended".to_owned(), ..second };
        assert_eq!(signer(&[first, suspended], 11), "1", "it is then told that it ends too early");
    }

    #[test]
    fn what_an_authority_cannot_do_is_refused_before_it_is_asked() {
        let code = |authority: &AuthorityRecord, profile, seconds| {
            check_authority(authority, profile, seconds, now()).err().map(|refusal| refusal.code)
        };
        let issuing = authority("issuing", true, "active");
        assert_eq!(code(&issuing, "tls-server", 86_400), None);
        assert_eq!(code(&issuing, "tls-client", 1), Some(ErrorCode::ProfileNotAllowed));
        assert_eq!(code(&issuing, "tls-server", 91 * 86_400), Some(ErrorCode::ValidityTooLong));
        let suspended = authority("old", true, "suspended");
        assert_eq!(code(&suspended, "tls-server", 1), Some(ErrorCode::AuthoritySuspended));
        let ending = AuthorityRecord { not_after: now() + TimeDelta::hours(1), ..issuing };
        assert_eq!(code(&ending, "tls-server", 3601), Some(ErrorCode::ValidityBeyondAuthority));
        assert_eq!(code(&ending, "tls-server", 3600), None);
    }
}
