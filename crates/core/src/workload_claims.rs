//! What a workload rule asks of a token: claims and their values.
//!
//! A claim is named, or found by a JSON pointer (RFC 6901) where it lies deeper. A text may have stars, each for one or more
//! characters of a part between `/` and `:`, so that `repo:acme/*:ref:refs/heads/main` means every repository of acme and no other.

use clm_types::{ErrorCode, Refusal};
use serde_json::{Map, Value};

/// Most claims that a rule asks for.
const MOST: usize = 20;
/// Longest name and longest text, in octets.
const LONGEST_NAME: usize = 200;
const LONGEST_TEXT: usize = 1000;
/// Most stars in a text.
const MOST_STARS: usize = 10;
const SEPARATORS: [char; 2] = ['/', ':'];
/// What is checked of every token without being asked for.
const STANDARD: [&str; 6] = ["iss", "aud", "exp", "nbf", "iat", "jti"];
/// Claims that say whose workload it is. `sub` does so by what follows one of [`LABELS`].
const NAMING: [&str; 14] = [
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "repositoryUuid",
    "workspaceUuid",
    "project_path",
    "project_id",
    "namespace_path",
    "namespace_id",
    "organization_id",
    "organization_slug",
    "/kubernetes.io/namespace",
    "/kubernetes.io/serviceaccount/uid",
];
/// Words by which subjects begin, and which say that a name follows that the issuer answers for. Any other word (`environment`,
/// `user`) may be of whoever owns a repository: they give `sub` another form at some issuers, whoever those belong to.
const LABELS: [&str; 14] = [
    "account",
    "namespace_id",
    "namespace_path",
    "org",
    "organization",
    "project",
    "project_id",
    "project_path",
    "repo",
    "repository",
    "repository_id",
    "repository_owner",
    "repository_owner_id",
    "system",
];
/// Words by which addresses begin. Their host is the issuer, or that of all: what follows says whose workload it is.
const SCHEMES: [&str; 3] = ["http", "https", "spiffe"];
/// Words within subjects that name nobody.
const FILLERS: [&str; 5] = ["", "job", "ns", "sa", "serviceaccount"];

/// Fails unless these claims tell somebody's workloads from all others of an issuer: those who share it are not one.
pub(crate) fn check_required(claims: &Map<String, Value>) -> Result<(), Refusal> {
    if claims.len() > MOST {
        return Err(invalid("", &format!("a rule asks for {MOST} claims at most")));
    }
    for (name, value) in claims {
        check_claim(name, value).map_err(|detail| invalid(name, detail))?;
    }
    if claims.iter().any(|(name, value)| names_somebody(name, value)) {
        return Ok(());
    }
    Err(invalid("", "these claims do not say whose workload it is").hint(
        "ask for `sub` with the owner written out, as in repo:acme/web:ref:refs/heads/main, or for a claim such as repository_id, project_id or /kubernetes.io/namespace",
    ))
}

fn check_claim(name: &str, value: &Value) -> Result<(), &'static str> {
    if name.is_empty() || name.len() > LONGEST_NAME || name.chars().any(char::is_control) {
        return Err("a claim's name is 1 to 200 octets without control characters");
    }
    if STANDARD.contains(&name.trim_start_matches('/')) {
        return Err("the provider, the audience and the times of a token are checked anyway");
    }
    match value {
        Value::String(text) if text.is_empty() || text.len() > LONGEST_TEXT => {
            Err("a claim's text is 1 to 1000 octets")
        }
        Value::String(text) if text.chars().any(char::is_control) => {
            Err("a claim's text has no control characters")
        }
        Value::String(text) if text.matches('*').count() > MOST_STARS => {
            Err("a claim's text has 10 stars at most")
        }
        Value::String(_) | Value::Bool(_) => Ok(()),
        Value::Number(number) if !number.is_f64() => Ok(()),
        _ => Err("a claim's value is a text, a whole number, or true or false"),
    }
}

/// Whether this claim says whose workload it is.
fn names_somebody(name: &str, value: &Value) -> bool {
    match value {
        Value::String(text) if name == "sub" => is_opaque(text) || has_labelled_name(text),
        Value::String(text) if NAMING.contains(&name) => {
            text.split(SEPARATORS).next().is_some_and(is_written_out)
        }
        Value::Number(_) => NAMING.contains(&name),
        _ => false,
    }
}

fn is_written_out(part: &str) -> bool {
    !part.is_empty() && !part.contains('*')
}

/// Whether a subject is one word of an issuer's own making, such as the number of an account.
fn is_opaque(subject: &str) -> bool {
    !subject.contains(SEPARATORS) && is_written_out(subject) && !LABELS.contains(&subject)
}

