//! Hands messages to a mail server (SMTP, RFC 5321): over TLS, or to this very machine.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use clm_types::Time;
use lettre::Address;
use lettre::address::Envelope;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::message::{Mailbox, Message};
use lettre::transport::smtp::Error as SmtpError;
use lettre::transport::smtp::authentication::{Credentials, DEFAULT_MECHANISMS};
use lettre::transport::smtp::client::{AsyncSmtpConnection, Certificate, CertificateStore, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::{ClientId, MailParameter};
use tokio::net::TcpStream;
use tokio::time::timeout;
use uuid::Uuid;
use zeroize::Zeroizing;

use octets::OctetByOctet;

mod octets;

/// Longest text of a fault that is kept, in characters.
const LONGEST_FAULT: usize = 300;
/// Time for a goodbye.
const FAREWELL: Duration = Duration::from_secs(5);
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
    /// Longest time until it asks for the message itself.
    pub timeout: Duration,
    /// Longest time for the message and the answer to it.
    pub answer_timeout: Duration,
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
    /// The server has all of it, and perhaps it was taken.
    Unanswered(String),
}

/// Hands messages to one mail server.
pub struct Mailer {
    host: String,
    port: u16,
    way: Way,
    hello_name: ClientId,
    credentials: Option<Credentials>,
    from: Mailbox,
    timeout: Duration,
    answer_timeout: Duration,
}

enum Way {
    Tls(TlsParameters),
    StartTls(TlsParameters),
    Plain,
}

impl Mailer {
    /// Nothing is connected yet.
    ///
    /// # Errors
    /// What cannot be used, without any part of a secret.
    pub fn new(server: MailServer) -> Result<Self, String> {
        let from: Mailbox =
            server.from.parse().map_err(|error| format!("`{}` is no sender: {error}", server.from))?;
        let way = way(&server)?;
        let credentials =
            server.credentials.map(|(name, password)| Credentials::new(name, password.as_str().to_owned()));
        Ok(Self {
            host: server.host,
            port: server.port,
            way,
            hello_name: ClientId::Domain(server.hello_name),
            credentials,
            from,
            timeout: server.timeout,
            answer_timeout: server.answer_timeout,
        })
    }

