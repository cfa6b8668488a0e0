//! The API and validation listeners.

use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use axum::Router;
use axum_server::Handle;
use axum_server::accept::NoDelayAcceptor;
use axum_server::tls_rustls::{RustlsAcceptor, RustlsConfig};
use hyper_util::rt::{TokioExecutor, TokioTimer};
use hyper_util::server::conn::auto::Builder;
use rustls::ServerConfig;
use tokio_util::sync::CancellationToken;

use crate::connections::Counted;
use crate::limits_config::ListenerLimits;

/// Longest wait for a TLS handshake.
const HANDSHAKE_TIMEOUT: Duration = Duration::from_secs(10);
/// How often an HTTP/2 connection is asked whether somebody is still there.
const KEEP_ALIVE: Duration = Duration::from_secs(30);
/// Requests on one HTTP/2 connection at once.
const MOST_STREAMS: u32 = 256;
/// Header fields of a request over HTTP/1.1; more are answered with 431.
const MOST_FIELDS: usize = 100;
/// Octets of the head of a request; more are answered with 431.
const MOST_HEAD_BYTES: u32 = 32 * 1024;
/// How long requests may go on when the service is stopped.
const GRACE: Duration = Duration::from_secs(20);

/// Takes an address, so that a taken port is an error before anything is served.
pub(crate) fn bind(what: &str, address: SocketAddr) -> anyhow::Result<TcpListener> {
    let listener =
        TcpListener::bind(address).with_context(|| format!("{what}: cannot listen on {address}"))?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// Serves over TLS until `shutdown`, then finishes what has begun.
pub(crate) async fn serve_tls(
    listener: TcpListener,
    tls: ServerConfig,
    router: Router,
    limits: ListenerLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let acceptor = RustlsAcceptor::new(RustlsConfig::from_config(Arc::new(tls)));
    let acceptor = acceptor.handshake_timeout(HANDSHAKE_TIMEOUT).acceptor(NoDelayAcceptor::new());
    let acceptor = Counted::new(acceptor, limits.connections);
    let server = axum_server::from_tcp(listener)?.handle(handle(shutdown)).acceptor(acceptor);
    let mut server = server.first_request_timeout(limits.head_time);
    limit(server.http_builder(), limits.head_time);
    server
        .serve(router.into_make_service_with_connect_info::<SocketAddr>())
        .await
        .context("the API listener failed")
}

/// Serves over plain HTTP until `shutdown`, then finishes what has begun.
pub(crate) async fn serve_plain(
    listener: TcpListener,
    router: Router,
    limits: ListenerLimits,
    shutdown: CancellationToken,
) -> anyhow::Result<()> {
    let server = axum_server::from_tcp(listener)?.handle(handle(shutdown));
    let server = server.acceptor(Counted::new(NoDelayAcceptor::new(), limits.connections));
    let mut server = server.first_request_timeout(limits.head_time);
    limit(server.http_builder(), limits.head_time);
    server.serve(router.into_make_service()).await.context("the validation listener failed")
}

fn handle(shutdown: CancellationToken) -> Handle<SocketAddr> {
    let handle = Handle::new();
    let stopped = handle.clone();
    tokio::spawn(async move {
        shutdown.cancelled().await;
        stopped.graceful_shutdown(Some(GRACE));
    });
    handle
}

fn limit(builder: &mut Builder<TokioExecutor>, head_time: Duration) {
    builder
        .http1()
        .timer(TokioTimer::new())
        .header_read_timeout(head_time)
        .max_headers(MOST_FIELDS)
        .max_buf_size(MOST_HEAD_BYTES as usize);
    builder
        .http2()
        .timer(TokioTimer::new())
        .max_concurrent_streams(MOST_STREAMS)
        .max_header_list_size(MOST_HEAD_BYTES)
        .keep_alive_interval(Some(KEEP_ALIVE));
}
