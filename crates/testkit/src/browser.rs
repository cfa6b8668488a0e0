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
    pub fn passkeys(url: &str) -> Self {
        Self::start("passkeys.mjs", &["chromium", url])
    }

    fn start(name: &str, arguments: &[&str]) -> Self {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("browser");
        let mut command = Command::new("node");
        command.arg(name).args(arguments).current_dir(folder).kill_on_drop(true);
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("node is installed: make deps-test");
        let input = child.stdin.take().expect("a pipe");
        let output = BufReader::new(child.stdout.take().expect("a pipe")).lines();
        Self { _child: child, input, output }
    }

    /// Calls it.
    pub async fn call(&mut self, call: &Value) -> Value {
        self.input.write_all(format!("{call}\n").as_bytes()).await.expect("the program runs");
        let line = self.output.next_line().await.expect("the program runs").expect("an answer");
        serde_json::from_str(&line).expect("JSON")
    }
}
