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

/// What a tenant alone was told, in answer to what concerns it alone. `shared` is everybody's.
pub(super) fn own_marks(tenant: &Tenant, shared: &BTreeSet<String>) -> BTreeSet<String> {
    let exchanges = tenant.exchanges();
    let told = exchanges.iter().filter(|one| one.own).flat_map(|one| marks(&one.told));
    told.filter(|mark| !shared.contains(*mark)).map(str::to_owned).collect()
}

/// Ids in a text, as those that everybody may see.
pub(super) fn shared_marks(texts: &[String]) -> BTreeSet<String> {
    texts.iter().flat_map(|text| marks(text)).map(str::to_owned).collect()
}

/// Where `tenant` was told something of the other that it had not sent itself.
pub(super) fn find(tenant: &Tenant, canary: &str, theirs: &BTreeSet<String>) -> Vec<String> {
    let exchanges = tenant.exchanges();
    exchanges.iter().flat_map(|one| in_exchange(one, canary, theirs)).collect()
}

fn in_exchange(one: &Exchange, canary: &str, theirs: &BTreeSet<String>) -> Vec<String> {
    let told_marks = marks(&one.told).filter(|mark| theirs.contains(*mark) && !one.sent.contains(*mark));
    let mut found: Vec<String> =
        told_marks.map(|mark| format!("{}: {mark}: {}", one.call, one.told)).collect();
    if !one.sent.contains(canary) && holds(&one.told, canary) {
        found.push(format!("{}: {canary}: {}", one.call, one.told));
    }
    found
}

/// Whether the text is there, be it in Base64, as in certificates.
pub(super) fn holds(text: &str, canary: &str) -> bool {
    if text.to_ascii_lowercase().contains(canary) {
        return true;
    }
    let joined = text.replace("\\n", "").replace('\n', "");
    let tokens = joined.split(|it: char| !(it.is_ascii_alphanumeric() || "+/=".contains(it)));
    tokens.filter(|token| token.len() >= 40).any(|token| {
        let whole = &token[..token.len() / 4 * 4];
        STANDARD.decode(whole).is_ok_and(|octets| memchr::memmem::find(&octets, canary.as_bytes()).is_some())
    })
}
