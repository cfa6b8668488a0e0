//! The configuration files of the two services, and the TLS files and secrets beside them.

use std::path::{Path, PathBuf};

use anyhow::Result;
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use clm_types::Entropy;
use toml::{Table, Value};

use crate::cluster::{Cluster, Credentials};
use crate::files::{make_folder, make_folder_for, write_private};
use crate::options::Ports;
use crate::os_user::OsUser;
use crate::platform_ca::{KeyFiles, PlatformCa};
use crate::service::Service;

const LOCAL_NAMES: &[&str] = &["localhost", "127.0.0.1"];
/// The name of Secure's RPC certificate, and the only one that Core accepts there.
const RPC_SERVER: &str = "clm-secure";
/// The name of Core's RPC certificate, and the only one that Secure accepts.
const RPC_CLIENT: &str = "clm-core";

/// A service's own folder: configuration, TLS files, secrets, log.
pub(crate) struct ServiceFolder<'a> {
    folder: PathBuf,
    ca: &'a PlatformCa,
    owner: OsUser,
}

impl<'a> ServiceFolder<'a> {
    pub(crate) fn make(service: &Service, ca: &'a PlatformCa) -> Result<Self> {
        let (folder, owner) = (service.folder().to_owned(), service.os_user().clone());
        make_folder_for(&folder, 0o700, &owner)?;
        for folder in ["tls", "secrets"].map(|name| folder.join(name)) {
            make_folder(&folder, 0o700, &owner)?;
        }
        ca.copy_cert_to(&folder.join("tls/platform-ca.pem"), &owner)?;
        Ok(Self { folder, ca, owner })
    }

    /// Writes the configuration of Core, and makes the key under which secrets of one-time codes lie.
    pub(crate) fn write_core(&self, cluster: &Cluster, ports: &Ports, entropy: &Entropy) -> Result<()> {
        let secrets_key = self.folder.join("secrets/sign-in-key");
        if !secrets_key.exists() {
            write_private(&secrets_key, STANDARD.encode(entropy.bytes::<32>()).as_bytes(), &self.owner)?;
        }
        let api = self.tls("api");
        self.ca.server(&api, "clm-core api", LOCAL_NAMES, &self.owner)?;
        let rpc = self.tls("rpc");
        self.ca.client(&rpc, RPC_CLIENT, &self.owner)?;
        let mut config = Table::new();
        config.insert(
            "api".to_owned(),
            section([
                ("listen", listen(ports.api)),
                ("cert_file", path(&api.cert_file)),
                ("key_file", path(&api.key_file)),
                ("public_url", text(format!("https://localhost:{}", ports.api))),
            ]),
        );
        let validation = [("listen", listen(ports.validation)), ("base_url", text(validation_url(ports)))];
        config.insert("validation".to_owned(), section(validation));
        config.insert("admin".to_owned(), section([("listen", listen(ports.core_admin))]));
        config.insert("database".to_owned(), self.database(cluster, "clm_core_app", 20)?);
        config.insert("system_database".to_owned(), self.database(cluster, "clm_core_system", 10)?);
        let sign_in = [("secrets_key_file", path(&secrets_key)), ("issuer", text("CLM (local)"))];
        config.insert("sign_in".to_owned(), section(sign_in));
        config.insert(
            "rpc".to_owned(),
            section([
                ("endpoint", text(format!("https://127.0.0.1:{}", ports.rpc))),
                ("server_name", text(RPC_SERVER)),
                ("ca_file", path(&self.folder.join("tls/platform-ca.pem"))),
                ("cert_file", path(&rpc.cert_file)),
                ("key_file", path(&rpc.key_file)),
            ]),
        );
        self.write("core.toml", config)
    }

