//! Filters: attributes that equal something, joined by `and` (a part of RFC 7644 §3.4.2.2).

use super::failure::ScimFailure;

/// Longest filter, in octets.
const LONGEST: usize = 1024;

/// One comparison: the attribute in lower case, without the schema before it, and the text it must equal.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Term {
    pub(super) attribute: String,
    pub(super) value: String,
}

/// Reads a filter on resources of a schema.
pub(super) fn parse(filter: &str, schema: &str) -> Result<Vec<Term>, ScimFailure> {
    if filter.len() > LONGEST {
        return Err(ScimFailure::filter(format!("a filter has {LONGEST} octets at most")));
    }
    let mut rest = filter.trim();
    let mut terms: Vec<Term> = Vec::new();
    loop {
        let (term, after) = parse_term(rest, schema)?;
        if terms.iter().any(|known| known.attribute == term.attribute) {
            return Err(not_understood());
        }
        terms.push(term);
        if after.is_empty() {
            return Ok(terms);
        }
        let (word, next) = word(after)?;
        if !word.eq_ignore_ascii_case("and") {
            return Err(not_understood());
        }
        rest = next;
    }
}

/// A comparison of an attribute that this resource has no filter for.
pub(super) fn unknown(attribute: &str, known: &str) -> ScimFailure {
    let shown: String = attribute.chars().take(60).collect();
    ScimFailure::filter(format!("there is no filter on `{shown}`, only on {known}"))
}

fn parse_term<'a>(text: &'a str, schema: &str) -> Result<(Term, &'a str), ScimFailure> {
    let (attribute, rest) = word(text)?;
    let (operator, rest) = word(rest)?;
    if !operator.eq_ignore_ascii_case("eq") {
        return Err(not_understood());
    }
    let mut values = serde_json::Deserializer::from_str(rest).into_iter::<String>();
    let value = values.next().and_then(Result::ok).ok_or_else(not_understood)?;
    let after = rest.get(values.byte_offset()..).unwrap_or_default();
    if !after.is_empty() && !after.starts_with(' ') {
        return Err(not_understood());
    }
    Ok((Term { attribute: plain(attribute, schema), value }, after.trim()))
}

/// An attribute in lower case, without the schema before it.
pub(super) fn plain(attribute: &str, schema: &str) -> String {
    let attribute = attribute.to_ascii_lowercase();
    let prefix = format!("{}:", schema.to_ascii_lowercase());
    attribute.strip_prefix(&prefix).map(str::to_owned).unwrap_or(attribute)
}

/// The first word, and what comes after it.
fn word(text: &str) -> Result<(&str, &str), ScimFailure> {
    let (word, rest) = text.split_once(' ').ok_or_else(not_understood)?;
    Ok((word, rest.trim_start()))
}

fn not_understood() -> ScimFailure {
    ScimFailure::filter("filters are of the form `attribute eq \"text\"`, several of them joined by `and`")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scim::USER;

    fn read(filter: &str) -> Option<Vec<(String, String)>> {
        let terms = parse(filter, USER).ok()?;
        Some(terms.into_iter().map(|term| (term.attribute, term.value)).collect())
    }

    #[test]
    fn comparisons_are_read_whatever_their_case() {
        let one = vec![("username".to_owned(), "ann".to_owned())];
        assert_eq!(read("userName eq \"ann\""), Some(one.clone()));
        assert_eq!(read("urn:ietf:params:scim:schemas:core:2.0:User:USERNAME Eq \"ann\""), Some(one));
        let two = read("externalId eq \"a \\\" and b\" AND emails.value eq \"x@y\"").unwrap();
        assert_eq!(two[0].1, "a \" and b");
        assert_eq!(two[1], ("emails.value".to_owned(), "x@y".to_owned()));
    }

    #[test]
    fn anything_else_is_refused_as_a_filter() {
        for wrong in [
            "",
            "userName",
            "userName eq",
            "userName eq ann",
            "userName eq true",
            "userName sw \"a\"",
            "userName pr",
            "not (userName eq \"a\")",
            "(userName eq \"a\")",
            "userName eq \"a\" or userName eq \"b\"",
            "userName eq \"a\" and userName eq \"b\"",
            "userName eq \"a\" and",
            "userName eq \"a\"and id eq \"b\"",
            "emails[type eq \"work\"]",
            &format!("userName eq \"{}\"", "a".repeat(2000)),
        ] {
            let failure = parse(wrong, USER).unwrap_err();
            assert_eq!(failure.kind(), Some("invalidFilter"), "{wrong}");
        }
    }
}
