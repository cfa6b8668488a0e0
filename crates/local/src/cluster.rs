//! One PostgreSQL cluster with one of the product's databases: made, started, stopped.

use std::fs;
use std::io::{ErrorKind, Write};
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result, bail};

use crate::cluster_configuration::{SUPERUSER, pg_hba_conf, pg_ident_conf, postgresql_conf};
use crate::files::{make_folder, make_folder_for, read, write_private};
use crate::os_user::OsUser;
use crate::platform_ca::{KeyFiles, PlatformCa};
use crate::postgres_programs::PostgresPrograms;
use crate::process::{Pid, tail};
use crate::role::certificate_name;

pub use crate::role::Database;

/// Longest path of a Unix socket, less the socket's own name.
const LONGEST_SOCKET_FOLDER: usize = 107 - "/.s.PGSQL.65535".len();

/// What a cluster is made from.
#[derive(Clone, Debug)]
pub struct ClusterOptions {
    /// Which database it holds.
    pub database: Database,
    /// Its folder: data, log, socket and TLS files are below.
    pub folder: PathBuf,
    /// TCP port on 127.0.0.1.
    pub port: u16,
    /// Whether a commit is on the disk before it is acknowledged.
    pub durable: bool,
    /// For tests: every database may be used by every role, and the superuser may log in by
    /// certificate.
    pub throwaway: bool,
    /// Who runs the server.
    pub os_user: OsUser,
}

impl ClusterOptions {
    pub(crate) fn data_folder(&self) -> PathBuf {
        self.folder.join("data")
    }

    pub(crate) fn log_folder(&self) -> PathBuf {
        self.folder.join("log")
    }

    pub(crate) fn socket_folder(&self) -> PathBuf {
        self.folder.join("run")
    }

    pub(crate) fn tls_folder(&self) -> PathBuf {
        self.folder.join("tls")
    }
}

/// How to log in as one role.
#[derive(Clone, Debug)]
pub struct Credentials {
    /// Always `localhost`, as in the server's certificate.
    pub host: String,
    /// TCP port.
    pub port: u16,
    /// Database name.
    pub database: String,
    /// Role.
    pub user: String,
    /// Authority of the server's certificate.
    pub ca_file: PathBuf,
    /// Certificate and key of the role.
    pub files: KeyFiles,
}

impl Credentials {
    /// A connection URL for PostgreSQL's own programs and for sqlx.
    pub fn url(&self) -> String {
        let Self { host, port, database, user, ca_file, files } = self;
        format!(
            "postgres://{user}@{host}:{port}/{database}?sslmode=verify-full&sslrootcert={}&sslcert={}&sslkey={}",
            ca_file.display(),
            files.cert_file.display(),
            files.key_file.display()
        )
    }
}

/// One PostgreSQL server, running or not.
#[derive(Clone, Debug)]
pub struct Cluster {
    options: ClusterOptions,
    programs: PostgresPrograms,
}

impl Cluster {
    /// The cluster of `options`, whether it exists yet or not.
    pub fn new(options: ClusterOptions) -> Result<Self> {
        let socket = options.socket_folder();
        if socket.as_os_str().len() > LONGEST_SOCKET_FOLDER {
            bail!("{} is too long a path for a Unix socket: choose a shorter folder", socket.display());
        }
        let programs = PostgresPrograms::find(Some((&options.data_folder(), &options.os_user)))?;
        Ok(Self { options, programs })
    }

    /// Which database it holds.
    pub fn database(&self) -> Database {
        self.options.database
    }

