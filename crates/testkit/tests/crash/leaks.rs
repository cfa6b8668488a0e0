//! A private key that the test knows goes through everything that keys go through; then it is looked for everywhere.

use std::fs;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, Mutex};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_local::cluster::Database;
use clm_local::process::Pid;
use serde_json::json;

use crate::ALONE;
use crate::house::House;

/// A public key on P-256 (its generator), to seal private keys to.
const RECIPIENT: &str =
    "BGsX0fLhLEJH+Lzm5WOkQPJ3A32BLeszoPShOUXYmMKWT+NC4v4af5uO5+tKfA+eFivOM1drMV7Oy7ZAaDe/UfU=";

/// Memory is read in steps of so many octets, that overlap by the longest needle.
const STEP: usize = 1 << 20;

struct Canary {
    folder: tempfile::TempDir,
    /// The private number of the key, in the forms in which it could lie somewhere.
    needles: Vec<Vec<u8>>,
}

impl Canary {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let own = Self { needles: Vec::new(), folder };
        own.openssl(&[
            "genpkey",
            "-algorithm",
            "EC",
            "-pkeyopt",
            "ec_paramgen_curve:P-256",
            "-out",
            "canary.key",
        ]);
        own.openssl(&[
            "req",
            "-new",
            "-key",
            "canary.key",
            "-subj",
            "/",
            "-addext",
            "subjectAltName=DNS:canary.example.com",
            "-out",
            "canary.csr",
        ]);
        own.openssl(&[
            "pkcs8",
            "-topk8",
            "-nocrypt",
            "-in",
            "canary.key",
            "-outform",
            "DER",
            "-out",
            "canary.der",
        ]);
        let der = fs::read(own.path("canary.der")).unwrap();
        // ECPrivateKey (RFC 5915): version 1, then the number as an octet string of 32.
        let mark = [2, 1, 1, 4, 32];
        let at = der.windows(mark.len()).position(|part| part == mark).unwrap() + mark.len();
        let number = &der[at..at + 32];
        let mut needles =
            vec![number.to_vec(), hex::encode(number).into_bytes(), hex::encode_upper(number).into_bytes()];
        // As a part of a longer base64 text it stands in one of three places.
        for before in 0..3 {
            let text = STANDARD.encode([&vec![0; before], number].concat());
            // A line may end in one half of it.
            needles.extend([&text.as_bytes()[4..22], &text.as_bytes()[22..40]].map(<[u8]>::to_vec));
        }
        needles.push(number.iter().rev().copied().collect());
        Self { needles, ..own }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    fn openssl(&self, arguments: &[&str]) {
        let output =
            Command::new("openssl").args(arguments).current_dir(self.folder.path()).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    }

    fn is_in(&self, octets: &[u8]) -> bool {
        self.needles.iter().any(|needle| memchr::memmem::find(octets, needle).is_some())
    }

    /// Files below a folder that hold it.
    fn files(&self, folder: &Path) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
            let (path, kind) = (entry.path(), entry.file_type().unwrap());
            if kind.is_dir() {
                found.extend(self.files(&path));
            } else if kind.is_file() && fs::read(&path).is_ok_and(|octets| self.is_in(&octets)) {
                found.push(path);
            }
        }
        found
    }

    /// What every row of every table says, with compressed values unpacked.
    fn tables(&self, house: &House, database: Database) -> Vec<String> {
        let tables = house.sql(
            database,
            "SELECT c.oid::regclass FROM pg_class c WHERE c.relkind IN ('r', 'm') AND c.relnamespace = 'clm'::regnamespace",
        );
        let holds = |table: &&str| {
            self.is_in(house.sql(database, &format!("SELECT t::text FROM {table} t")).as_bytes())
        };
        let tables = tables.lines().map(str::trim).filter(|table| !table.is_empty());
        tables.filter(holds).map(str::to_owned).collect()
    }
}

/// What a program of PostgreSQL writes of a database, run by the server's own account beside its socket.
fn written(house: &House, database: Database, program: &str, arguments: &str) -> PathBuf {
    let ask = |sql: &str| house.sql(database, sql).trim().to_owned();
    let programs = ask("SELECT setting FROM pg_config WHERE name = 'BINDIR'");
    let folder = ask("SELECT split_part(current_setting('unix_socket_directories'), ',', 1)");
    let (port, user) = (house.installation.databases.cluster(database).port(), ask("SELECT current_user"));
    let at = format!("--host={folder} --port={port} --username={user}");
    ask(&format!("COPY (SELECT 1) TO PROGRAM 'cd {folder} && {programs}/{program} {at} {arguments}'"));
    PathBuf::from(folder)
}

