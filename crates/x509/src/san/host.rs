//! Host names: what DNS names, e-mail addresses and URIs have in common.

use super::{invalid, shown};
use clm_types::{ErrorCode, Refusal};

/// What is right of `*.`, or the whole name.
pub(super) fn wildcard_base(name: &str) -> Result<&str, Refusal> {
    let misplaced = |detail: &str| {
        Err(Refusal::new(ErrorCode::WildcardMisplaced, format!("`{}`: {detail}", shown(name)))
            .hint("a wildcard is the whole left-most label above at least two others: *.example.com"))
    };
    let Some(base) = name.strip_prefix("*.") else {
        return if name.contains('*') { misplaced("`*` is only part of a label") } else { Ok(name) };
    };
    if base.contains('*') {
        misplaced("there is more than one `*`")
    } else if !base.contains('.') {
        misplaced("the wildcard stands for a whole top-level domain")
    } else {
        Ok(base)
    }
}

/// A host name in lower-case ASCII (RFC 1123), its `xn--` labels valid.
pub(super) fn check_host(host: &str) -> Result<(), Refusal> {
    let wrong = |detail: &str| Err(invalid(format!("`{}` is not a DNS name: {detail}", shown(host))));
    if host.is_empty() || host.len() > 253 {
        return wrong("it is empty or longer than 253 octets");
    }
    if host.ends_with('.') {
        return wrong("it ends in a dot");
    }
    if host.rsplit('.').next().is_some_and(|last| last.bytes().all(|octet| octet.is_ascii_digit())) {
        return wrong("its last label is a number");
    }
    for label in host.split('.') {
        if label.is_empty() || label.len() > 63 || label.starts_with('-') || label.ends_with('-') {
            return wrong("a label is empty, longer than 63 octets, or has a hyphen at its end");
        }
        let letter = |octet: u8| octet.is_ascii_lowercase() || octet.is_ascii_digit() || octet == b'-';
        if !label.bytes().all(letter) {
            return wrong("labels have letters, digits and hyphens only");
        }
    }
    let punycode = host.split('.').any(|label| label.starts_with("xn--"));
    if punycode && !idna::domain_to_ascii_strict(host).is_ok_and(|ascii| ascii == host) {
        return wrong("an xn-- label is not valid");
    }
    Ok(())
}

/// `host[:port]` of a URI; no user information.
pub(super) fn check_authority(authority: &str) -> Result<(), Refusal> {
    let wrong = || Err(invalid("the URI has no usable host".to_owned()));
    if let Some(rest) = authority.strip_prefix('[') {
        let Some((host, port)) = rest.split_once(']') else {
            return wrong();
        };
        let port_ok = port.is_empty() || port.strip_prefix(':').is_some_and(is_port);
        return if host.parse::<std::net::Ipv6Addr>().is_ok() && port_ok { Ok(()) } else { wrong() };
    }
    let (host, port) = authority.split_once(':').unwrap_or((authority, "443"));
    if !is_port(port) {
        wrong()
    } else if host.parse::<std::net::Ipv4Addr>().is_ok() {
        Ok(())
    } else {
        check_host(host)
    }
}

fn is_port(text: &str) -> bool {
    text.bytes().all(|octet| octet.is_ascii_digit()) && text.parse::<u16>().is_ok()
}
