//! Looks through everything that a tenant was told for what is another's.

use std::collections::BTreeSet;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::tenant::{Exchange, Tenant};

/// Shortest text that is taken for an id, a serial number or a fingerprint.
const SHORTEST: usize = 30;

/// Ids, serial numbers and fingerprints in a text.
fn marks(text: &str) -> impl Iterator<Item = &str> {
    text.split(|it: char| !it.is_ascii_hexdigit() && it != '-').filter(|mark| mark.len() >= SHORTEST)
}

/// What a tenant alone was told, in answer to what concerns it alone. `shared` is everybody's; what it tried with the other's it
/// reads again in its own audit log.
pub(super) fn own_marks(tenant: &Tenant, shared: &BTreeSet<String>) -> BTreeSet<String> {
    let exchanges = tenant.exchanges();
    let sent = sent_of_others(&exchanges);
    let sent: BTreeSet<&str> = marks(&sent).collect();
    let told = exchanges.iter().filter(|one| one.own).flat_map(|one| marks(&one.told));
    told.filter(|mark| !shared.contains(*mark) && !sent.contains(*mark)).map(str::to_owned).collect()
}

/// What a tenant sent of the other's.
fn sent_of_others(exchanges: &[Exchange]) -> String {
    exchanges.iter().filter(|one| !one.own).flat_map(|one| [one.sent.as_str(), "\n"]).collect()
}

/// Ids in a text, as those that everybody may see.
pub(super) fn shared_marks(texts: &[String]) -> BTreeSet<String> {
    texts.iter().flat_map(|text| marks(text)).map(str::to_owned).collect()
}

/// Where `tenant` was told something of the other that it had not sent itself: in that very call or, as the audit log tells of
/// what was tried, earlier.
pub(super) fn find(tenant: &Tenant, canary: &str, theirs: &BTreeSet<String>) -> Vec<String> {
    let exchanges = tenant.exchanges();
    let ever = sent_of_others(&exchanges);
    let mut found = Vec::new();
    for one in &exchanges {
        let sent = if one.call.starts_with("GET /api/v1/audit") { &ever } else { &one.sent };
        let told = marks(&one.told).filter(|mark| theirs.contains(*mark) && !sent.contains(*mark));
        found.extend(told.map(|mark| format!("{}: {mark}: {}", one.call, one.told)));
        let words = one.told.split(|it: char| !it.is_ascii_alphanumeric() && !"-.@".contains(it));
        let words = words.filter(|word| word.contains(canary) && !sent.contains(*word));
        found.extend(words.map(|word| format!("{}: {word}: {}", one.call, one.told)));
        if in_base64(&one.told, canary) {
            found.push(format!("{}: {canary} in Base64: {}", one.call, one.told));
        }
    }
    found
}

/// Whether the text is there in Base64, as in certificates.
fn in_base64(text: &str, canary: &str) -> bool {
    let joined = text.replace("\\n", "").replace('\n', "");
    let tokens = joined.split(|it: char| !(it.is_ascii_alphanumeric() || "+/=".contains(it)));
    tokens.filter(|token| token.len() >= 40).any(|token| {
        let whole = &token[..token.len() / 4 * 4];
        STANDARD.decode(whole).is_ok_and(|octets| memchr::memmem::find(&octets, canary.as_bytes()).is_some())
    })
}

#[test]
fn what_is_hidden_in_base64_is_found() {
    assert!(in_base64(&STANDARD.encode("x".repeat(31) + "azalea-1"), "azalea-1"));
    assert!(!in_base64(&STANDARD.encode("x".repeat(40)), "azalea-1"));
}
