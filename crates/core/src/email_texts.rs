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
    Locked { whom: &'a str, is_reader: bool, address: Option<IpAddr> },
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

    /// How many of the kind a user is sent within an hour. The lock of somebody else is told of however often it happens to
    /// that somebody, but when many are locked at once not of each; that of oneself always: a lock lasts a while.
    pub(crate) const fn most_an_hour(&self) -> Option<i64> {
        match self {
            Self::Locked { is_reader: true, .. } => None,
            Self::Locked { .. } => Some(100),
            _ => Some(10),
        }
    }

    /// Subject, one line, and text.
    pub(crate) fn content(&self, username: &str, url: &str, now: Time) -> (&'static str, Zeroizing<String>) {
        let scene = Scene { user: format!("the user {username} of {url}"), at: at(now), url };
        (self.subject(), Zeroizing::new(self.text(&scene)))
    }

    fn subject(&self) -> &'static str {
        match self {
            Self::Link { terms, .. } if terms.purpose == "invitation" => "You are invited",
            Self::PasswordReset { .. } | Self::Link { .. } => "Your new password",
            Self::PasswordResetRefused { .. } => "No new password by e-mail",
            Self::PasswordChanged { .. } => "Your password was changed",
            Self::FactorAdded { .. } => "A second factor was added",
            Self::FactorRemoved { .. } => "A second factor was removed",
            Self::AddressChanged { .. } => "Your e-mail address was changed",
            Self::Locked { .. } => "A user was locked after failed sign-ins",
        }
    }

    fn text(&self, scene: &Scene<'_>) -> String {
        match self {
            Self::PasswordReset { token, expires_at, address } => {
                scene.password_reset(token, *expires_at, *address)
            }
            Self::PasswordResetRefused { address } => scene.password_reset_refused(*address),
            Self::Link { token, terms } => scene.link(token, *terms),
            Self::PasswordChanged { address } => scene.password_changed(*address),
            Self::FactorAdded { what, address } => scene.factor_changed("added", what, *address),
            Self::FactorRemoved { what, address } => scene.factor_changed("removed", what, *address),
            Self::AddressChanged { address } => scene.address_changed(*address),
            Self::Locked { whom, address, .. } => scene.locked(whom, *address),
        }
    }
}

/// To whom, when, and of which service.
struct Scene<'a> {
    user: String,
    at: String,
    url: &'a str,
}

impl Scene<'_> {
    fn password_reset(&self, token: &Token, expires_at: Time, address: Option<IpAddr>) -> String {
        format!(
            "On {} somebody{} asked for a new password for {}.\n\n{}\n\
             If it was not you, do nothing: the password stays as it is, and the link ends by itself.\n\
             A second factor is asked for as before.\n",
            self.at,
            from(address),
            self.user,
            steps(token, expires_at, self.url).as_str()
        )
    }

    fn password_reset_refused(&self, address: Option<IpAddr>) -> String {
        format!(
            "On {} somebody{} asked for a new password for {}.\n\n\
             This user decides on requests, and is given no password by e-mail. If it was you, ask an\n\
             administrator for a link. If it was not you, nothing has happened.\n",
            self.at,
            from(address),
            self.user
        )
    }

    fn link(&self, token: &Token, terms: LinkTerms) -> String {
        format!(
            "An administrator has made a link by which you set the password of {}.\n\n{}\n",
            self.user,
            steps(token, terms.expires_at, self.url).as_str()
        )
    }

    fn password_changed(&self, address: Option<IpAddr>) -> String {
        format!(
            "On {} the password of {} was changed{}. Sessions were ended.\n\n{WARNING}",
            self.at,
            self.user,
            from(address)
        )
    }

    fn factor_changed(&self, how: &str, what: &str, address: Option<IpAddr>) -> String {
        format!(
            "On {} a second factor of {} was {how}{}: {what}.\n\n{WARNING}",
            self.at,
            self.user,
            from(address)
        )
    }

    fn address_changed(&self, address: Option<IpAddr>) -> String {
        format!(
            "On {} the e-mail address of {} was changed{}.\n\
             Messages go to the new address from now on; this is the last one to this address.\n\n{WARNING}",
            self.at,
            self.user,
            from(address)
        )
    }

    fn locked(&self, whom: &str, address: Option<IpAddr>) -> String {
        format!(
            "On {} the user {whom} of {} was locked for a while.\n\n\
             There were failed sign-ins; the last one came from {}.\n",
            self.at,
            self.url,
            address.map_or_else(|| "an unknown address".to_owned(), |address| address.to_string())
        )
    }
}

const WARNING: &str =
    "If this was neither you nor an administrator on your behalf, tell an administrator at once.\n";

fn at(time: Time) -> String {
    time.format("%Y-%m-%d %H:%M UTC").to_string()
}

fn from(address: Option<IpAddr>) -> String {
    address.map_or_else(String::new, |address| format!(" at {address}"))
}

/// What to do with a link.
fn steps(token: &Token, expires_at: Time, url: &str) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(512));
    let until = at(expires_at);
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