/// Whether a subject begins by a word that says what follows, and what follows is written out: of an address the host and one part
/// more.
fn has_labelled_name(subject: &str) -> bool {
    let mut parts = subject.split(SEPARATORS);
    let needed = match parts.next() {
        Some(first) if LABELS.contains(&first) => 1,
        Some(first) if SCHEMES.contains(&first) => 2,
        _ => return false,
    };
    // Numbers in an address may be its port.
    let is_port = |part: &str| needed == 2 && part.bytes().all(|octet| octet.is_ascii_digit());
    let says_nothing = |part: &str| LABELS.contains(&part) || FILLERS.contains(&part) || is_port(part);
    let names: Vec<_> = parts.filter(|part| !says_nothing(part)).take(needed).collect();
    names.len() == needed && names.into_iter().all(is_written_out)
}

/// The first claim that a token does not have as it is asked for.
pub(crate) fn mismatch<'a>(required: &'a Map<String, Value>, token: &Map<String, Value>) -> Option<&'a str> {
    let whole = Value::Object(token.clone());
    let differs = |name: &str, asked: &Value| {
        let found = if name.starts_with('/') { whole.pointer(name) } else { token.get(name) };
        found.is_none_or(|found| !fits(asked, found))
    };
    required.iter().find(|(name, asked)| differs(name, asked)).map(|(name, _)| name.as_str())
}

fn fits(asked: &Value, found: &Value) -> bool {
    match (asked, found) {
        (Value::String(pattern), Value::String(text)) => fits_text(pattern, text),
        (Value::Bool(_), Value::Bool(_)) | (Value::Number(_), Value::Number(_)) => asked == found,
        _ => false,
    }
}

/// Part by part: a star never stands for a separator.
fn fits_text(pattern: &str, text: &str) -> bool {
    let (mut asked, mut found) = (pattern.split_inclusive(SEPARATORS), text.split_inclusive(SEPARATORS));
    loop {
        match (asked.next(), found.next()) {
            (None, None) => return true,
            (Some(asked), Some(found)) if fits_part(asked, found) => {}
            _ => return false,
        }
    }
}

fn fits_part(pattern: &str, part: &str) -> bool {
    // The separator at its end is no character that a star could stand for.
    let (asked, found) = (pattern.strip_suffix(SEPARATORS), part.strip_suffix(SEPARATORS));
    let (pattern, part) = match (asked, found) {
        (None, None) => (pattern, part),
        (Some(asked), Some(found)) if pattern.ends_with(':') == part.ends_with(':') => (asked, found),
        _ => return false,
    };
    match pattern.split_once('*') {
        None => pattern == part,
        Some((beginning, rest)) => {
            part.strip_prefix(beginning).is_some_and(|left| fits_behind_star(rest, left))
        }
    }
}

/// Whether a star and this pattern fit a text.
fn fits_behind_star(pattern: &str, text: &str) -> bool {
    let mut characters = text.chars();
    if characters.next().is_none() {
        return false;
    }
    let left = characters.as_str();
    match pattern.split_once('*') {
        None => left.ends_with(pattern),
        // The earliest place leaves most to what follows.
        Some((piece, rest)) => left.split_once(piece).is_some_and(|(_, left)| fits_behind_star(rest, left)),
    }
}

fn invalid(name: &str, detail: &str) -> Refusal {
    let pointer = name.replace('~', "~0").replace('/', "~1");
    let field =
        if name.is_empty() { "/required_claims".to_owned() } else { format!("/required_claims/{pointer}") };
    Refusal::new(ErrorCode::InvalidRequest, detail).field(field)
}

#[cfg(test)]
mod tests {
    use clm_types::Entropy;
    use serde_json::json;

    use super::*;

    fn map(value: Value) -> Map<String, Value> {
        match value {
            Value::Object(map) => map,
            _ => panic!("an object"),
        }
    }

