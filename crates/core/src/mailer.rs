//! Hands messages to a mail server (SMTP, RFC 5321): over TLS, or to this very machine.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use clm_types::Time;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::{Address, AsyncSmtpTransport, AsyncTransport, Tokio1Executor};
use uuid::Uuid;
use zeroize::Zeroizing;

/// Longest text of a fault that is kept, in characters.
const LONGEST_FAULT: usize = 300;
/// Answers that are about us and not about the message: the server wants another sign-in (RFC 4954), or encryption.
const ABOUT_US: [u16; 4] = [530, 534, 535, 538];

/// How the connection is kept from others.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum MailEncryption {
    /// TLS from the first octet.
    Tls,
    /// TLS after the greeting; without it nothing is sent.
    StartTls,
    /// None: only to an address of this very machine.
    Plain,
}

/// Where and how messages are handed over.
pub struct MailServer {
    /// Its name, as in its certificate, or its address.
    pub host: String,
    /// Its port.
    pub port: u16,
    /// How the connection is kept from others.
    pub encryption: MailEncryption,
    /// Whom to believe its certificate, PEM; those whom the operating system believes unless given.
    pub trusted: Option<Vec<u8>>,
    /// Name and password.
    pub credentials: Option<(String, Zeroizing<String>)>,
    /// Who writes: an address, or a name and an address.
    pub from: String,
    /// What this service calls itself.
    pub hello_name: String,
    /// Longest time for one message.
    pub timeout: Duration,
}

/// A message to one address.
pub(crate) struct Letter<'a> {
    /// Of which the Message-ID is made: of two copies, mail programs show one.
    pub(crate) id: Uuid,
    pub(crate) recipient: &'a str,
    pub(crate) subject: &'a str,
    pub(crate) text: &'a str,
    pub(crate) written_at: Time,
}

/// Why a message was not taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum MailFault {
    /// It never will be.
    Refused(String),
    /// It may be another time.
    Failed(String),
}

/// Hands messages to one mail server.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Mailbox,
    timeout: Duration,
}

impl Mailer {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// What cannot be used, without any part of a secret.
    pub fn new(server: MailServer) -> Result<Self, String> {
        let from: Mailbox =
            server.from.parse().map_err(|error| format!("`{}` is no sender: {error}", server.from))?;
        let tls = tls(&server)?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(server.host)
            .port(server.port)
            .tls(tls)
            .timeout(Some(server.timeout))
            .hello_name(ClientId::Domain(server.hello_name));
        if let Some((name, password)) = server.credentials {
            builder = builder.credentials(Credentials::new(name, password.as_str().to_owned()));
        }
        Ok(Self { transport: builder.build(), from, timeout: server.timeout })
    }

    /// Hands a message over. An answer that is lost leaves open whether it was taken.
    pub(crate) async fn send(&self, letter: &Letter<'_>) -> Result<(), MailFault> {
        let message = self.message(letter)?;
        match tokio::time::timeout(self.timeout, self.transport.send(message)).await {
            Ok(Ok(_)) => Ok(()),
            Ok(Err(error)) => Err(fault(&error)),
            Err(_) => Err(MailFault::Failed("the mail server took too long".to_owned())),
        }
    }

    fn message(&self, letter: &Letter<'_>) -> Result<Message, MailFault> {
        let unfit = |error: &dyn std::fmt::Display| MailFault::Refused(format!("no message: {error}"));
        let recipient: Address = letter.recipient.parse().map_err(|error| unfit(&error))?;
        let id = format!("<{}@{}>", letter.id, self.from.email.domain());
        let automatic =
            HeaderValue::new(HeaderName::new_from_ascii_str("Auto-Submitted"), "auto-generated".to_owned());
        Message::builder()
            .from(self.from.clone())
            .to(Mailbox::new(None, recipient))
            .subject(letter.subject)
            .message_id(Some(id))
            .date(SystemTime::from(letter.written_at))
            // So that no absence notice answers (RFC 3834).
            .raw_header(automatic)
            .header(ContentType::TEXT_PLAIN)
            .body(letter.text.to_owned())
            .map_err(|error| unfit(&error))
    }
}

