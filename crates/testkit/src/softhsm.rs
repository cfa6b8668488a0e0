//! A SoftHSM2 token of a test's own. All share the folder that `.cargo/config.toml` names.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Where Debian puts the module.
const MODULE: &str = "/usr/lib/softhsm/libsofthsm2.so";

const PIN: &str = "test-pin-1234";

/// A token in software; erased when dropped.
pub struct SoftHsm {
    label: String,
    folder: PathBuf,
}

impl SoftHsm {
    /// Makes an empty token.
    pub fn start(name: &str) -> Self {
        let configuration =
            PathBuf::from(std::env::var_os("SOFTHSM2_CONF").expect("cargo sets SOFTHSM2_CONF"));
        let tokens = configuration.parent().expect("a folder").join("tokens");
        std::fs::create_dir_all(&tokens).expect("the folder of tokens");
        let text = format!("directories.tokendir = {}\nlog.level = ERROR\n", tokens.display());
        if std::fs::read_to_string(&configuration).is_ok_and(|have| have == text) {
            // Another test wrote it.
        } else {
            let new = configuration.with_extension(std::process::id().to_string());
            std::fs::write(&new, text).expect("the configuration");
            std::fs::rename(new, &configuration).expect("the configuration");
        }
        let label = format!("{name}-{}", std::process::id());
        let known = subfolders(&tokens);
        util(&["--init-token", "--free", "--label", &label, "--so-pin", "so-pin-1234", "--pin", PIN]);
        let folder = subfolders(&tokens).into_iter().find(|made| {
            !known.contains(made) && std::fs::read(made.join("token.object")).is_ok_and(|o| holds(&o, &label))
        });
        Self { label, folder: folder.expect("the new token's folder") }
    }

    /// The token's label.
    pub fn label(&self) -> &str {
        &self.label
    }

    /// The module's path.
    pub fn module(&self) -> &'static Path {
        Path::new(MODULE)
    }

    /// The user PIN.
    pub fn pin(&self) -> &'static str {
        PIN
    }

    /// Puts a private key (PKCS#8) and its public half into the token, under this id in hexadecimal.
    pub fn import(&self, file: &Path, id: &str) {
        let file = file.display().to_string();
        util(&["--import", &file, "--token", &self.label, "--label", "imported", "--id", id, "--pin", PIN]);
    }

    /// Takes the token out of its slot.
    pub fn unplug(&self) {
        std::fs::rename(&self.folder, self.away()).expect("the token can be taken away");
    }

    /// Puts it back.
    pub fn plug_in(&self) {
        std::fs::rename(self.away(), &self.folder).expect("the token can be put back");
    }

    fn away(&self) -> PathBuf {
        let name = self.folder.file_name().expect("a name").to_string_lossy().into_owned();
        self.folder.parent().and_then(Path::parent).expect("a folder").join(format!("away-{name}"))
    }

    /// The object files of the token: what a thief of the disk gets.
    pub fn folder(&self) -> &Path {
        &self.folder
    }
}

impl Drop for SoftHsm {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.folder);
        let _ = std::fs::remove_dir_all(self.away());
    }
}

fn subfolders(folder: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(folder).expect("the folder of tokens");
    entries.filter_map(|entry| Some(entry.ok()?.path())).collect()
}

fn holds(octets: &[u8], text: &str) -> bool {
    octets.windows(text.len()).any(|window| window == text.as_bytes())
}

fn util(arguments: &[&str]) {
    let output = Command::new("softhsm2-util").args(arguments).output().expect("softhsm2-util is installed");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