    #[test]
    fn a_star_stands_for_a_part_and_for_nothing_beyond_it() {
        for (pattern, text, fits) in [
            ("a", "a", true),
            ("a", "A", false),
            ("a", "ab", false),
            ("*", "a", true),
            ("*", "", false),
            ("*", "a/b", false),
            ("*", "a:b", false),
            ("*/*", "a/b", true),
            ("*/*", "a:b", false),
            ("*/*", "a/b/c", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main", true),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/web:ref:refs/heads/main2", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/a:b/c:ref:refs/heads/main", false),
            ("repo:acme/*:ref:refs/heads/main", "repo:acme/:ref:refs/heads/main", false),
            ("repo:acme/web:*", "repo:acme/web:ref:refs/heads/main", false),
            ("repo:acme/web:*", "repo:acme/web:pull_request", true),
            ("refs/tags/v*", "refs/tags/v1.2", true),
            ("refs/tags/v*", "refs/tags/v", false),
            ("refs/tags/v*", "refs/tags/v1/evil", false),
            ("refs/tags/v*.*", "refs/tags/v1.2", true),
            ("a*a", "aa", false),
            ("a*a", "aba", true),
            ("**", "a", false),
            ("**", "ab", true),
            ("*ab*ab", "xabxab", true),
            ("*ab*ab", "xabab", false),
            ("*/", "a/", true),
            ("*/", "a", false),
            ("*", "a/", false),
            ("ä*", "äö", true),
            ("", "", true),
            ("a\\*", "a\\b", true),
        ] {
            assert_eq!(fits_text(pattern, text), fits, "{pattern} {text}");
        }
    }

    /// The definition, written down as slowly as it can be.
    fn by_definition(pattern: &[char], text: &[char]) -> bool {
        match (pattern, text) {
            ([], []) => true,
            (['*', rest @ ..], [first, left @ ..]) if !SEPARATORS.contains(first) => {
                by_definition(rest, left) || by_definition(pattern, left)
            }
            ([asked, rest @ ..], [found, left @ ..]) => {
                *asked != '*' && asked == found && by_definition(rest, left)
            }
            _ => false,
        }
    }

    #[test]
    fn any_pattern_fits_any_text_exactly_as_defined() {
        let entropy = Entropy::seeded(30);
        let word = |alphabet: &[char]| -> Vec<char> {
            let [length] = entropy.bytes::<1>();
            let octets = entropy.bytes::<8>();
            let letters = octets.iter().take(usize::from(length % 9));
            letters.map(|octet| alphabet[usize::from(*octet) % alphabet.len()]).collect()
        };
        let mut fitting = 0;
        for _ in 0..200_000 {
            let (pattern, text) = (word(&['a', 'b', '*', '*', '/', ':']), word(&['a', 'b', 'b', '/', ':']));
            let [asked, found] = [&pattern, &text].map(|letters| letters.iter().collect::<String>());
            let expected = by_definition(&pattern, &text);
            assert_eq!(fits_text(&asked, &found), expected, "{asked} {found}");
            fitting += u32::from(expected);
        }
        assert!(fitting > 1_000, "{fitting}");
    }

    #[test]
    fn a_text_without_stars_fits_itself_alone() {
        let entropy = Entropy::seeded(31);
        for _ in 0..1_000 {
            let text = hex::encode(entropy.bytes::<6>()).replace('a', "/").replace('b', ":");
            assert!(
                fits_text(&text, &text)
                    && !fits_text(&text, &format!("{text}x"))
                    && !fits_text(&format!("{text}/"), &text)
            );
        }
    }

    #[test]
    fn every_claim_must_be_there_as_asked_for() {
        let token = map(
            json!({"sub": "system:serviceaccount:ci:deployer", "protected": true, "attempt": 1, "list": ["a"],
            "kubernetes.io": {"namespace": "ci", "serviceaccount": {"name": "deployer"}}, "a/b": "c"}),
        );
        for (required, differs) in [
            (json!({"sub": "system:serviceaccount:ci:*"}), None),
            (json!({"/kubernetes.io/namespace": "ci", "/kubernetes.io/serviceaccount/name": "dep*"}), None),
            (
                json!({"/sub": "system:serviceaccount:ci:deployer", "/a~1b": "c", "a/b": "c", "/list/0": "a"}),
                None,
            ),
            (json!({"protected": true, "attempt": 1}), None),
            (json!({"protected": false}), Some("protected")),
            (json!({"protected": "true"}), Some("protected")),
            (json!({"attempt": "1"}), Some("attempt")),
            (json!({"attempt": 2}), Some("attempt")),
            (json!({"list": "a"}), Some("list")),
            (json!({"kubernetes.io": "*"}), Some("kubernetes.io")),
            (json!({"/kubernetes.io/namespace": "prod"}), Some("/kubernetes.io/namespace")),
            (json!({"kubernetes.io/namespace": "ci"}), Some("kubernetes.io/namespace")),
            (json!({"missing": "*"}), Some("missing")),
            (json!({"sub": "system:serviceaccount:ci:*", "missing": "x"}), Some("missing")),
        ] {
            assert_eq!(mismatch(&map(required.clone()), &token), differs, "{required}");
        }
    }

    #[test]
    fn a_rule_says_whose_workloads_it_takes() {
        for right in [
            json!({"sub": "repo:acme/web:ref:refs/heads/main"}),
            json!({"sub": "repo:acme/*:environment:production"}),
            json!({"repository": "acme/web", "ref": "refs/heads/*"}),
            json!({"repository_owner_id": "65"}),
            json!({"sub": "repository_owner_id:65:ref:*"}),
            json!({"project_id": "7", "ref_protected": "true"}),
            json!({"project_id": 7}),
            json!({"sub": "project_path:acme/web:ref_type:branch:ref:main"}),
            json!({"sub": "organization:acme:pipeline:*:ref:refs/heads/main"}),
            json!({"sub": "account:acme:org:*:project:*:pipeline:*"}),
            json!({"sub": "113774264463038321964"}),
            json!({"sub": "0b6c2a1e-8a0f-4d0c-9d0e-6f3f0f1d2c3b"}),
            json!({"workspaceUuid": "{0b6c2a1e-8a0f-4d0c-9d0e-6f3f0f1d2c3b}", "sub": "*:*"}),
            json!({"sub": "system:serviceaccount:ci:deployer"}),
            json!({"sub": "system:serviceaccount:ci:*"}),
            json!({"/kubernetes.io/namespace": "ci"}),
            json!({"sub": "spiffe://acme.org/ns/ci/sa/*"}),
            json!({"sub": "https://jenkins.example.com:8443/job/web/*"}),
            // Beside what says it, anything may be asked for.
            json!({"sub": "environment:production", "repository_id": "74"}),
        ] {
            assert!(check_required(&map(right.clone())).is_ok(), "{right}");
        }
        for wrong in [
            json!({}),
            json!({"sub": "*"}),
            json!({"sub": "repo"}),
            json!({"sub": "repo:*"}),
            json!({"sub": "repo:*/*:ref:refs/heads/main"}),
            json!({"sub": "repo:a*/web:ref:refs/heads/main"}),
            json!({"sub": "repo:"}),
            json!({"sub": "environment:production"}),
            json!({"sub": "environment:*"}),
            json!({"sub": "user:*"}),
            json!({"sub": "user:ann"}),
            json!({"sub": "account:*:pipeline:*"}),
            json!({"sub": "account:*:org:acme:pipeline:*"}),
            json!({"sub": "org/*/project/acme"}),
            json!({"sub": "spiffe://*/*"}),
            json!({"sub": "spiffe://acme.org/*"}),
            json!({"sub": "spiffe://acme.org/ns/*/sa/agent"}),
            json!({"sub": "spiffe:acme"}),
            json!({"sub": "https://*/job/web"}),
            json!({"sub": "https://github.com/*"}),
            json!({"sub": "https://jenkins.example.com:8443/*"}),
            json!({"sub": "//acme/web"}),
            json!({"sub": "acme/web"}),
            json!({"sub": true}),
            json!({"/sub": "repo:acme/web:ref:refs/heads/main"}),
            json!({"repository": "*/web"}),
            json!({"repository_owner": "ac*"}),
            json!({"ref": "refs/heads/main", "actor": "ann"}),
            json!({"repository_id": true}),
            json!({"sub": "system:serviceaccount:*:*"}),
            json!({"sub": "system:*:ci:deployer"}),
            json!({"/kubernetes.io/serviceaccount/name": "default"}),
            json!({"/kubernetes.io/namespace": "*"}),
        ] {
            assert!(check_required(&map(wrong.clone())).is_err(), "{wrong}");
        }
    }

    #[test]
    fn values_are_texts_whole_numbers_or_truths() {
        let with = |name: &str, value: Value| {
            let mut claims = map(json!({"sub": "system:serviceaccount:ci:x"}));
            claims.insert(name.to_owned(), value);
            check_required(&claims)
        };
        assert!(with("x", json!(1)).is_ok() && with("x", json!(false)).is_ok());
        for value in [
            json!(1.5),
            json!(null),
            json!([]),
            json!({}),
            json!(""),
            json!("a".repeat(1001)),
            json!("*".repeat(11)),
            json!("a\n"),
        ] {
            assert_eq!(
                with("a/b", value.clone()).unwrap_err().field.as_deref(),
                Some("/required_claims/a~1b"),
                "{value}"
            );
        }
        for name in ["iss", "/iss", "aud", "exp", "jti", "", "a\n"] {
            assert!(with(name, json!("x")).is_err(), "{name}");
        }
        let many: Map<String, Value> = (0..21).map(|number| (format!("sub{number}"), json!("a"))).collect();
        assert!(check_required(&many).is_err());
    }
}
