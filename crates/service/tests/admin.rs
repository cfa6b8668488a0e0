//! The admin listener, asked over HTTP.

#![expect(clippy::unwrap_used, reason = "a helper that fails fails the test")]

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};

use clm_service::{AdminConfig, Health, Metrics, serve_admin};
use tokio_util::sync::CancellationToken;

fn get(address: SocketAddr, path: &str) -> String {
    // The listener may not be there yet.
    let mut stream = std::iter::repeat_with(|| TcpStream::connect(address)).find_map(Result::ok).unwrap();
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[tokio::test(flavor = "multi_thread")]
async fn health_and_metrics_are_served_until_shutdown() {
    let listen = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let shutdown = CancellationToken::new();
    let health = Health::new();
    let server = tokio::spawn({
        let (health, shutdown) = (health.clone(), shutdown.clone());
        async move { serve_admin(&AdminConfig { listen }, health, Metrics::new("test", "1"), shutdown).await }
    });
    let ask =
        async |path: &'static str| tokio::task::spawn_blocking(move || get(listen, path)).await.unwrap();
    assert!(ask("/livez").await.starts_with("HTTP/1.0 200"));
    assert!(ask("/readyz").await.ends_with(r#"{"ready":true,"checks":{}}"#));
    health.add("database", async || Err("gone".to_owned()));
    let unready = ask("/readyz").await;
    assert!(unready.starts_with("HTTP/1.0 503"), "{unready}");
    assert!(unready.ends_with(r#"{"ready":false,"checks":{"database":"gone"}}"#), "{unready}");
    let metrics = ask("/metrics").await;
    assert!(
        metrics.contains("application/openmetrics-text") && metrics.contains("clm_build_info"),
        "{metrics}"
    );
    shutdown.cancel();
    server.await.unwrap().unwrap();
}