    /// Writes the configuration of Secure, and makes the passphrase of its master key.
    pub(crate) fn write_secure(&self, cluster: &Cluster, ports: &Ports, entropy: &Entropy) -> Result<()> {
        let rpc = self.tls("rpc");
        self.ca.server(&rpc, RPC_SERVER, &[RPC_SERVER, "localhost", "127.0.0.1"], &self.owner)?;
        let passphrase = self.folder.join("secrets/master-passphrase");
        if !passphrase.exists() {
            write_private(&passphrase, hex::encode(entropy.bytes::<32>()).as_bytes(), &self.owner)?;
        }
        let mut config = Table::new();
        config.insert(
            "rpc".to_owned(),
            section([
                ("listen", listen(ports.rpc)),
                ("ca_file", path(&self.folder.join("tls/platform-ca.pem"))),
                ("cert_file", path(&rpc.cert_file)),
                ("key_file", path(&rpc.key_file)),
                ("allowed_peers", Value::Array(vec![text(RPC_CLIENT)])),
            ]),
        );
        config.insert("admin".to_owned(), section([("listen", listen(ports.secure_admin))]));
        config.insert("database".to_owned(), self.database(cluster, "clm_secure_app", 10)?);
        config.insert(
            "master_key".to_owned(),
            section([
                ("provider", text("sealed-file")),
                ("file", path(&self.folder.join("secrets/master-key"))),
                ("passphrase_file", path(&passphrase)),
            ]),
        );
        self.write("secure.toml", config)
    }

    fn database(&self, cluster: &Cluster, role: &str, max_connections: i64) -> Result<Value> {
        let tls = self.folder.join("tls");
        Ok(database(cluster.credentials(self.ca, role, &tls, &self.owner)?, max_connections))
    }

    fn tls(&self, stem: &str) -> KeyFiles {
        KeyFiles::new(&self.folder.join("tls"), stem)
    }

    fn write(&self, name: &str, mut config: Table) -> Result<()> {
        config.insert("log".to_owned(), section([("format", text("json")), ("level", text("info"))]));
        write(&self.folder.join(name), &config, &self.owner)
    }
}

/// Writes what `migrate` reads into the operator's `folder`, which no service can enter, and says
/// where.
pub(crate) fn write_migration(folder: &Path, ca: &PlatformCa, cluster: &Cluster) -> Result<PathBuf> {
    let owner = OsUser::current()?;
    let word = cluster.database().word();
    let credentials = cluster.credentials(ca, &format!("clm_{word}_migrator"), folder, &owner)?;
    let mut config = Table::new();
    config.insert("migration_database".to_owned(), database(credentials, 1));
    let file = folder.join(format!("{word}-migrate.toml"));
    write(&file, &config, &owner)?;
    Ok(file)
}

fn write(file: &Path, config: &Table, owner: &OsUser) -> Result<()> {
    let content = format!("# Written by `clm-local up`.\n\n{}", toml::to_string(config)?);
    write_private(file, content.as_bytes(), owner)
}

fn database(credentials: Credentials, max_connections: i64) -> Value {
    let Credentials { host, port, database, user, ca_file, files } = credentials;
    section([
        ("host", text(host)),
        ("port", Value::Integer(port.into())),
        ("database", text(database)),
        ("user", text(user)),
        ("ca_file", path(&ca_file)),
        ("cert_file", path(&files.cert_file)),
        ("key_file", path(&files.key_file)),
        ("max_connections", Value::Integer(max_connections)),
    ])
}

/// The address in certificates, at which relying parties ask.
pub(crate) fn validation_url(ports: &Ports) -> String {
    format!("http://127.0.0.1:{}", ports.validation)
}

fn section<const N: usize>(entries: [(&str, Value); N]) -> Value {
    Value::Table(entries.into_iter().map(|(key, value)| (key.to_owned(), value)).collect())
}

fn listen(port: u16) -> Value {
    text(format!("127.0.0.1:{port}"))
}

fn path(path: &Path) -> Value {
    text(path.display().to_string())
}

fn text(text: impl Into<String>) -> Value {
    Value::String(text.into())
}