    /// Hands a message over. An answer that is lost leaves open whether it was taken.
    pub(crate) async fn send(&self, letter: &Letter<'_>) -> Result<(), MailFault> {
        let message = self.message(letter)?;
        let late = |_| MailFault::Failed("the mail server took too long".to_owned());
        let announced = timeout(self.timeout, self.announce(message.envelope()));
        let mut connection = announced.await.map_err(late)??;
        match timeout(self.answer_timeout, connection.message(&message.formatted())).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) if error.status().is_some() => return Err(about_the_message(&error)),
            Ok(Err(error)) => return Err(MailFault::Unanswered(shown(&error))),
            Err(_) => {
                return Err(MailFault::Unanswered("the mail server has it and did not answer".to_owned()));
            }
        }
        // It is taken, whatever becomes of the goodbye.
        tokio::spawn(async move { timeout(FAREWELL, connection.quit()).await });
        Ok(())
    }

    /// Says from whom to whom; the message itself is next. Until the server hears for whom it is, what it refuses is us.
    async fn announce(&self, envelope: &Envelope) -> Result<AsyncSmtpConnection, MailFault> {
        let mut connection = self.connect().await?;
        if let Some(credentials) = &self.credentials {
            connection.auth(DEFAULT_MECHANISMS, credentials).await.map_err(about_us)?;
        }
        let is_plain = |address: &Address| AsRef::<str>::as_ref(address).is_ascii();
        let mut parameters = Vec::new();
        if !envelope.from().into_iter().chain(envelope.to()).all(is_plain) {
            parameters.push(MailParameter::SmtpUtfEight);
        }
        connection.command(Mail::new(envelope.from().cloned(), parameters)).await.map_err(about_us)?;
        for recipient in envelope.to() {
            let named = connection.command(Rcpt::new(recipient.clone(), Vec::new())).await;
            named.map_err(|error| about_the_message(&error))?;
        }
        connection.command(Data).await.map_err(|error| about_the_message(&error))?;
        Ok(connection)
    }

    async fn connect(&self) -> Result<AsyncSmtpConnection, MailFault> {
        let (host, limit) = ((self.host.as_str(), self.port), Some(self.timeout));
        let tls = match &self.way {
            Way::StartTls(tls) => return self.connect_and_encrypt(tls.clone()).await,
            Way::Tls(tls) => Some(tls.clone()),
            Way::Plain => None,
        };
        AsyncSmtpConnection::connect_tokio1(host, limit, &self.hello_name, tls, None).await.map_err(about_us)
    }

    async fn connect_and_encrypt(&self, tls: TlsParameters) -> Result<AsyncSmtpConnection, MailFault> {
        let stream = TcpStream::connect((self.host.as_str(), self.port)).await;
        let stream = stream.map_err(|error| MailFault::Failed(format!("Connection error: {error}")))?;
        let stream = Box::new(OctetByOctet(stream));
        let connected = AsyncSmtpConnection::connect_with_transport(stream, &self.hello_name).await;
        let mut connection = connected.map_err(about_us)?;
        connection.starttls(tls, &self.hello_name).await.map_err(about_us)?;
        Ok(connection)
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

fn way(server: &MailServer) -> Result<Way, String> {
    if server.encryption == MailEncryption::Plain {
        let address: Option<IpAddr> = server.host.parse().ok();
        if !address.is_some_and(|address| address.is_loopback()) {
            return Err("without TLS, the host is 127.0.0.1 or ::1, written as an address".to_owned());
        }
        if server.credentials.is_some() {
            return Err("without TLS, no password is sent".to_owned());
        }
        return Ok(Way::Plain);
    }
    let mut parameters = TlsParameters::builder(server.host.clone());
    match &server.trusted {
        Some(pem) => {
            let trusted =
                Certificate::from_pem(pem).map_err(|error| format!("the trusted certificates: {error}"))?;
            parameters = parameters.certificate_store(CertificateStore::None).add_root_certificate(trusted);
        }
        None if rustls_native_certs::load_native_certs().certs.is_empty() => {
            return Err(
                "the operating system believes no certificate authority: name one in ca_file".to_owned()
            );
        }
        None => {}
    }
    let parameters = parameters.build().map_err(|error| format!("TLS: {error}"))?;
    Ok(if server.encryption == MailEncryption::Tls {
        Way::Tls(parameters)
    } else {
        Way::StartTls(parameters)
    })
}

#[expect(clippy::needless_pass_by_value, reason = "for map_err")]
fn about_us(error: SmtpError) -> MailFault {
    MailFault::Failed(shown(&error))
}

fn about_the_message(error: &SmtpError) -> MailFault {
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
    use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
    use tokio::net::TcpListener;

    fn server(host: &str, encryption: MailEncryption) -> MailServer {
        MailServer {
            host: host.to_owned(),
            port: 25,
            encryption,
            trusted: None,
            credentials: None,
            from: "\"CLM, of Example\" <clm@example.com>".to_owned(),
            hello_name: "clm.example.com".to_owned(),
            timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_millis(500),
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
    /// A server that answers each command with the text given for its first word, and nothing to others.
    async fn serve(answers: &'static [(&'static str, &'static str)]) -> Mailer {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        tokio::spawn(async move {
            let (stream, _) = listener.accept().await.unwrap();
            let mut stream = BufReader::new(stream);
            let answer_to =
                |word: &str| answers.iter().find(|(known, _)| *known == word).map(|(_, text)| *text);
            let mut word = "greeting".to_owned();
            loop {
                if let Some(text) = answer_to(&word) {
                    stream.write_all(format!("{text}\r\n").as_bytes()).await.unwrap();
                }
                let mut line = String::new();
                // Of a message, the dot at its end counts.
                if stream.read_line(&mut line).await.unwrap() == 0 {
                    return;
                }
                line.trim().split(' ').next().unwrap_or_default().clone_into(&mut word);
            }
        });
        Mailer::new(MailServer { port, ..server("127.0.0.1", MailEncryption::Plain) }).unwrap()
    }

    const WILLING: [(&str, &str); 6] = [
        ("greeting", "220 mail"),
        ("EHLO", "250 mail"),
        ("MAIL", "250 yes"),
        ("RCPT", "250 yes"),
        ("DATA", "354 go on"),
        (".", "250 taken"),
    ];

    async fn outcome(but: Option<(&'static str, &'static str)>) -> Result<(), MailFault> {
        let answers = WILLING.map(|(word, text)| match but {
            Some((other, text)) if other == word => (word, text),
            _ => (word, text),
        });
        let mailer = serve(Vec::leak(answers.to_vec())).await;
        let letter = letter("ann@example.com", "S");
        let whole = mailer.send(&letter);
        timeout(Duration::from_secs(10), whole).await.expect("no limit is waited for but that of the answer")
    }

    #[tokio::test]
    async fn what_is_taken_is_sent_though_nobody_says_goodbye() {
        assert_eq!(outcome(None).await, Ok(()));
    }

    #[tokio::test]
    async fn a_refusal_is_final_only_when_it_is_about_the_message() {
        for (at, text) in [
            ("greeting", "554 no"),
            ("MAIL", "550 no"),
            ("RCPT", "450 later"),
            ("RCPT", "530 sign in"),
            ("DATA", "451 later"),
            (".", "452 later"),
        ] {
            let outcome = outcome(Some((at, text))).await;
            assert!(matches!(&outcome, Err(MailFault::Failed(_))), "{at} {text}: {outcome:?}");
        }
        for (at, text) in [("RCPT", "550 no"), ("DATA", "554 no"), (".", "554 no")] {
            let outcome = outcome(Some((at, text))).await;
            assert!(matches!(&outcome, Err(MailFault::Refused(_))), "{at} {text}: {outcome:?}");
        }
    }

    #[tokio::test]
    async fn a_message_without_an_answer_may_have_been_taken() {
        let mut willing = WILLING.to_vec();
        willing.pop();
        let mailer = serve(willing.leak()).await;
        let outcome = mailer.send(&letter("ann@example.com", "S")).await;
        assert!(matches!(&outcome, Err(MailFault::Unanswered(_))), "{outcome:?}");
    }
}