/// A logical backup of a database.
fn dump(house: &House, database: Database) -> Vec<u8> {
    let arguments = format!("--file=dump {}", database.name());
    let file = written(house, database, "pg_dump", &arguments).join("dump");
    let dumped = fs::read(&file).unwrap();
    fs::remove_file(file).unwrap();
    dumped
}

/// A physical backup of a cluster, with the WAL that it needs.
fn base_backup(house: &House, database: Database) -> PathBuf {
    let arguments = "--pgdata=backup --wal-method=stream --checkpoint=fast --no-password";
    written(house, database, "pg_basebackup", arguments).join("backup")
}

/// Whether some octets are in the memory of a process.
fn in_memory(pid: Pid, wanted: impl Fn(&[u8]) -> bool) -> bool {
    let maps = fs::read_to_string(format!("/proc/{}/maps", pid.number())).unwrap();
    let mut memory = fs::File::open(format!("/proc/{}/mem", pid.number())).unwrap();
    let mut buffer = vec![0; STEP + 64];
    for line in maps
        .lines()
        .filter(|line| line.split_whitespace().nth(1).is_some_and(|rights| rights.starts_with('r')))
    {
        let (from, to) = line.split_whitespace().next().unwrap().split_once('-').unwrap();
        let (mut at, to) = (u64::from_str_radix(from, 16).unwrap(), u64::from_str_radix(to, 16).unwrap());
        while at < to {
            let length = usize::try_from(to - at).unwrap().min(buffer.len());
            let part = &mut buffer[..length];
            // Some mappings of the kernel cannot be read.
            if memory.seek(SeekFrom::Start(at)).is_ok() && memory.read_exact(part).is_ok() && wanted(part) {
                return true;
            }
            at += STEP as u64;
        }
    }
    false
}

/// Stands between Core and Secure, and keeps what goes over the wire.
fn tap(to: u16) -> (u16, Arc<Mutex<Vec<u8>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let heard = Arc::new(Mutex::new(Vec::new()));
    let kept = Arc::clone(&heard);
    std::thread::spawn(move || {
        for inner in listener.incoming() {
            let (inner, outer) = (inner.unwrap(), TcpStream::connect(("127.0.0.1", to)).unwrap());
            for (from, into) in [(inner.try_clone().unwrap(), outer.try_clone().unwrap()), (outer, inner)] {
                let kept = Arc::clone(&kept);
                std::thread::spawn(move || pass_on(from, into, &kept));
            }
        }
    });
    (port, heard)
}

fn pass_on(mut from: TcpStream, mut into: TcpStream, kept: &Mutex<Vec<u8>>) {
    let mut buffer = [0; 16 * 1024];
    while let Ok(length) = from.read(&mut buffer) {
        if length == 0 || into.write_all(&buffer[..length]).is_err() {
            return;
        }
        kept.lock().unwrap().extend_from_slice(&buffer[..length]);
    }
}

impl House {
    /// Lets Core talk to Secure through a tap.
    fn tap_the_wire(&self) -> Arc<Mutex<Vec<u8>>> {
        let core = &self.installation.core;
        let config = fs::read_to_string(core.config_file()).unwrap();
        let endpoint = config.split("endpoint = \"https://").nth(1).unwrap().split('"').next().unwrap();
        let (host, port) = endpoint.rsplit_once(':').unwrap();
        let (tapped, heard) = tap(port.parse().unwrap());
        let changed = config.replace(&format!("https://{endpoint}"), &format!("https://{host}:{tapped}"));
        fs::write(core.config_file(), changed).unwrap();
        core.stop().unwrap();
        core.start().unwrap();
        core.wait_ready().unwrap();
        heard
    }

