//! Who is refused before the body has been read hears it all the same, and goes on with the same connection.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpStream;
use std::sync::Arc;
use std::time::Duration;

use rustls::{ClientConnection, StreamOwned};

use crate::house::{house, office};

const BODY: usize = 300_000;

/// HTTP/1.1 as it is written.
pub(crate) struct Connection(BufReader<StreamOwned<ClientConnection, TcpStream>>);

impl Connection {
    pub(crate) fn open(anchors: &std::path::Path, url: &str) -> Self {
        let port: u16 = url.rsplit(':').next().unwrap().parse().unwrap();
        let stream = TcpStream::connect(("127.0.0.1", port)).unwrap();
        stream.set_read_timeout(Some(Duration::from_secs(20))).unwrap();
        let tls = Arc::new(clm_service::public_client(anchors).unwrap());
        let tls = ClientConnection::new(tls, "localhost".try_into().unwrap()).unwrap();
        Self(BufReader::new(StreamOwned::new(tls, stream)))
    }

    pub(crate) fn send(&mut self, octets: &[u8]) {
        self.0.get_mut().write_all(octets).unwrap();
        self.0.get_mut().flush().unwrap();
    }

    /// Status of the next answer.
    pub(crate) fn status(&mut self) -> u16 {
        self.answer().0
    }

    /// Status and text of the next answer.
    pub(crate) fn answer(&mut self) -> (u16, String) {
        let mut line = String::new();
        self.0.read_line(&mut line).unwrap();
        let status = line.split(' ').nth(1).unwrap_or_else(|| panic!("no answer: {line:?}")).parse().unwrap();
        let (mut length, mut text) = (0, String::new());
        while line != "\r\n" {
            line.clear();
            self.0.read_line(&mut line).unwrap();
            text.push_str(&line);
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().unwrap();
            }
        }
        let mut body = vec![0; length];
        self.0.read_exact(&mut body).unwrap();
        text.push_str(&String::from_utf8_lossy(&body));
        (status, text)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refusal_does_not_wait_for_the_body_nor_cut_it_off() {
    let office = office().await;
    let anchors = house().await.installation.ca_file();
    let (url, key) = (office.alice.url.clone(), office.alice.key.clone());
    tokio::task::spawn_blocking(move || {
        for (line, key, status) in [
            ("POST /api/v1/requests", "nobody", 401),
            ("POST /api/v1/policies", key.as_str(), 403),
            ("PUT /api/v1/me", key.as_str(), 405),
            ("POST /nowhere", key.as_str(), 404),
            ("GET /api/v1/me", key.as_str(), 200),
        ] {
            let mut connection = Connection::open(&anchors, &url);
            let head = |line: &str, more: &str| {
                format!("{line} HTTP/1.1\r\nHost: localhost\r\nAuthorization: Bearer {key}\r\n{more}\r\n")
            };
            let type_and_length = format!("Content-Type: application/json\r\nContent-Length: {BODY}\r\n");
            connection.send(head(line, &type_and_length).as_bytes());
            assert_eq!(connection.status(), status, "{line}");
            connection.send(&vec![b' '; BODY]);
            connection.send(head("GET /problems", "").as_bytes());
            assert_eq!(connection.status(), 200, "after {line}");
        }
    })
    .await
    .unwrap();
}