    /// TCP port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.options.port
    }

    /// Version of the server's program.
    pub fn version(&self) -> Result<String> {
        self.programs.version()
    }

    /// The postmaster, if it runs.
    pub fn pid(&self) -> Option<Pid> {
        let data = self.options.data_folder();
        let file = read(&data.join("postmaster.pid"), &self.options.os_user).ok()?;
        let pid = Pid::new(file.lines().next()?.trim().parse().ok()?)?;
        let is_ours = pid.runs_program("postgres", &[&data.display().to_string()])
            && pid.belongs_to(&self.options.os_user);
        is_ours.then_some(pid)
    }

    /// Makes what is missing, starts the server and provisions the database with its roles. Done
    /// again on a running cluster, it changes nothing.
    pub fn up(&self, ca: &PlatformCa) -> Result<()> {
        if self.pid().is_none() {
            self.create(ca)?;
            self.start()?;
        }
        self.provision()
    }

    /// Starts the server and waits until it accepts connections.
    pub fn start(&self) -> Result<()> {
        self.write_configuration()?;
        let log = self.options.log_folder().join("startup.log");
        let mut command = self.pg_ctl("start");
        command.args(["--wait", "--timeout=120", "--silent", "--log"]).arg(&log);
        self.run(command, None)
            .with_context(|| format!("the log says:\n{}", tail(&log, &self.options.os_user)))?;
        Ok(())
    }

    /// Stops the server: rolls back what is open, writes a checkpoint.
    pub fn stop(&self) -> Result<()> {
        self.stop_with("fast")
    }

    /// Stops the server as a crash would: no checkpoint, recovery at the next start.
    pub fn stop_immediate(&self) -> Result<()> {
        self.stop_with("immediate")
    }

    /// Credentials of `role` for the product's database, with a certificate in `folder` (made if
    /// missing) that `owner` may read.
    pub fn credentials(
        &self,
        ca: &PlatformCa,
        role: &str,
        folder: &Path,
        owner: &OsUser,
    ) -> Result<Credentials> {
        let files = KeyFiles::new(folder, &certificate_name(role));
        ca.client(&files, &certificate_name(role), owner)?;
        let ca_file = folder.join("platform-ca.pem");
        ca.copy_cert_to(&ca_file, owner)?;
        Ok(Credentials {
            host: "localhost".to_owned(),
            port: self.options.port,
            database: self.options.database.name().to_owned(),
            user: role.to_owned(),
            ca_file,
            files,
        })
    }

    /// Runs SQL as the superuser over the socket, and gives what `psql` prints: one line per row,
    /// fields separated by `|`.
    pub fn psql(&self, database: &str, sql: &str) -> Result<String> {
        let mut command = self.programs.command("psql");
        command.args(["--no-psqlrc", "--quiet", "--tuples-only", "--no-align", "--set=ON_ERROR_STOP=1"]);
        command.arg(format!("--host={}", self.options.socket_folder().display()));
        command.args([
            &format!("--port={}", self.options.port),
            "--username",
            SUPERUSER,
            "--dbname",
            database,
        ]);
        let output = self.run(command, Some(sql))?;
        Ok(String::from_utf8_lossy(&output.stdout).trim_end().to_owned())
    }

    /// `psql` without its connection arguments, for people.
    pub fn psql_command(&self) -> Command {
        self.programs.command("psql")
    }

    fn create(&self, ca: &PlatformCa) -> Result<()> {
        let options = &self.options;
        make_folder_for(&options.folder, 0o700, &options.os_user)?;
        for folder in [options.log_folder(), options.socket_folder(), options.tls_folder()] {
            make_folder(&folder, 0o700, &options.os_user)?;
        }
        let files = KeyFiles::new(&options.tls_folder(), "server");
        let name = format!("{}-database", options.database.word());
        ca.server(&files, &name, &["localhost", "127.0.0.1"], &options.os_user)?;
        ca.copy_cert_to(&options.tls_folder().join("ca.pem"), &options.os_user)?;
        if options.data_folder().join("PG_VERSION").exists() {
            return Ok(());
        }
        self.init()
    }

    /// Makes the data folder under another name first, so that a half-made one is never started.
    fn init(&self) -> Result<()> {
        let unfinished = self.options.folder.join("data.new");
        self.options.os_user.act(|| match fs::remove_dir_all(&unfinished) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                Err(error).context("cannot remove an unfinished data folder")
            }
            _ => Ok(()),
        })?;
        let mut command = self.programs.command("initdb");
        command.args([
            "--data-checksums",
            "--encoding=UTF8",
            "--locale=C.UTF-8",
            "--auth=peer",
            "--username",
        ]);
        command.arg(SUPERUSER).arg("--pgdata").arg(&unfinished);
        if !self.options.durable {
            command.arg("--no-sync");
        }
        self.run(command, None)?;
        self.options.os_user.act(|| {
            fs::rename(&unfinished, self.options.data_folder()).context("cannot name the new data folder")
        })
    }

    fn write_configuration(&self) -> Result<()> {
        let data = self.options.data_folder();
        let write = |name: &str, text: String| {
            write_private(&data.join(name), text.as_bytes(), &self.options.os_user)
        };
        write("postgresql.conf", postgresql_conf(&self.options))?;
        write("pg_hba.conf", pg_hba_conf(&self.options))?;
        write("pg_ident.conf", pg_ident_conf(&self.options))
    }

    fn provision(&self) -> Result<()> {
        let name = self.options.database.name();
        let exists = self.psql("postgres", &format!("SELECT 1 FROM pg_database WHERE datname = '{name}'"))?;
        if exists.is_empty() {
            self.psql("postgres", &format!("CREATE DATABASE {name} TEMPLATE template0"))?;
        }
        self.psql(name, self.options.database.provision_script())
            .with_context(|| format!("provisioning {name}"))?;
        Ok(())
    }

    fn stop_with(&self, mode: &str) -> Result<()> {
        if self.pid().is_none() {
            return Ok(());
        }
        let mut command = self.pg_ctl("stop");
        command.args(["--wait", "--timeout=60", "--silent", "--mode", mode]);
        self.run(command, None)?;
        Ok(())
    }

    fn pg_ctl(&self, action: &str) -> Command {
        let mut command = self.programs.command("pg_ctl");
        command.arg(action).arg("--pgdata").arg(self.options.data_folder());
        command
    }

    /// Runs a program of PostgreSQL as the cluster's user, with `input` on its standard input.
    fn run(&self, mut command: Command, input: Option<&str>) -> Result<Output> {
        self.options.os_user.run_as(&mut command);
        command.env_clear().env("PATH", "/usr/bin:/bin").env("LC_ALL", "C.UTF-8");
        command.stdin(if input.is_some() { Stdio::piped() } else { Stdio::null() });
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let program = command.get_program().display().to_string();
        let mut child = command.spawn().with_context(|| format!("cannot run {program}"))?;
        if let (Some(mut stdin), Some(input)) = (child.stdin.take(), input) {
            // A program that ends early says why on its standard error, which is read below.
            let _ = stdin.write_all(input.as_bytes());
        }
        let output = child.wait_with_output()?;
        if !output.status.success() {
            bail!("{program}: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr).trim());
        }
        Ok(output)
    }
}