    /// `clm` as the administrator.
    fn clm(&self, canary: &Canary, arguments: &[&str]) {
        let program = std::env::current_exe().unwrap().parent().unwrap().with_file_name("clm");
        let mut command = Command::new(program);
        command.args(arguments).current_dir(canary.folder.path()).env("CLM_CONFIG_DIR", canary.path("clm"));
        let output = command.output().unwrap();
        assert!(output.status.success(), "{arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    }

    /// The canary is imported, opened for a renewal, handed out sealed, wrapped anew, deleted and restored.
    async fn use_key(&self, canary: &Canary) {
        let csr = fs::read_to_string(canary.path("canary.csr")).unwrap();
        let answer = self.robot.post("/requests", &json!({"profile": "tls-server", "csr_pem": csr})).await;
        let id = answer.text("certificate_id").to_owned();
        fs::write(canary.path("token"), self.administrator.token()).unwrap();
        let (url, ca) = (self.installation.api_url(), self.installation.ca_file().display().to_string());
        self.clm(canary, &["login", &url, "--ca-file", &ca, "--token-file", "token"]);
        self.clm(canary, &["cert", "key", "import", &id, "--key", "canary.key"]);
        let path = format!("/certificates/{id}");
        self.administrator.patch(&format!("{path}/key"), &json!({"exportable": true})).await;
        let renewed = self.robot.post(&format!("{path}/renew"), &json!({})).await;
        assert_eq!(renewed.status, 201, "{renewed:?}");
        let body = json!({"recipient": RECIPIENT, "purpose": "export", "reason": "a search for leaks"});
        let asked = self.administrator.ask(&format!("{path}/key/exports"), &body).await;
        let request = format!("/requests/{}", asked.text("id"));
        for approver in [&self.bob, &self.carol] {
            assert!(approver.decide(&format!("{request}/approve")).await.status < 300);
        }
        let granted = || async {
            let shown = self.administrator.get(&request).await;
            (shown.text("status") != "completed").then(|| format!("{shown:?}"))
        };
        crate::house::eventually(std::time::Duration::from_secs(10), granted).await;
        let key = self.administrator.decide(&format!("{request}/key")).await;
        assert_eq!(key.text("certificate_id"), id, "{key:?}");
        self.installation.secure.run(&["keys", "rotate", "--all"]).unwrap();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_private_key_is_found_nowhere_outside_secure() {
    let _alone = ALONE.lock().await;
    let house = House::open(true).await;
    let heard = house.tap_the_wire();
    let canary = Canary::new();
    assert_eq!(
        canary.files(canary.folder.path()).len(),
        2,
        "the search finds the key where it is, in PEM and in DER"
    );
    for database in Database::ALL {
        // In compressed pages the search would not see it.
        house.sql(database, "ALTER SYSTEM SET wal_compression = off");
        house.sql(database, "SELECT pg_reload_conf()");
    }
    house.use_key(&canary).await;
    for database in Database::ALL {
        house.sql(database, "CHECKPOINT");
    }
    // Both clusters' files with their WAL, both services' folders, all logs.
    let found = canary.files(house.installation.folder());
    assert!(found.is_empty(), "{found:?}");
    for database in Database::ALL {
        let found = canary.tables(&house, database);
        assert!(found.is_empty(), "{found:?}");
        let dumped = dump(&house, database);
        assert!(memchr::memmem::find(&dumped, b"database dump complete").is_some(), "the dump is whole");
        assert!(!canary.is_in(&dumped), "the dump of {}", database.name());
        let backup = base_backup(&house, database);
        for part in ["backup_manifest", "global/pg_control", "pg_wal"] {
            assert!(backup.join(part).exists(), "the backup is whole");
        }
        let found = canary.files(&backup);
        assert!(found.is_empty(), "{found:?}");
        fs::remove_dir_all(backup).unwrap();
    }
    for service in [&house.installation.core, &house.installation.secure] {
        let metrics =
            house.installation.client().get(format!("{}/metrics", service.admin_url())).send().await.unwrap();
        assert!(!canary.is_in(&metrics.bytes().await.unwrap()), "the metrics of {}", service.name());
        let limits = fs::read_to_string(format!("/proc/{}/limits", service.pid().unwrap().number())).unwrap();
        let cores = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
        let most: Vec<_> = cores.split_whitespace().skip(4).take(2).collect();
        assert_eq!(most, ["0", "0"], "{} may leave no core file", service.name());
    }
    let heard = std::mem::take(&mut *heard.lock().unwrap());
    assert!(heard.len() > 10_000 && !canary.is_in(&heard), "the wire between the services");
    let core = house.installation.core.pid().unwrap();
    assert!(
        in_memory(core, |part| memchr::memmem::find(part, b"clm_core_app").is_some()),
        "memory can be read"
    );
    assert!(!in_memory(core, |part| canary.is_in(part)), "the memory of Core");
}
