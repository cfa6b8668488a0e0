//! The systemd units in `deploy/systemd`.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

const SERVICES: [&str; 2] = ["core", "secure"];

fn unit(service: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../deploy/systemd/clm-{service}.service"))
}

#[test]
fn each_unit_is_closed_and_runs_its_service_as_its_own_user() {
    for service in SERVICES {
        let text = fs::read_to_string(unit(service)).unwrap();
        let lines: Vec<&str> = text.lines().collect();
        let name = format!("clm-{service}");
        let own = [
            format!("User={name}"),
            format!("ExecStart=/usr/bin/{name} serve --config /etc/clm/{service}/{service}.toml"),
        ];
        let walls = [
            "NoNewPrivileges=yes",
            "CapabilityBoundingSet=",
            "ProtectSystem=strict",
            "MemoryDenyWriteExecute=yes",
            "RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX",
            "LimitCORE=0",
        ];
        for line in own.iter().map(String::as_str).chain(walls) {
            assert!(lines.contains(&line), "{name}: {line}");
        }
    }
    let secure = fs::read_to_string(unit("secure")).unwrap();
    assert!(secure.contains("\nLoadCredential=master-passphrase:"));
}

/// Where systemd is installed, it says whether it understands the units.
#[test]
fn systemd_understands_the_units() {
    if Command::new("systemd-analyze").arg("--version").output().is_err() {
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    for service in SERVICES {
        // The program is not installed on the machine of the test.
        let text = fs::read_to_string(unit(service)).unwrap().replace("/usr/bin/clm-", "/usr/bin/env clm-");
        let copy = folder.path().join(format!("clm-{service}.service"));
        fs::write(&copy, text).unwrap();
        let output = Command::new("systemd-analyze").arg("verify").arg(&copy).output().unwrap();
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success() && said.is_empty(), "{said}");
    }
}
