//! A whole installation: platform authority, two clusters, two services.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::thread;

use anyhow::{Context, Result, anyhow, bail};
use chrono::{DateTime, Utc};
use clm_types::Entropy;

use crate::cluster::{Credentials, Database};
use crate::configuration::{ServiceFolder, validation_url, write_migration};
use crate::databases::Databases;
use crate::files::{make_folder, write_public};
use crate::lock::Lock;
use crate::marker;
use crate::options::{Options, Ports};
use crate::os_user::OsUser;
use crate::platform_ca::PlatformCa;
use crate::preflight;
use crate::safe_folder;
use crate::service::Service;

/// The sandbox root signs intermediate authorities for five years, each with an approval.
const ROOT_ENVELOPE: &str = r#"
profiles = ["intermediate-ca"]
key_algorithms = ["ecdsa-p256", "ecdsa-p384", "rsa-3072", "rsa-4096", "ed25519", "ml-dsa-65"]
max_validity_seconds = 157680000
required_approvals = 1
"#;

/// Names of the sandbox's two authorities.
const SANDBOX_ROOT: &str = "CLM Sandbox Root";
const SANDBOX_ISSUING: &str = "CLM Sandbox Issuing CA";

/// An installation, running or not, even one that is not there yet.
#[derive(Clone, Debug)]
pub struct Installation {
    /// Both clusters.
    pub databases: Databases,
    /// The process `clm-core`.
    pub core: Service,
    /// The process `clm-secure`.
    pub secure: Service,
    pub(crate) options: Options,
}

impl Installation {
    /// The installation of `options`. Nothing is made or started. Fails where others could have put
    /// something into the folder.
    pub fn new(options: Options) -> Result<Self> {
        let Options { folder, ports, .. } = &options;
        safe_folder::check(folder)?;
        Ok(Self {
            databases: Databases::new(&folder.join("databases"), options.databases())?,
            core: Service::new("core", &options, ports.core_admin)?,
            secure: Service::new("secure", &options, ports.secure_admin)?,
            options,
        })
    }

    /// The ports that the installation in `folder` used last, if there is one.
    pub fn ports_of(folder: &Path) -> Result<Option<Ports>> {
        marker::ports(folder)
    }

    /// Makes, starts or repairs whatever is not as it should be; done again, it changes nothing.
    /// `step` is told what happens next.
    pub fn up(&self, now: DateTime<Utc>, entropy: &Entropy, mut step: impl FnMut(&str)) -> Result<()> {
        preflight::check(self)?;
        let _lock = self.lock()?;
        // Once more, now that nobody else is at work.
        preflight::check(self)?;
        marker::write(self.folder(), self.options.ports)?;
        self.place_programs()?;
        let ca = self.platform_ca(now, entropy)?;
        step("starting the databases");
        self.databases.up(&ca)?;
        self.configure(&ca, entropy)?;
        step("migrating the databases");
        self.migrate(&ca)?;
        step("making the sandbox authorities");
        self.make_authorities()?;
        step("starting the services");
        self.start_services()
    }

    /// Stops everything, in reverse order; the data stays.
    pub fn down(&self) -> Result<()> {
        safe_folder::check(self.folder())?;
        match Lock::take_existing(self.folder())? {
            Some(_lock) => self.stop(),
            None => Ok(()),
        }
    }

    fn stop(&self) -> Result<()> {
        self.core.stop()?;
        self.secure.stop()?;
        self.databases.stop()
    }

    /// Stops everything and removes the folder with all data.
    pub fn reset(&self) -> Result<()> {
        let folder = &self.options.folder;
        safe_folder::check(folder)?;
        if !folder.exists() {
            return Ok(());
        }
        if !marker::is_there(folder) {
            bail!("{} is not an installation of clm-local: it is left alone", folder.display());
        }
        let _lock = Lock::take(folder)?;
        self.stop()?;
        fs::remove_dir_all(folder).with_context(|| format!("cannot remove {}", folder.display()))
    }

    /// Starts both services and waits until they can work.
    pub fn start_services(&self) -> Result<()> {
        self.secure.start()?;
        self.secure.wait_ready()?;
        self.core.start()?;
        self.core.wait_ready()
    }

    /// Address of the REST API.
    pub fn api_url(&self) -> String {
        format!("https://localhost:{}", self.options.ports.api)
    }

    /// Address of OCSP, CRL and authority certificates.
    pub fn validation_url(&self) -> String {
        validation_url(&self.options.ports)
    }

    /// The authority of the API's certificate.
    pub fn ca_file(&self) -> PathBuf {
        self.options.folder.join("platform-ca.pem")
    }

    /// Whether any of its processes runs.
    pub(crate) fn runs(&self) -> bool {
        let services = [&self.core, &self.secure].map(Service::pid);
        let clusters = Database::ALL.map(|database| self.databases.cluster(database).pid());
        services.into_iter().chain(clusters).any(|pid| pid.is_some())
    }

