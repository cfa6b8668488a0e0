//! An office that sends e-mail, and the mail server that takes it.

use std::net::TcpListener;
use std::path::PathBuf;
use std::time::Duration;

use clm_core::email_messages::{EmailReport, Mail};
use clm_core::mailer::{MailEncryption, MailServer, Mailer};
use clm_testkit::Script;
use serde_json::{Value, json};
use zeroize::Zeroizing;

use crate::office::{Office, OfficeKind};

pub(crate) const URL: &str = "https://clm.example.com:8443";

pub(crate) struct MailRoom {
    pub(crate) office: Office,
    pub(crate) mailbox: Option<Script>,
    certificate: PathBuf,
    key: PathBuf,
    port: u16,
    _folder: tempfile::TempDir,
}

impl MailRoom {
    pub(crate) async fn open() -> Self {
        Self::open_with("tls", MailEncryption::Tls).await
    }

    /// A mail server of one kind, and a service that speaks with it in another way perhaps.
    pub(crate) async fn open_with(kind: &str, encryption: MailEncryption) -> Self {
        let mut room = Self::without_server(encryption).await;
        room.start_server(kind).await;
        room
    }

    /// Nothing listens there yet.
    pub(crate) async fn without_server(encryption: MailEncryption) -> Self {
        Self::prepare(encryption, "localhost", Duration::from_secs(10)).await
    }

    /// A mail server whose certificate, which is trusted, is for that host; and how long its answers may take.
    pub(crate) async fn prepare(encryption: MailEncryption, host: &str, answer_timeout: Duration) -> Self {
        clm_service::install_provider();
        let folder = tempfile::tempdir().unwrap();
        let made = rcgen::generate_simple_self_signed([host.to_owned()]).unwrap();
        let (certificate, key) = (folder.path().join("mail.pem"), folder.path().join("mail.key"));
        std::fs::write(&certificate, made.cert.pem()).unwrap();
        std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
        let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let password = Zeroizing::new("a password of the mail server".to_owned());
        let server = MailServer {
            host: "localhost".to_owned(),
            port,
            encryption,
            trusted: Some(std::fs::read(&certificate).unwrap()),
            credentials: Some(("clm".to_owned(), password)),
            from: "CLM <clm@example.com>".to_owned(),
            hello_name: "clm.example.com".to_owned(),
            timeout: Duration::from_secs(10),
            answer_timeout,
        };
        let mail = Mail { mailer: Mailer::new(server).unwrap(), service_url: URL.to_owned() };
        let office = Office::open_as(OfficeKind { mail: Some(mail), ..OfficeKind::default() }).await;
        Self { office, mailbox: None, certificate, key, port, _folder: folder }
    }

    pub(crate) async fn start_server(&mut self, kind: &str) {
        let (mailbox, _) = Script::mailbox(kind, &self.certificate, &self.key, self.port).await;
        self.mailbox = Some(mailbox);
    }

    /// Another certificate than the one that the service trusts.
    pub(crate) async fn start_impostor(&mut self) {
        let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        std::fs::write(&self.certificate, made.cert.pem()).unwrap();
        std::fs::write(&self.key, made.signing_key.serialize_pem()).unwrap();
        self.start_server("tls").await;
    }

    /// Sends what is due until nothing more is, and shows what came since the start.
    pub(crate) async fn mails(&mut self) -> Vec<Mailed> {
        while self.office.core.send_due_email().await.unwrap().sent > 0 {}
        self.taken().await
    }

    /// What the mail server has.
    pub(crate) async fn taken(&mut self) -> Vec<Mailed> {
        let answer = self.mailbox.as_mut().unwrap().call(&json!({"mails": true})).await;
        answer["mails"].as_array().unwrap().iter().map(Mailed::new).collect()
    }

    /// Fails from now on at `auth`, `mail`, `rcpt` or `data`.
    pub(crate) async fn fail(&mut self, at: &str, code: u16, text: &str) {
        let fail = json!({"fail": {"at": at, "code": code, "text": text}});
        self.mailbox.as_mut().unwrap().call(&fail).await;
    }

    pub(crate) async fn work_again(&mut self) {
        self.mailbox.as_mut().unwrap().call(&json!({"fail": null})).await;
    }

    pub(crate) async fn send(&self) -> EmailReport {
        self.office.core.send_due_email().await.unwrap()
    }

    /// Texts of one column.
    pub(crate) async fn texts(&self, query: &'static str) -> Vec<String> {
        sqlx::query_scalar(query).fetch_all(&self.office.database.superuser().await).await.unwrap()
    }
}

/// A message as the mail server took it.
#[derive(Debug)]
pub(crate) struct Mailed {
    pub(crate) to: String,
    pub(crate) subject: String,
    pub(crate) text: String,
    pub(crate) value: Value,
}

impl Mailed {
    fn new(value: &Value) -> Self {
        let text = value["text"].as_str().unwrap().to_owned();
        let subject = text.lines().find_map(|line| line.strip_prefix("Subject: ")).unwrap().to_owned();
        let [to] = value["to"].as_array().unwrap().as_slice() else {
            panic!("one address: {value}");
        };
        Self { to: to.as_str().unwrap().to_owned(), subject, text, value: value.clone() }
    }

    /// The link in it.
    pub(crate) fn token(&self) -> Option<String> {
        let line = self.text.lines().find(|line| line.trim().starts_with("clm_otl_"));
        line.map(|line| line.trim().to_owned())
    }
}
