//! Another process of Core on the databases of an installation.

use std::fs;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use clm_local::throwaway::free_ports;
use toml::{Table, Value};

use crate::installation::TestInstallation;

/// Longer than a start takes.
const READY_WITHIN: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(25);

/// A second `clm-core` with ports of its own, ended when dropped or with the test process.
pub struct SecondCore {
    process: Child,
    api_port: u16,
    validation_port: u16,
}

impl SecondCore {
    /// Starts it and waits until it is ready. `change` gets the first one's configuration, with other ports.
    pub async fn start(installation: &TestInstallation, change: impl FnOnce(&mut Table)) -> Self {
        let [api_port, validation_port, admin] = free_ports().expect("free ports");
        // The folder's reaper ends what has this name in its command line.
        let first = installation.core.config_file();
        let file = first.with_file_name(format!("core.toml.{api_port}"));
        let mut config: Table =
            fs::read_to_string(&first).expect("core.toml").parse().expect("core.toml is TOML");
        for (section, port) in [("api", api_port), ("validation", validation_port), ("admin", admin)] {
            let section = config.get_mut(section).and_then(Value::as_table_mut).expect("a section");
            section.insert("listen".to_owned(), Value::String(format!("127.0.0.1:{port}")));
        }
        change(&mut config);
        fs::write(&file, config.to_string()).expect("a configuration");
        let log = fs::File::create(file.with_extension("log")).expect("a log");
        let program = std::env::current_exe().expect("the test program");
        let program = program.ancestors().nth(2).expect("a folder").join("clm-core");
        let mut command = Command::new(program);
        command.arg("serve").arg("--config").arg(&file).env_clear();
        command.stdin(Stdio::null()).stdout(log.try_clone().expect("a log")).stderr(log);
        let second = Self { process: command.spawn().expect("clm-core starts"), api_port, validation_port };
        second.wait_ready(&format!("http://127.0.0.1:{admin}/readyz")).await;
        second
    }

    /// Where its API listens.
    pub fn api_url(&self) -> String {
        format!("https://localhost:{}", self.api_port)
    }

    /// Its port for the API.
    pub const fn api_port(&self) -> u16 {
        self.api_port
    }

    /// Its port for CRLs and OCSP.
    pub const fn validation_port(&self) -> u16 {
        self.validation_port
    }

    async fn wait_ready(&self, url: &str) {
        clm_service::install_provider();
        let end = Instant::now() + READY_WITHIN;
        while !reqwest::get(url).await.is_ok_and(|answer| answer.status().is_success()) {
            assert!(Instant::now() < end, "the second clm-core is not ready");
            tokio::time::sleep(POLL).await;
        }
    }
}

impl Drop for SecondCore {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