fn tls(server: &MailServer) -> Result<Tls, String> {
    if server.encryption == MailEncryption::Plain {
        let address: Option<IpAddr> = server.host.parse().ok();
        if !address.is_some_and(|address| address.is_loopback()) {
            return Err("without TLS, the host is 127.0.0.1 or [::1] written as an address".to_owned());
        }
        if server.credentials.is_some() {
            return Err("without TLS, no password is sent".to_owned());
        }
        return Ok(Tls::None);
    }
    let mut parameters = TlsParameters::builder(server.host.clone());
    if let Some(pem) = &server.trusted {
        let trusted =
            Certificate::from_pem(pem).map_err(|error| format!("the trusted certificates: {error}"))?;
        parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(trusted);
    }
    let parameters = parameters.build().map_err(|error| format!("TLS: {error}"))?;
    Ok(if server.encryption == MailEncryption::Tls {
        Tls::Wrapper(parameters)
    } else {
        Tls::Required(parameters)
    })
}

fn fault(error: &SmtpError) -> MailFault {
    let text = shown(error);
    let is_about_us = error.status().is_some_and(|status| ABOUT_US.contains(&u16::from(status)));
    if error.is_permanent() && !is_about_us { MailFault::Refused(text) } else { MailFault::Failed(text) }
}

/// What went wrong, in one line. A server may quote the message, and with it a link: then its words are left out.
fn shown(error: &SmtpError) -> String {
    let causes = std::iter::successors(Some(error as &dyn std::error::Error), |error| error.source());
    let text: Vec<String> = causes.map(ToString::to_string).collect();
    let text: String = text.join(": ").chars().filter(|one| !one.is_control()).take(LONGEST_FAULT).collect();
    if !text.contains("clm_") {
        return text;
    }
    let status = error.status().map_or_else(|| "something".to_owned(), |status| status.to_string());
    format!("the mail server answered {status} and quoted the message")
}

#[cfg(test)]
mod tests {
    use super::*;
    use clm_types::Clock;

    fn server(host: &str, encryption: MailEncryption) -> MailServer {
        MailServer {
            host: host.to_owned(),
            port: 25,
            encryption,
            trusted: None,
            credentials: None,
            from: "\"CLM, of Example\" <clm@example.com>".to_owned(),
            hello_name: "clm.example.com".to_owned(),
            timeout: Duration::from_secs(1),
        }
    }

    fn letter<'a>(recipient: &'a str, subject: &'a str) -> Letter<'a> {
        let written_at = Clock::system().now();
        Letter { id: Uuid::nil(), recipient, subject, text: "A text.\r\n.\r\nQUIT\r\n", written_at }
    }

    #[test]
    fn without_tls_messages_go_to_this_machine_alone() {
        for host in ["127.0.0.1", "127.1.2.3", "::1"] {
            assert!(Mailer::new(server(host, MailEncryption::Plain)).is_ok(), "{host}");
        }
        for host in ["localhost", "192.0.2.1", "mail.example.com", "127.0.0.1.example.com", ""] {
            assert!(Mailer::new(server(host, MailEncryption::Plain)).is_err(), "{host}");
        }
        let with_password = MailServer {
            credentials: Some(("clm".to_owned(), Zeroizing::new("secret".to_owned()))),
            ..server("127.0.0.1", MailEncryption::Plain)
        };
        assert!(Mailer::new(with_password).is_err());
        let no_sender = MailServer { from: "clm".to_owned(), ..server("127.0.0.1", MailEncryption::Plain) };
        assert!(Mailer::new(no_sender).is_err());
    }

    #[test]
    fn no_address_and_no_subject_adds_a_header() {
        let mailer = Mailer::new(server("127.0.0.1", MailEncryption::Plain)).unwrap();
        for address in [
            "ann@example.com\r\nBcc: eve@example.com",
            "ann@example.com>, <eve@example.com",
            "ann",
            "a b@c.d",
        ] {
            let made = mailer.message(&letter(address, "S"));
            assert!(matches!(made, Err(MailFault::Refused(_))), "{address}");
        }
        let subject = "S\r\nBcc: eve@example.com\r\n\r\nanother text";
        let made = mailer.message(&letter("ann@example.com", subject)).unwrap();
        let text = String::from_utf8(made.formatted()).unwrap();
        let (head, _) = text.split_once("\r\n\r\n").unwrap();
        assert!(!head.lines().any(|line| line.to_ascii_lowercase().starts_with("bcc:")), "{head}");
        assert!(!text.contains("\r\nanother text"), "{text}");
        assert_eq!(made.envelope().to(), ["ann@example.com".parse::<Address>().unwrap()]);
        assert!(head.contains("Auto-Submitted: auto-generated") && head.contains("Message-ID: <00000000-"));
    }
}
