//! The same server libraries with the same certificate, and an answer that is always the same.

use std::fs;
use std::net::TcpListener;
use std::path::PathBuf;
use std::sync::Arc;
use std::thread;

use anyhow::{Context, Result};
use axum::Router;
use axum::routing::get;
use axum_server::tls_rustls::RustlsConfig;
use toml::Table;

use crate::installation::BenchInstallation;

/// As long as an answer of `/api/v1/me`.
const ANSWER: &str = r#"{"user_id":"01900000-0000-7000-8000-000000000002","username":"bench","organization_id":"01900000-0000-7000-8000-000000000003","organization_code":"bench","permissions":["request:create","request:read"],"api_key_id":"01900000-0000-7000-8000-000000000004"}"#;

/// Serves on the cores of this thread until the program ends: its address.
pub(crate) fn start(installation: &BenchInstallation) -> Result<String> {
    let config: Table = fs::read_to_string(installation.core.config_file())?.parse()?;
    let file = |key| {
        let path = config.get("api").and_then(|api| api.get(key)).and_then(|path| path.as_str());
        path.map(PathBuf::from).context("core.toml names no certificate")
    };
    let tls = clm_service::public_server(&file("cert_file")?, &file("key_file")?)?;
    let listener = TcpListener::bind("127.0.0.1:0")?;
    listener.set_nonblocking(true)?;
    let address = format!("https://localhost:{}/constant", listener.local_addr()?.port());
    thread::spawn(move || {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
        runtime.block_on(async {
            let router: Router = Router::new().route("/constant", get(async || ANSWER));
            let tls = RustlsConfig::from_config(Arc::new(tls));
            axum_server::from_tcp_rustls(listener, tls)?.serve(router.into_make_service()).await
        })
    });
    Ok(address)
}
