//! Which names a policy allows in certificates.

use clm_types::{ErrorCode, Refusal};
use clm_x509::San;
use serde::{Deserialize, Serialize};
use utoipa::ToSchema;

use crate::ip_range::IpRange;

/// Names that may stand in a certificate. What is not listed is not allowed.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(deny_unknown_fields, default)]
pub struct NameRules {
    /// `example.com` allows it and every name below it; `.` allows every DNS name.
    pub dns_suffixes: Vec<String>,
    /// DNS names allowed exactly as they stand.
    pub dns_names: Vec<String>,
    /// Whether `*.` names are allowed where the name without `*.` is.
    pub wildcards_allowed: bool,
    /// Address ranges such as `10.0.0.0/8` or `2001:db8::/32`.
    #[schema(value_type = Vec<String>)]
    pub ip_ranges: Vec<IpRange>,
    /// Domains of e-mail addresses, with all below them; `.` allows every one.
    pub email_domains: Vec<String>,
    /// Starts of URIs, such as `spiffe://example.com/`; they end at a part's boundary.
    pub uri_prefixes: Vec<String>,
}

impl NameRules {
    /// Fails unless every part of the document means something.
    ///
    /// # Errors
    /// `policy_invalid`.
    pub fn check_document(&self) -> Result<(), Refusal> {
        let wrong = |list: &str, index: usize, text: &str, want: &str| {
            Err(Refusal::new(ErrorCode::PolicyInvalid, format!("`{text}` is not {want}"))
                .field(format!("/rules/names/{list}/{index}")))
        };
        let lists = [
            ("dns_suffixes", &self.dns_suffixes, true),
            ("dns_names", &self.dns_names, false),
            ("email_domains", &self.email_domains, true),
        ];
        for (list, names, root_allowed) in lists {
            for (index, name) in names.iter().enumerate() {
                if !(is_plain_domain(name) || root_allowed && name == ".") {
                    return wrong(list, index, name, "a DNS name in lower case without `*`");
                }
            }
        }
        for (index, prefix) in self.uri_prefixes.iter().enumerate() {
            if !prefix.contains(':') || prefix.chars().any(char::is_whitespace) {
                return wrong("uri_prefixes", index, prefix, "the start of a URI with its scheme");
            }
        }
        Ok(())
    }

    /// Fails unless the name is allowed; `field` is where it stands in the request.
    ///
    /// # Errors
    /// `wildcard_not_allowed`, `name_not_allowed`.
    pub fn check(&self, name: &San, field: &str) -> Result<(), Refusal> {
        if name.is_wildcard() && !self.wildcards_allowed {
            return Err(Refusal::new(
                ErrorCode::WildcardNotAllowed,
                format!("the policy allows no wildcard names; `{}` is one", name.value()),
            )
            .field(field));
        }
        if self.allows(name) {
            return Ok(());
        }
        Err(Refusal::new(
            ErrorCode::NameNotAllowed,
            format!("the policy does not allow `{name}`: {}", self.in_words(name)),
        )
        .field(field))
    }

    fn allows(&self, name: &San) -> bool {
        match name {
            San::Dns(name) => {
                let base = name.strip_prefix("*.").unwrap_or(name);
                is_below_any(base, &self.dns_suffixes) || self.dns_names.iter().any(|each| each == base)
            }
            San::Ip(address) => self.ip_ranges.iter().any(|range| range.contains(*address)),
            San::Email(address) => {
                address.rsplit_once('@').is_some_and(|(_, domain)| is_below_any(domain, &self.email_domains))
            }
            San::Uri(uri) => self.uri_prefixes.iter().any(|prefix| starts_at(uri, prefix)),
        }
    }

    fn in_words(&self, name: &San) -> String {
        let list = |what: &str, allowed: Vec<String>| match allowed.len() {
            0 => format!("it allows no {what}"),
            1..=10 => format!("it allows the {what} {}", allowed.join(", ")),
            more => format!("it is none of its {more} {what}"),
        };
        match name {
            San::Dns(_) => {
                let below = self.dns_suffixes.iter().map(|suffix| format!("{suffix} and below"));
                list("DNS names", below.chain(self.dns_names.iter().cloned()).collect())
            }
            San::Ip(_) => list("address ranges", self.ip_ranges.iter().map(ToString::to_string).collect()),
            San::Email(_) => list("e-mail domains", self.email_domains.clone()),
            San::Uri(_) => list("URIs that start with", self.uri_prefixes.clone()),
        }
    }
}

