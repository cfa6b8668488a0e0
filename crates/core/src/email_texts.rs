//! What e-mail says. Plain text without anything that a user has written but the name to sign in with.

use std::fmt::Write;
use std::net::IpAddr;

use chrono::TimeDelta;
use clm_types::Time;
use zeroize::Zeroizing;

use crate::one_time_links::LinkTerms;
use crate::tokens::Token;

/// News is of no use after so long.
const NEWS: TimeDelta = TimeDelta::days(2);

/// One message.
pub(crate) enum EmailText<'a> {
    /// A link for whoever forgot the password.
    PasswordReset { token: &'a Token, expires_at: Time, address: Option<IpAddr> },
    /// Somebody asked, and e-mail does not suffice for this user.
    PasswordResetRefused { address: Option<IpAddr> },
    /// A link that an administrator has made.
    Link { token: &'a Token, terms: LinkTerms },
    /// Another password.
    PasswordChanged { address: Option<IpAddr> },
    /// A second factor more.
    FactorAdded { what: &'a str, address: Option<IpAddr> },
    /// A second factor less.
    FactorRemoved { what: &'a str, address: Option<IpAddr> },
    /// Another address: the one before is told.
    AddressChanged { address: Option<IpAddr> },
    /// Somebody was locked after failed sign-ins.
    Locked { title: &'a str, body: &'a str },
}

impl EmailText<'_> {
    /// `email_messages.kind`.
    pub(crate) const fn kind(&self) -> &'static str {
        match self {
            Self::PasswordReset { .. } => "password.reset",
            Self::PasswordResetRefused { .. } => "password.reset_refused",
            Self::Link { .. } => "link.create",
            Self::PasswordChanged { .. } => "password.change",
            Self::FactorAdded { .. } => "factor.add",
            Self::FactorRemoved { .. } => "factor.remove",
            Self::AddressChanged { .. } => "address.change",
            Self::Locked { .. } => "user.lock",
        }
    }

    /// When it is of no use any more.
    pub(crate) fn expires_at(&self, now: Time) -> Time {
        match self {
            Self::PasswordReset { expires_at, .. } => *expires_at,
            Self::Link { terms, .. } => terms.expires_at,
            _ => now + NEWS,
        }
    }

    /// Subject, one line, and text.
    pub(crate) fn content(&self, username: &str, url: &str, now: Time) -> (&str, Zeroizing<String>) {
        let user = format!("the user {username} of {url}");
        let at = now.format("%Y-%m-%d %H:%M UTC");
        let (subject, text) = match self {
            Self::PasswordReset { token, expires_at, address } => (
                "Your new password",
                format!(
                    "On {at} somebody{} asked for a new password for {user}.\n\n{}\n\
                     If it was not you, do nothing: the password stays as it is, and the link ends by itself.\n\
                     A second factor is asked for as before.\n",
                    from(*address),
                    steps(token, *expires_at, url).as_str()
                ),
            ),
            Self::PasswordResetRefused { address } => (
                "No new password by e-mail",
                format!(
                    "On {at} somebody{} asked for a new password for {user}.\n\n\
                     This user decides on requests, and is given no password by e-mail. If it was you, ask an\n\
                     administrator for a link. If it was not you, nothing has happened.\n",
                    from(*address)
                ),
            ),
            Self::Link { token, terms } => (
                if terms.purpose == "invitation" { "You are invited" } else { "Your new password" },
                format!(
                    "An administrator has made a link by which you set the password of {user}.\n\n{}\n",
                    steps(token, terms.expires_at, url).as_str()
                ),
            ),
            Self::PasswordChanged { address } => (
                "Your password was changed",
                format!(
                    "On {at} the password of {user} was changed{}. Sessions were ended.\n\n{WARNING}",
                    from(*address)
                ),
            ),
            Self::FactorAdded { what, address } => (
                "A second factor was added",
                format!(
                    "On {at} a second factor of {user} was added{}: {what}.\n\n{WARNING}",
                    from(*address)
                ),
            ),
            Self::FactorRemoved { what, address } => (
                "A second factor was removed",
                format!(
                    "On {at} a second factor of {user} was removed{}: {what}.\n\n{WARNING}",
                    from(*address)
                ),
            ),
            Self::AddressChanged { address } => (
                "Your e-mail address was changed",
                format!(
                    "On {at} the e-mail address of {user} was changed{}.\n\
                     Messages go to the new address from now on; this is the last one to this address.\n\n{WARNING}",
                    from(*address)
                ),
            ),
            Self::Locked { title, body } => (*title, format!("On {at}, at {url}:\n\n{body}\n")),
        };
        (subject, Zeroizing::new(text))
    }
}

const WARNING: &str =
    "If this was neither you nor an administrator on your behalf, tell an administrator at once.\n";

fn from(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" at {address}"))
}

/// What to do with a link.
fn steps(token: &Token, expires_at: Time, url: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    let until = expires_at.format("%Y-%m-%d %H:%M UTC");
    // Writing to a string does not fail.
    let _ = write!(
        text,
        "To set a password, until {until}, and once:\n\n\
         1. Put this one line into a file, say link.txt:\n\n   {}\n\n\
         2. Run:\n\n   clm password set {url} --link-file link.txt\n\n\
         Whoever has this line can set the password: give it to nobody, and delete file and message afterwards.\n",
        token.expose()
    );
    text
}
