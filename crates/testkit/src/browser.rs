//! Programs of `browser/`, which speak a line of JSON for each call.

use std::path::Path;
use std::process::Stdio;

use serde_json::Value;
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

/// A running program; it ends when this is dropped.
pub struct Script {
    _child: Child,
    input: ChildStdin,
    output: Lines<BufReader<ChildStdout>>,
}

impl Script {
    /// Chromium on a page of the service, with an authenticator of its own.
    pub fn browser(url: &str) -> Self {
        Self::start("browser.mjs", &["chromium", url], None)
    }

    /// An OpenID provider with this certificate and key, which trusts the service's certificate, and its name.
    pub async fn provider(certificate: &Path, key: &Path, trusted: &Path) -> (Self, String) {
        let paths = [certificate, key].map(|path| path.to_str().expect("a plain path"));
        let mut script = Self::start("provider.mjs", &paths, Some(trusted));
        let issuer = script.read().await["issuer"].as_str().expect("a name").to_owned();
        (script, issuer)
    }

    /// Issuers of workload tokens with this certificate and key, and their names: that of a CI, and that by which people sign in.
    pub async fn issuers(certificate: &Path, key: &Path) -> (Self, [String; 2]) {
        let paths = [certificate, key].map(|path| path.to_str().expect("a plain path"));
        let mut script = Self::start("issuer.mjs", &paths, None);
        let said = script.read().await;
        let name = |which: &str| said["issuers"][which].as_str().expect("a name").to_owned();
        let names = [name("ci"), name("people")];
        (script, names)
    }

    /// A mail server with this certificate and key, and its port: `tls`, `starttls`, or `plain`. Port 0 takes a free one.
    pub async fn mailbox(mode: &str, certificate: &Path, key: &Path, port: u16) -> (Self, u16) {
        let [certificate, key] = [certificate, key].map(|path| path.to_str().expect("a plain path"));
        let mut script = Self::start("mailbox.mjs", &[mode, certificate, key, &port.to_string()], None);
        let port = script.read().await["port"].as_u64().and_then(|port| port.try_into().ok());
        (script, port.expect("a port"))
    }

    fn start(name: &str, arguments: &[&str], trusted: Option<&Path>) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
        let mut command = Command::new("node");
        command.arg(name).args(arguments).current_dir(folder).kill_on_drop(true);
        command.envs(trusted.map(|path| ("NODE_EXTRA_CA_CERTS", path)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node is installed: make deps-test");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { _child: child, input, output }
    }

    /// Calls it.
    pub async fn call(&mut self, call: &Value) -> Value {
        self.input.write_all(format!("{call}\n").as_bytes()).await.expect("the program runs");
        self.read().await
    }

    async fn read(&mut self) -> Value {
        let line = self.output.next_line().await.expect("the program runs").expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }
}