/// Whether a DNS name is one of these or below one; `.` is above all.
pub(crate) fn is_below_any(name: &str, suffixes: &[String]) -> bool {
    suffixes.iter().any(|suffix| {
        suffix == "."
            || name.strip_suffix(suffix.as_str()).is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    })
}

fn is_plain_domain(name: &str) -> bool {
    matches!(San::dns(name), Ok(San::Dns(canonical)) if canonical == name && !name.starts_with('*'))
}

/// Whether a URI starts with a prefix, at the boundary of a part, without climbing back out of it.
fn starts_at(uri: &str, prefix: &str) -> bool {
    let Some(rest) = uri.strip_prefix(prefix) else {
        return false;
    };
    let at_boundary = rest.is_empty() || prefix.ends_with(['/', ':']) || rest.starts_with(['/', '?', '#']);
    let path = rest.split(['?', '#']).next().unwrap_or_default();
    let climbs = path.split('/').any(|part| {
        let part = part.to_ascii_lowercase().replace("%2e", ".");
        part == "." || part == ".."
    });
    at_boundary && !climbs
}

#[cfg(test)]
mod tests {
    use super::*;

    fn rules() -> NameRules {
        NameRules {
            dns_suffixes: vec!["example.com".to_owned()],
            dns_names: vec!["www.example.org".to_owned()],
            wildcards_allowed: false,
            ip_ranges: vec!["10.0.0.0/8".parse().unwrap(), "2001:db8::/32".parse().unwrap()],
            email_domains: vec!["example.com".to_owned()],
            uri_prefixes: vec!["spiffe://example.com/team".to_owned(), "urn:".to_owned()],
        }
    }

    fn verdict(rules: &NameRules, name: &str) -> Option<ErrorCode> {
        let name: San = name.parse().unwrap();
        rules.check(&name, "/sans/0").err().map(|refusal| refusal.code)
    }

    #[test]
    fn names_inside_the_rules_are_allowed() {
        for name in [
            "dns:example.com",
            "dns:a.b.example.com",
            "dns:www.example.org",
            "ip:10.255.0.1",
            "ip:2001:db8::1",
            "email:ann@example.com",
            "email:ann@mail.example.com",
            "uri:spiffe://example.com/team",
            "uri:spiffe://example.com/team/x",
            "uri:urn:uuid:1",
        ] {
            assert_eq!(verdict(&rules(), name), None, "{name}");
        }
    }

    #[test]
    fn names_that_only_look_alike_are_refused() {
        for name in [
            "dns:badexample.com",
            "dns:example.com.evil.net",
            "dns:a.www.example.org",
            "ip:11.0.0.1",
            "ip:2001:db9::1",
            "email:ann@example.com.evil.net",
            "uri:spiffe://example.com/teammate",
            "uri:spiffe://example.com/team/../root",
            "uri:spiffe://example.com/team/%2E%2e/root",
            "uri:https://example.com/",
        ] {
            assert_eq!(verdict(&rules(), name), Some(ErrorCode::NameNotAllowed), "{name}");
        }
    }

    #[test]
    fn wildcards_need_their_own_permission() {
        let mut rules = rules();
        assert_eq!(verdict(&rules, "dns:*.example.com"), Some(ErrorCode::WildcardNotAllowed));
        rules.wildcards_allowed = true;
        assert_eq!(verdict(&rules, "dns:*.example.com"), None);
        assert_eq!(verdict(&rules, "dns:*.example.net"), Some(ErrorCode::NameNotAllowed));
    }

    #[test]
    fn the_root_suffix_allows_every_dns_name_and_no_address() {
        let rules = NameRules { dns_suffixes: vec![".".to_owned()], ..NameRules::default() };
        assert!(rules.check_document().is_ok());
        assert_eq!(verdict(&rules, "dns:anything.example"), None);
        assert_eq!(verdict(&rules, "ip:10.0.0.1"), Some(ErrorCode::NameNotAllowed));
    }

    #[test]
    fn a_document_with_a_name_that_is_none_is_refused() {
        for (dns, uri) in [("*.example.com", "urn:"), ("Example.com", "urn:"), ("example.com", "example")] {
            let rules = NameRules {
                dns_suffixes: vec![dns.to_owned()],
                uri_prefixes: vec![uri.to_owned()],
                ..NameRules::default()
            };
            assert_eq!(rules.check_document().unwrap_err().code, ErrorCode::PolicyInvalid);
        }
    }
}