    /// Whether there are certificates that name the validation port: the master key is made right
    /// before the authorities.
    pub(crate) fn has_issued(&self) -> bool {
        self.secure.folder().join("secrets/master-key").exists()
    }

    /// What it was made from.
    pub fn options(&self) -> &Options {
        &self.options
    }

    /// Everything of the installation is below.
    pub fn folder(&self) -> &Path {
        &self.options.folder
    }

    /// `psql`, about to log in as `role` over TLS.
    pub fn psql(
        &self,
        database: Database,
        role: &str,
        now: DateTime<Utc>,
        entropy: &Entropy,
    ) -> Result<Command> {
        let credentials = self.credentials(database, role, now, entropy)?;
        let mut command = self.databases.cluster(database).psql_command();
        command.arg(credentials.url());
        Ok(command)
    }

    /// Credentials of `role`, for people and tests.
    pub fn credentials(
        &self,
        database: Database,
        role: &str,
        now: DateTime<Utc>,
        entropy: &Entropy,
    ) -> Result<Credentials> {
        if !marker::is_there(self.folder()) {
            bail!("there is no installation in {}: run `clm-local up` first", self.options.folder.display());
        }
        let owner = OsUser::current()?;
        let folder = self.options.operator_folder();
        make_folder(&folder, 0o700, &owner)?;
        let ca = self.platform_ca(now, entropy)?;
        self.databases.cluster(database).credentials(&ca, role, &folder, &owner)
    }

    fn platform_ca(&self, now: DateTime<Utc>, entropy: &Entropy) -> Result<PlatformCa> {
        let ca = PlatformCa::open_or_create(&self.options.folder.join("platform-ca"), now, entropy)?;
        ca.copy_cert_to(&self.ca_file(), &OsUser::current()?)?;
        Ok(ca)
    }

    fn place_programs(&self) -> Result<()> {
        self.core.place_program()?;
        self.secure.place_program()
    }

    fn configure(&self, ca: &PlatformCa, entropy: &Entropy) -> Result<()> {
        let Databases { core, secure, .. } = &self.databases;
        let ports = &self.options.ports;
        ServiceFolder::make(&self.core, ca)?.write_core(core, ports, entropy)?;
        ServiceFolder::make(&self.secure, ca)?.write_secure(secure, ports, entropy)
    }

    fn migrate(&self, ca: &PlatformCa) -> Result<()> {
        let folder = self.options.operator_folder();
        make_folder(&folder, 0o700, &OsUser::current()?)?;
        let Databases { core, secure, .. } = &self.databases;
        let core = write_migration(&folder, ca, core)?;
        let secure = write_migration(&folder, ca, secure)?;
        thread::scope(|scope| {
            let core = scope.spawn(|| self.core.run_as_operator(&["migrate"], &core));
            self.secure.run_as_operator(&["migrate"], &secure)?;
            core.join().map_err(|_| anyhow!("migrating the core database panicked"))??;
            Ok(())
        })
    }

    /// A root and an authority under it, which issues.
    fn make_authorities(&self) -> Result<()> {
        self.secure.run(&["master", "init"])?;
        let envelope = self.options.folder.join("secure/root-envelope.toml");
        write_public(&envelope, ROOT_ENVELOPE.as_bytes(), self.secure.os_user())?;
        let envelope = envelope.to_string_lossy();
        let root = ["--profile", "root-ca", "--validity-days", "3650", "--envelope", &envelope];
        self.make_authority(SANDBOX_ROOT, &root)?;
        let issuing = ["--profile", "issuing-ca", "--parent", SANDBOX_ROOT, "--validity-days", "1825"];
        self.make_authority(SANDBOX_ISSUING, &issuing)
    }

    fn make_authority(&self, name: &str, arguments: &[&str]) -> Result<()> {
        let (subject, base_url) = (format!("CN={name}"), self.validation_url());
        let mut all = vec!["authority", "create", "--name", name, "--subject", &subject];
        all.extend(["--key-algorithm", "ecdsa-p256", "--base-url", &base_url]);
        all.extend(arguments);
        self.secure.run(&all)?;
        Ok(())
    }

    fn lock(&self) -> Result<Lock> {
        let folder = &self.options.folder;
        // Open to the users of servers and services, who must pass through; the folders below are
        // closed.
        make_folder(folder, 0o711, &OsUser::current()?)?;
        safe_folder::check(folder)?;
        self.check_passage()?;
        Lock::take(folder)
    }

    /// The folder may lie below one that is closed to the users of servers and services.
    fn check_passage(&self) -> Result<()> {
        let folder = &self.options.folder;
        for user in [&OsUser::for_databases()?, self.core.os_user(), self.secure.os_user()] {
            user.act(|| Ok(fs::metadata(folder.join("."))?)).with_context(|| {
                let folder = folder.display();
                format!("the user {} cannot reach {folder}: choose another folder with --dir", user.name)
            })?;
        }
        Ok(())
    }
}
